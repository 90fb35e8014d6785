"""Is the clock right? Pure: readings in, a verdict out.

The wall clock is read beside one that counts seconds since the machine was started, in suspend too, and
that nobody sets. What they are apart must stay the same: a program that disciplines the clock slews both.
A step of the wall clock by more than `BOUND` is a jump. And time never goes back: a wall clock that is more
than `BOUND` before the newest entry of the ledger is behind.

    judge(Reading(wall, since_boot_s), reference_s=…, newest=…)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

BOUND = timedelta(seconds=120)  # auditors' bound on times that go back (docs/auditing.md, F205)
# Steps within the bound are taken over at this rate, the fastest at which kernels slew: 43 s a day.
FOLLOW = 500e-6


class ClockState(StrEnum):
    """What the clock is."""

    RIGHT = "right"
    BEHIND = "behind"  # before the newest entry
    JUMPED = "jumped"  # against the seconds since boot


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one moment. `wall` is aware, UTC."""

    wall: datetime
    since_boot_s: float

    @property
    def boot_s(self) -> float:
        """When the machine was started, as the wall clock would have it: seconds since 1970."""
        return self.wall.timestamp() - self.since_boot_s


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict. `expected`: what the wall clock should say, as far as is known; at least that."""

    state: ClockState
    wall: datetime
    expected: datetime

    def __str__(self) -> str:
        apart = abs(self.wall - self.expected).total_seconds()
        if self.state is ClockState.JUMPED:
            way = "forward" if self.wall > self.expected else "back"
            return f"the clock jumped {way} by {apart:.0f} s: it says {_text(self.wall)}"
        if self.state is ClockState.BEHIND:
            newest = _text(self.expected)
            return f"the clock says {_text(self.wall)}, {apart:.0f} s before the newest entry of {newest}"
        return f"the clock says {_text(self.wall)}"


def judge(reading: Reading, *, reference_s: float | None, newest: datetime | None) -> Judgement:
    """Judges a reading.

    Args:
        reading: both clocks.
        reference_s: `Reading.boot_s` while the clock was right; None where that is not known.
        newest: the time of the newest entry, aware; None where there is none.
    """
    wall = reading.wall
    expected = wall if reference_s is None else _moment(reference_s + reading.since_boot_s)
    if abs(wall - expected) > BOUND:
        least = expected if newest is None else max(expected, newest)
        return Judgement(ClockState.JUMPED, wall, least if wall < expected else expected)
    if newest is not None and newest - wall > BOUND:
        return Judgement(ClockState.BEHIND, wall, newest)
    return Judgement(ClockState.RIGHT, wall, wall)


def followed(reference_s: float, reading: Reading, passed_s: float) -> float:
    """The reference after `passed_s` seconds in which the clock was right."""
    most = FOLLOW * max(0.0, passed_s)
    return reference_s + min(max(reading.boot_s - reference_s, -most), most)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
