"""Recordings of runs, one file each, in the state directory: the newest that passed, and that did not.

A thread of its own writes them. None is needed to go on. A recording that cannot be kept is lost, the log
says so once, and no board waits for it. A crash leaves a temporary file, which the next start takes away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.core.result import Outcome
from agent.errors import ConfigError
from agent.recording import MAX_BYTES

FOLDER = "recordings"
KEPT_PASSED = 50
KEPT_OTHERS = 500  # at 20 kB a board, both together are 11 MB
_WAITING = 64  # recordings that are not written yet; a disk that is slower than the line loses some
_PRUNE_EVERY = 20
_NAME = re.compile(r"([0-9]{9})-(PASS|FAIL|PARKED)\.jsonl", re.ASCII)
_TEMPORARY = ".partial"
_LOG = logging.getLogger("birthmark.agent.recordings")


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """One that is kept."""

    run: int  # its number in the journal
    outcome: Outcome
    path: Path


class RecordingFiles:
    """Use it as an asynchronous context manager. `keep` is an `agent.ports.KeepRecording`."""

    def __init__(self, state: Path, *, passed: int = KEPT_PASSED, others: int = KEPT_OTHERS) -> None:
        self._folder = state / FOLDER
        self._passed, self._others = passed, others
        self._jobs: queue.Queue[tuple[int, Outcome, bytes] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="recordings", daemon=True)
        self._failing = False

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def keep(self, run: int, outcome: Outcome, data: bytes) -> None:
        """See `agent.ports.KeepRecording`."""
        try:
            self._jobs.put_nowait((run, outcome, data))
        except queue.Full:
            self._say("the disk is slower than the line")

    def _write_all(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for left in self._folder.glob(f"*{_TEMPORARY}"):
                left.unlink(missing_ok=True)
        except OSError as error:
            self._say(str(error.strerror))
        count = 0
        while (job := self._jobs.get()) is not None:
            try:
                self._write(*job)
                if count % _PRUNE_EVERY == 0:
                    self._prune()
            except OSError as error:
                self._say(str(error.strerror))
            else:
                self._failing = False
            count += 1

    def _write(self, run: int, outcome: Outcome, data: bytes) -> None:
        """A crash before the renaming leaves the temporary file alone; the run is in the journal."""
        path = self._folder / f"{run:09}-{outcome}.jsonl"
        temporary = path.with_suffix(_TEMPORARY)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        temporary.replace(path)

    def _prune(self) -> None:
        kept = {True: self._passed, False: self._others}
        for found in list_recordings(self._folder.parent):
            passed = found.outcome is Outcome.PASS
            kept[passed] -= 1
            if kept[passed] < 0:
                found.path.unlink(missing_ok=True)

    def _say(self, why: str) -> None:
        if not self._failing:
            _LOG.warning("recordings are not kept in %s: %s", self._folder, why)
        self._failing = True


def list_recordings(state: Path) -> list[RecordingFile]:
    """What is kept, newest first. Empty where there is no folder."""
    folder = state / FOLDER
    named = ((path, _NAME.fullmatch(path.name)) for path in (folder.iterdir() if folder.is_dir() else ()))
    found = [RecordingFile(int(match[1]), Outcome(match[2]), path) for path, match in named if match]
    return sorted(found, key=lambda each: each.run, reverse=True)


def recording_of(state: Path, run: int) -> bytes:
    """The recording of this run. Raises ConfigError where none is kept."""
    for found in list_recordings(state):
        if found.run == run:
            return read_file(found.path)
    remedy = (
        f"birthmark-agent replay lists what is kept: the last {KEPT_OTHERS} runs that did not pass, and the"
        f" last {KEPT_PASSED} that did."
    )
    raise ConfigError(f"no recording of run {run} is kept", remedy=remedy)


def read_file(path: Path) -> bytes:
    """The bytes of a recording, at most one more than a reader takes. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", remedy="Name a recording that can be read.") from error
