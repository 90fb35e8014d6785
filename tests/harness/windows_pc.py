"""A station's PC with Windows: CPython for Windows under Wine, with this checkout's agent.

    pc = WindowsPc(directory)
    pc.plug(30, farm.ports[0])                        # a pty becomes COM30
    with pc.start("run", "--order", "WO-1", "--port", "COM30") as station:
        station.event("board_done")
    assert pc.agent("status").code == 0

`deploy/setup/wine/bed.sh` makes what is common to all checkouts. One test run at a time has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from harness.process import REPOSITORY, wait_until
from tokens import presence

_BED = REPOSITORY / "deploy" / "setup" / "wine" / "bed.sh"
_UNAVAILABLE = 3  # its exit code
COM_PORTS = range(30, 46)
TIMEOUT_S = 120.0
STARTS = 3  # of a script that Wine ends before it begins
# An exception's text goes into the file, and then where it always goes.
_BEGUN = """\
import sys as _sys, traceback as _traceback
open({path!r}, "w").close()
def _last_words(*error):
    with open({path!r}, "w") as file:
        _traceback.print_exception(*error, file=file)
    _sys.__excepthook__(*error)
_sys.excepthook = _last_words
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    def json(self) -> Any:
        return json.loads(self.out)


def windows_path(path: Path) -> str:
    """As Windows names a file of this machine: drive Z: is /."""
    return "Z:" + str(path).replace("/", "\\")


class WindowsProgram:
    """A running Windows program. Its output goes through pipes: with Wine, Python starts with no other."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        self._out: list[bytes] = []
        self._err: list[bytes] = []
        self._readers = [
            threading.Thread(target=_drain, args=pair, daemon=True)
            for pair in ((self._process.stdout, self._out), (self._process.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def said(self) -> str:
        """Both streams so far."""
        return b"".join((*self._out, *self._err)).decode(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """What `run` told so far."""
        return [json.loads(line) for line in list(self._out) if line.endswith(b"\n")]

    def event(self, name: str, **members: object) -> None:
        """Returns when there was such an event."""

        def happened() -> bool:
            assert self._process.poll() is None, f"it ended before {name}:\n{self.said}"
            return any(each["event"] == name and members.items() <= each.items() for each in self.events())

        wait_until(happened, name, timeout_s=TIMEOUT_S)

    def interrupt(self) -> None:
        """Ctrl-C: Wine hands SIGINT on as Windows' event of the console."""
        self._process.send_signal(signal.SIGINT)

    def wait(self, timeout_s: float = TIMEOUT_S) -> Ended:
        """Its end."""
        try:
            code = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it did not end; it said:\n{self.said}") from error
        for reader in self._readers:
            reader.join(timeout=10)
        return Ended(code, b"".join(self._out), b"".join(self._err))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _drain(stream: Any, into: list[bytes]) -> None:
    into.extend(iter(stream.readline, b""))


class WindowsPc:
    """The bed with this checkout's programs in it."""

    def __init__(self, bed: Path, directory: Path) -> None:
        self.bed = bed
        self.directory = directory
        self.program: tuple[str, ...] = (str(bed / "python" / "python.exe"), "-m", "agent")
        self._site = directory / "site"
        self._install()
        self.environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree=d;mshtml=d;winemenubuilder.exe=d",
            "WINEPREFIX": str(bed / "prefix"),
        }

    def _install(self) -> None:
        """The project's wheel, as pip would lay it out."""
        build = [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "-t",
            "wheel",
            "-d",
            str(self.directory / "wheel"),
        ]
        subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
        (wheel,) = (self.directory / "wheel").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self._site)
        link = self.bed / "checkout"  # which a .pth file of the bed names
        link.unlink(missing_ok=True)
        link.symlink_to(self._site)

    def plug(self, number: int, device: str) -> str:
        """Makes a serial port of this machine COM`number`; returns that name."""
        link = self.bed / "ports" / f"com{number}"
        link.unlink(missing_ok=True)
        link.symlink_to(device)
        return f"COM{number}"

    def start(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> WindowsProgram:
        """Starts `birthmark-agent`. Paths are turned into Windows' names."""
        return self.run(*self.program, *arguments, environment=environment)

    def python(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> WindowsProgram:
        """Starts Windows' Python."""
        return self.run(str(self.bed / "python" / "python.exe"), *arguments, environment=environment)

    def run(
        self, program: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> WindowsProgram:
        """Starts a program of Windows."""
        given = [windows_path(one) if isinstance(one, Path) else one for one in arguments]
        return WindowsProgram(["wine", program, *given], {**self.environment, **(environment or {})})

    def agent(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Ended:
        """Runs `birthmark-agent` to its end."""
        with self.start(*arguments, environment=environment) as program:
            return program.wait()

    def tool(self, *command: str) -> Ended:
        """Runs a program of Windows: `net`, `taskkill`."""
        with WindowsProgram(["wine", *command], self.environment) as program:
            return program.wait()

    def power_cut(self) -> None:
        """Turns the PC off, without a word to anybody."""
        _wineserver(self, "--kill")
        _wineserver(self, "--wait")

    def power_on(self) -> None:
        """Starts it. Nobody logs in."""
        _wineserver(self, "--persistent")
        assert self.tool("wineboot").code == 0

    def script(self, text: str, *arguments: str | Path) -> Ended:
        """Runs a few lines of Python there.

        Once in some hundred times, beside busy neighbours, Wine ends a program before its first line with
        code 1 and without a word. Such a one is started again, and no other: each leaves a file as it begins,
        in which its last words stand as well, should the pipes not bring them.
        """
        for attempt in range(STARTS):
            said = self.directory / f"said-{uuid.uuid4().hex}"
            begun = _BEGUN.format(path=windows_path(said))
            with self.python("-c", begun + text, *arguments) as program:
                ended = program.wait()
            if said.exists():
                return replace(ended, err=ended.err or said.read_bytes())
            assert not ended.out + ended.err, f"attempt {attempt}: {ended}"
        raise AssertionError(f"no program began in {STARTS} starts: {ended}")


@contextlib.contextmanager
def windows_pc(directory: Path) -> Iterator[WindowsPc]:
    """A PC of this test's own until the context ends. Without Wine, the test is skipped by name."""
    made = subprocess.run([_BED], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if made.returncode == _UNAVAILABLE:
        presence.skip(f"no Windows here: {made.stderr.strip()}")
    if made.returncode != 0:
        pytest.fail(f"{_BED.name} failed:\n{made.stderr}")
    bed = Path(made.stdout.split()[-1])
    with (bed / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in COM_PORTS:
            (bed / "ports" / f"com{number}").unlink(missing_ok=True)
        pc = WindowsPc(bed, directory)
        try:
            # Started here, so that it does not inherit what a test's program has open.
            _wineserver(pc, "--persistent")
            yield pc
        finally:
            _wineserver(pc, "--kill")


def _wineserver(pc: WindowsPc, what: str) -> None:
    null = subprocess.DEVNULL
    subprocess.run(
        ["wineserver", what], env=pc.environment, check=False, stdin=null, stdout=null, stderr=null
    )
