"""The one clock of signerd: it gives the time while that is certain, and refuses while it is not.

`ClockGuard` is called for every moment that becomes part of an entry, a certificate or a session. It compares
the wall clock with the seconds since boot and with the newest entry (`signerd.core.clock`). A clock that is
wrong ends serving at once; serving goes on by itself when the clock is right again. A clock that stays where
it jumped to, or that was ahead and was set right, goes on with `signerd clock accept`.

What the clocks were apart while the time was certain is kept in a file beside the second place of the
checkpoint, so that a clock that jumps while signerd is stopped is noticed too, until the machine is started
again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from signerd.adapters import durable_files
from signerd.core.clock import ClockState, Judgement, Reading, followed, judge
from signerd.errors import ClockWrong, Unavailable

LOOK_S = 1.0  # between two looks while nobody calls
_MOST_S = 1e11  # seconds since 1970 that a machine's start can be: within the years that Python counts
_SAVE_S = 1.0  # how far the reference may move before it is written again
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")

_log = structlog.get_logger(__name__)


def read_clocks() -> Reading:
    """Both clocks, one after the other."""
    return Reading(datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME))


def this_boot() -> str:
    """Names the count of seconds since boot: this start of the machine, in this time namespace."""
    try:
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()} {_TIME_NAMESPACE.readlink()}"
    except OSError:
        return ""  # nothing to compare with at the next start


class ReferenceFile:
    """What the clocks were apart, on disk. Without it a start knows the newest entry alone."""

    def __init__(self, path: Path, boot: str) -> None:
        """`path` beside the second place, which backups do not touch; `boot` from `this_boot`."""
        self._path = path
        self._boot = boot

    def load(self) -> float | None:
        """The reference of this boot; None where there is none that can be read."""
        try:
            kept = json.loads(self._path.read_text(encoding="ascii"))
            reference_s = float(kept["boot_s"])
            # Of a damaged file; NaN among it: no such comparison holds.
            if not abs(reference_s) < _MOST_S:
                return None
            if kept["v"] == 1 and kept["boot"] == self._boot and self._boot:
                return reference_s
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None
        return None

    def save(self, reference_s: float) -> None:
        """A crash before the rename leaves the old file; a file that is lost costs one comparison.

        Raises:
            Unavailable: it cannot be written.
        """
        kept = {"v": 1, "boot": self._boot, "boot_s": reference_s}
        try:
            durable_files.replace(self._path, json.dumps(kept).encode("ascii"), 0o600)
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error


class ClockGuard:
    """Gives aware UTC moments, or raises ClockWrong. Lives on the event loop."""

    def __init__(
        self,
        newest: Callable[[], datetime | None],
        *,
        file: ReferenceFile | None = None,
        read: Callable[[], Reading] = read_clocks,
    ) -> None:
        """`newest` gives the time of the newest entry."""
        self._newest = newest
        self._file = file
        self._read = read
        self._reference_s = file.load() if file is not None else None
        self._saved_s = self._reference_s
        self._looked_s: float | None = None
        self._state: ClockState | None = None

    def __call__(self) -> datetime:
        """The time.

        Raises:
            ClockWrong: the clock cannot be right.
        """
        judged = self.look()
        if judged.state is not ClockState.RIGHT:
            raise ClockWrong(str(judged))
        return judged.wall

    @property
    def right(self) -> bool:
        """True while the clock may be right."""
        return self.look().state is ClockState.RIGHT

    def estimate(self) -> datetime:
        """The time as well as it is known, also while the clock is wrong: for what is refused anyway."""
        return self.look().expected

    def look(self) -> Judgement:
        """Reads the clocks, and says so when their state has changed."""
        reading = self._read()
        judged = judge(reading, reference_s=self._reference_s, newest=self._newest())
        if judged.state is ClockState.RIGHT:
            self._follow(reading)
        if judged.state is not self._state:
            self._say(judged)
        return judged

    def accept(self) -> None:
        """Takes the clock as it is now. The caller has entered that it does."""
        reading = self._read()
        self._set(reading.boot_s, reading)
        self._save()

    async def watch(self, on_right: Callable[[], object]) -> None:
        """Looks again and again, until cancelled; calls `on_right` after each look at a right clock."""
        while True:
            if self.right:
                on_right()
            self.keep()
            await asyncio.sleep(LOOK_S)

    def keep(self) -> None:
        """Writes the reference if it has moved. A disk that takes no file is said once."""
        if self._reference_s is None:
            return
        if self._saved_s is None or abs(self._reference_s - self._saved_s) > _SAVE_S:
            try:
                self._save()
            except Unavailable as error:
                self._saved_s = self._reference_s
                _log.error("clock_reference_not_kept", detail=error.detail)

    def _follow(self, reading: Reading) -> None:
        if self._reference_s is None or self._looked_s is None:
            self._set(reading.boot_s if self._reference_s is None else self._reference_s, reading)
            return
        passed_s = reading.since_boot_s - self._looked_s
        self._set(followed(self._reference_s, reading, passed_s), reading)

    def _set(self, reference_s: float, reading: Reading) -> None:
        self._reference_s, self._looked_s = reference_s, reading.since_boot_s

    def _save(self) -> None:
        if self._file is not None and self._reference_s is not None:
            self._file.save(self._reference_s)
            self._saved_s = self._reference_s

    def _say(self, judged: Judgement) -> None:
        before, self._state = self._state, judged.state
        if judged.state is not ClockState.RIGHT:
            _log.error(
                "clock_wrong",
                state=judged.state.value,
                detail=str(judged),
                remedy="set the clock right; if it is right now: signerd clock accept",
            )
        elif before is not None:
            _log.warning("clock_right", detail=str(judged))
