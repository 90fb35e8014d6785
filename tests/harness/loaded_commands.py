"""Our commands, from a process that has loaded them before: the suites call them some thousand times, and
most of the time that each takes goes into loading.

    done = loaded_command([COMMANDS / "signerd", "order", "list"], directory=…, environment=…, timeout_s=60)

A command runs in a process of its own, forked from one that has imported the programs and has done nothing
else. Its arguments, environment, directory and files are those that it would have been started with. Where
the environment tells the interpreter something else (`PYTHON…`, `LD_…`, the locale), it is started anew, as
daemons always are (`harness.process.Program`), and programs of installed packages.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAMS = {
    "signerd": "signerd.__main__",
    "birthmark-agent": "agent.__main__",
    "birthmark-auditor": "auditor.__main__",
}
# What most commands load when they begin to work.
_FURTHER = (
    "alembic.command",
    "cryptography.x509",
    "rich.progress",
    "agent.adapters.checks.station",
    "agent.adapters.enrolment.renewal",
    "auditor.verify",
    "birthmark.v1.admin_pb2_grpc",
    "birthmark.v1.audit_pb2_grpc",
    "birthmark.v1.signing_pb2_grpc",
    "signerd.adapters.checks",
    "signerd.adapters.cli.connection",
    "signerd.adapters.installation.places",
    "signerd.adapters.keyholder.personalization",
    "signerd.adapters.keyholder.service.settings",
    "signerd.adapters.keyholder.token_probe",
    "signerd.adapters.operations_ca",
    "signerd.adapters.recipients",
    "signerd.adapters.store",
    "signerd.config",
    "signerd.core.rehearsal",
)
_OF_THE_INTERPRETER = (
    "PYTHON",
    "LD_",
    "LC_",
    "LANG",
    "TZ",
    "COLUMNS",
    "LINES",
    "TERM",
    "NO_COLOR",
    "FORCE_COLOR",
)
_MESSAGE = 1 << 18  # bytes


class _Server:
    """The process that forks. One command at a time."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.loaded_commands", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")},
            )
        self.interpreter = _of_the_interpreter(os.environ)
        self.busy = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends it, by its own pid."""
        self._line.close()
        self._process.wait(timeout=10)

    def run(self, request: bytes, files: Sequence[int], timeout_s: float) -> int:
        """The exit code, as `subprocess` gives it. Raises TimeoutError: it was killed."""
        socket.send_fds(self._line, [request], files)
        pid = int(self._line.recv(64))
        self._line.settimeout(timeout_s)
        try:
            return int(self._line.recv(64))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._line.settimeout(None)
            self._line.recv(64)
            raise
        finally:
            self._line.settimeout(None)


@cache
def _server(_pid: int) -> _Server:
    """Of this process: whoever forked from it has another."""
    return _Server()


def is_loaded(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether this command can be run by `loaded_command`. With a library before all others (libfaketime) it
    is not: a fork has what its parent read there."""
    if "LD_PRELOAD" in environment:
        return False
    path = Path(command[0])
    own = path.parent == Path(sys.executable).parent and path.name in _PROGRAMS
    return own and _of_the_interpreter(environment) == _server(os.getpid()).interpreter


def loaded_command(
    command: Sequence[str], *, directory: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str] | None:
    """As `subprocess.run` with captured text and no input; None while another thread runs one.

    Raises:
        subprocess.TimeoutExpired: it did not end, and was killed.
    """
    server = _server(os.getpid())
    if not server.busy.acquire(blocking=False):
        return None
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = {
                "command": list(command),
                "directory": str(directory),
                "environment": dict(environment),
            }
            try:
                code = server.run(json.dumps(request).encode(), [out.fileno(), err.fileno()], timeout_s)
            except TimeoutError:
                raise subprocess.TimeoutExpired(list(command), timeout_s) from None
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
            return subprocess.CompletedProcess(list(command), code, *said)
    finally:
        server.busy.release()


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_OF_THE_INTERPRETER)}


def _serve(line: socket.socket) -> None:
    for name in (*_PROGRAMS.values(), *_FURTHER):
        importlib.import_module(name)
    while True:
        request, files, _, _ = socket.recv_fds(line, _MESSAGE, 2)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            line.close()
            _become(json.loads(request), *files)
        for file in files:
            os.close(file)
        line.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], out: int, err: int) -> None:
    """Never returns: ends as the console script of the program does."""
    code = 1
    try:
        for file, number in ((out, 1), (err, 2)):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = request["command"]
        sys.modules["__main__"].__package__ = None  # a script's: `Usage:` shows what was called
        importlib.import_module(_PROGRAMS[Path(sys.argv[0]).name]).main()
        code = 0
    except SystemExit as error:
        code = _code_of(error)
    except BaseException:  # noqa: BLE001 -- as the interpreter ends
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
