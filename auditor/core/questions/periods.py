"""Times and ages as they are asked for.

period("2026-11-01", "2026-11-02")     # both days, UTC
age_s("36h")                           # 129,600
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from auditor.errors import Malformed

_AGE = re.compile(r"([0-9]{1,6})([mhd])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
_DAY, _MOMENT = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"
FIRST, LAST = 0, 253_402_300_800  # seconds since 1970: to the end of the year 9999


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` on, and before `end`: seconds since 1970, UTC."""

    start: int = FIRST
    end: int = LAST

    def holds(self, at: int) -> bool:
        """True if the second is of it."""
        return self.start <= at < self.end


def period(first: str, last: str) -> Period:
    """Days (`2026-11-01`) or moments (`2026-11-01T06:00:00Z`), both included; empty: without an end.

    Raises:
        Malformed: one is neither, or the period ends before it begins.
    """
    found = Period(_seconds(first, 0) if first else FIRST, _seconds(last, 1) if last else LAST)
    if found.start >= found.end:
        raise Malformed(f"the period ends before it begins: {first} to {last}")
    return found


def _seconds(text: str, after: int) -> int:
    """Of the beginning; with `after` 1, of the second right behind the end."""
    for form, length in ((_DAY, timedelta(days=1)), (_MOMENT, timedelta(seconds=1))):
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(moment.timestamp()) + after * int(length.total_seconds())
    raise Malformed(f"{text!r} is no day (2026-11-01) and no moment (2026-11-01T06:00:00Z), UTC")


def age_s(text: str) -> int:
    """Seconds of `90m`, `36h` or `3d`. Raises Malformed."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise Malformed(f"{text!r} is no age: write 90m, 36h or 3d")
    return int(found[1]) * _SECONDS[found[2]]
