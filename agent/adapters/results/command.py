"""Runs the command of the configuration for each result: its failure is told, and changes nothing else.

Each run has a bound of time, and so many run at once; what comes faster waits, up to a bound, and beyond that
is left out and told. A command that does not start is told once, and how many rows it missed when it starts
again or the station ends. The command's standard input is the row as JSON. Its standard output goes nowhere,
and the last of its standard error stands in the notice if it fails.
"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from agent.adapters.child_process import end_group
from agent.core.result_row import ResultRow, json_object

_AT_ONCE = 4
_WAITING = 256
_STDERR_BYTES = 2_000
_ENDING_S = 2.0  # for a command that is ended by its bound, and its notice
_STDERR_S = 0.5  # for what is still in the pipe when the command has ended


class _NotStartedError(Exception):
    """There is no such program, or this account may not run it."""


class ResultCommand:
    """The command, and those of its runs that are under way."""

    def __init__(self, command: tuple[str, ...], timeout_s: float, notice: Callable[[str], None]) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._notice = notice
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._missed = 0  # rows since it did not start

    def submit(self, row: ResultRow) -> None:
        """Has the command run for this row, soon. Never waits."""
        if len(self._tasks) >= _WAITING:
            self._notice(f"results.command is too slow: it is not told of run {row.run} ({_who(row)})")
            return
        task = asyncio.create_task(self._in_turn(row), name=f"results.command {row.run}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Waits for those under way, until their own bound has ended them; those in line do without."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout_s + _ENDING_S)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._tell_missed()
        if left:
            self._notice(f"results.command: {len(left)} results were not told when the station ended")

    async def _in_turn(self, row: ResultRow) -> None:
        async with self._places:
            try:
                failure = await self._run(row)
            except _NotStartedError as error:
                self._missed += 1
                if self._missed == 1:
                    self._notice(f"results.command for {_who(row)}: {error}; said once until it starts")
                return
        self._tell_missed()
        if failure:
            self._notice(f"results.command for {_who(row)}: {failure}")

    def _tell_missed(self) -> None:
        missed, self._missed = self._missed, 0
        if missed > 1:
            self._notice(
                f"results.command was not told of {missed} results: birthmark-agent results has them"
            )

    async def _run(self, row: ResultRow) -> str:
        """Runs it; returns what went wrong, or nothing."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=PIPE,
                env={**os.environ, **_environment(row)},
                start_new_session=True,  # so that its children end with it
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in the configured words
            raise _NotStartedError(f"cannot start {self._command[0]}: {error}") from error
        said = asyncio.create_task(_last_words(process))
        failure = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await _tell(process, json.dumps(json_object(row)).encode() + b"\n")
                code = await process.wait()
        except TimeoutError:
            failure = f"ended after {self._timeout_s:g} s"
        finally:
            if not await end_group(process):
                failure = f"did not end in {self._timeout_s:g} s, and goes on: it is another user's"
            await asyncio.wait([said], timeout=_STDERR_S)
            said.cancel()
        if failure:
            return failure
        words = said.result() if said.done() and not said.cancelled() else ""
        return f"exit code {code}{': ' if words else ''}{words}" if code else ""


async def _tell(process: Process, text: bytes) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is told
            process.stdin.write(text)
            await process.stdin.drain()
        process.stdin.close()


async def _last_words(process: Process) -> str:
    """Reads all of standard error, and keeps its end."""
    kept = b""
    if process.stderr is not None:
        while piece := await process.stderr.read(_STDERR_BYTES):
            kept = (kept + piece)[-_STDERR_BYTES:]
    lines = kept.decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _environment(row: ResultRow) -> dict[str, str]:
    """Without control characters: a NUL cannot be passed, and a shell script need not expect a line break."""
    values = {
        "BIRTHMARK_OUTCOME": row.outcome,
        "BIRTHMARK_PORT": row.port,
        "BIRTHMARK_SERIAL_NUMBER": row.serial_number,
        "BIRTHMARK_CODE": row.code,
        "BIRTHMARK_RUN": str(row.run),
    }
    return {name: "".join(c if c.isprintable() else "?" for c in value) for name, value in values.items()}


def _who(row: ResultRow) -> str:
    return row.serial_number or row.chip_id or row.port
