"""The worker of one port: a process that runs esptool, asked over JSON lines.

esptool is GPL-2.0-or-later, keeps one logger a process, reads configuration files of its working directory,
and calls `sys.exit`: so it runs by itself, one process a port, in an empty directory of its own and with no
environment but what a program needs to start. Whatever the worker does, a command ends within its deadline
with an answer, a `BoardError` or a `LineError`; a worker that hangs, dies or says anything but JSON is killed
with all that it started, and the next command starts another.

    async with Worker() as worker:
        report = await worker.ask("open", {"port": "/dev/ttyUSB0", …}, timeout_s=20)
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import agent
from agent.adapters.child_process import end_group
from agent.errors import AgentError, BoardError, LineError
from agent.ports import OnProgress

if TYPE_CHECKING:
    from agent.adapters.log.trace import SerialTrace

_MAX_LINE = 262_144  # bytes of an answer; the longest is some thousand MD5s
_MAX_LINES = 100_000  # of one command: progress comes at most ten times a second


def worker_command(executable: str, *, frozen: bool) -> tuple[str, ...]:
    """A module of this Python; in a self-contained station (deploy/onefile) a program beside the agent's."""
    if frozen:
        program = Path(executable)
        return (str(program.with_name("birthmark-esptool-worker" + program.suffix)),)
    return (executable, "-P", "-m", "agent.adapters.drivers.esp32.worker")


_WORKER = worker_command(sys.executable, frozen=bool(getattr(sys, "frozen", False)))
# What a process needs to start, on POSIX and on Windows. Nothing that begins with ESPTOOL or ESPRESSIF.
_KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "SYSTEMDRIVE", "TZ")
_REMEDY_WORKER = (
    "Do it again; if it happens again, the station's esptool is at fault: install the station again"
)


class Worker:
    """Starts its process at the first command."""

    def __init__(self, command: Sequence[str] = _WORKER, trace: SerialTrace | None = None) -> None:
        """`trace` is told what is asked and answered."""
        self._command = tuple(command)
        self._trace = trace
        self._process: asyncio.subprocess.Process | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return None if self._process is None else self._process.pid

    async def ask(
        self,
        command: str,
        fields: Mapping[str, object],
        timeout_s: float,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Runs one command.

        Raises:
            LineError, BoardError: as the worker says; `worker_hung`, `worker_died` or `worker_junk` for a
                worker that was killed.
        """
        trace = self._trace
        if trace is None:
            return await self._run(command, fields, timeout_s, on_progress)
        trace.asked(command, fields)
        begun_s = time.monotonic()
        told: Mapping[str, object] = {"error": "broken off"}
        try:
            told = answer = await self._run(command, fields, timeout_s, on_progress)
        except AgentError as error:
            told = {"error": error.code, "detail": error.detail}
            raise
        finally:
            trace.answered(told, time.monotonic() - begun_s)
        return answer

    async def _run(
        self, command: str, fields: Mapping[str, object], timeout_s: float, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        answered = False
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._exchange(command, fields, on_progress)
                result = _result(answer)
                answered = True
        except TimeoutError as error:
            detail = f"esptool did not finish {command} in {timeout_s:g} s"
            raise LineError("worker_hung", detail, remedy=_REMEDY_WORKER) from error
        finally:
            if not answered:
                # It is in the middle of something. Also when we are cancelled.
                await asyncio.shield(self.stop())
        if isinstance(result, Exception):
            raise result
        return result

    async def _exchange(
        self, command: str, fields: Mapping[str, object], on_progress: OnProgress | None
    ) -> dict[str, Any]:
        process = await self._started()
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise LineError("worker_died", "esptool's process has no pipes", remedy=_REMEDY_WORKER)
        self._number += 1
        request = {"id": self._number, "command": command, **fields}
        try:
            stdin.write(json.dumps(request).encode("ascii") + b"\n")
            await stdin.drain()
            for _ in range(_MAX_LINES):
                answer = _parse(await stdout.readline(), self._number)
                progress = answer.get("progress")
                if progress is None:
                    return answer
                _report(progress, on_progress)
        except (ConnectionError, ValueError) as error:  # readline: ValueError for a line beyond the limit
            raise LineError("worker_died", f"esptool's process: {error}", remedy=_REMEDY_WORKER) from error
        raise LineError("worker_junk", "esptool's process does not come to an end", remedy=_REMEDY_WORKER)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self.stop()
        self._directory = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="birthmark-esptool-")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=self._directory.name,
                env=_environment(self._directory.name),
                limit=_MAX_LINE,
                start_new_session=True,  # a group of its own, to be killed with all that it started
            )
        except OSError as error:
            raise LineError("worker_died", f"esptool's process does not start: {error.strerror}") from error
        return self._process

    async def stop(self) -> None:
        """Ends the process, if there is one. The port is free when this returns."""
        process, self._process = self._process, None
        directory, self._directory = self._directory, None
        if process is not None:
            await _end(process)
        if directory is not None:
            await asyncio.to_thread(directory.cleanup)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    await end_group(process)  # one that the kernel cannot end holds nobody up


def _environment(home: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Not all of sys.path: the directory of a command's script is in it, and esptool.py may lie there.
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = [str(Path(agent.__file__).parents[1]), *(str(Path(path).absolute()) for path in inherited)]
    return kept | {
        "HOME": home,
        "USERPROFILE": home,  # its name on Windows: esptool asks for it when it is loaded
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
    }


def _parse(line: bytes, number: int) -> dict[str, Any]:
    if not line:
        raise LineError("worker_died", "esptool's process ended", remedy=_REMEDY_WORKER)
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("worker_junk", "esptool's process answers no JSON", remedy=_REMEDY_WORKER) from error
    if not isinstance(answer, dict) or answer.get("id") != number:
        raise LineError("worker_junk", "esptool's process answers something else", remedy=_REMEDY_WORKER)
    return answer


def _report(progress: object, on_progress: OnProgress | None) -> None:
    match progress:
        case [int(done), int(total)] if 0 <= done <= total:
            if on_progress is not None:
                on_progress(done, total)
        case _:
            raise LineError("worker_junk", "esptool's process tells no progress", remedy=_REMEDY_WORKER)


_ERRORS: dict[str, Callable[[str, str, str], Exception]] = {
    "line": lambda code, detail, remedy: LineError(code, detail, remedy=remedy),
    "board": lambda code, detail, remedy: BoardError(code, detail, remedy=remedy),
    "again": lambda code, detail, remedy: BoardError(code, detail, remedy=remedy, retryable=True),
}


def _result(answer: dict[str, Any]) -> dict[str, Any] | Exception:
    """What a command came to, an error of the worker's included. Raises `LineError` for what is neither."""
    match answer:
        case {"result": dict(result)}:
            return result
        case {"error": [str(kind), str(code), str(detail), str(remedy)]} if kind in _ERRORS:
            return _ERRORS[kind](code[:40], detail[:300], remedy[:300])
    raise LineError(
        "worker_junk", "esptool's process answers neither result nor error", remedy=_REMEDY_WORKER
    )
