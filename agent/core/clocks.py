"""Do the clocks of signerd and of this PC agree? Neither counts as right: no board begins while they do not.

Each answer of signerd says what its clock said (docs/formats.md, "Codes"). It said so between
the moment at which the call left and the moment at which the answer came.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from agent.errors import ClocksApart

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", re.ASCII)


def read_time(text: object) -> datetime | None:
    """The time that signerd stated; None where it stated none, as a signerd of before does."""
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def apart(theirs: datetime, sent: datetime, came: datetime) -> timedelta:
    """How far signerd's clock is ahead of this PC's, at least (negative: behind); zero if they may agree."""
    if theirs > max(sent, came):
        return theirs - max(sent, came)
    return min(theirs - min(sent, came), timedelta(0))


def check(difference: timedelta, bound: timedelta) -> None:
    """Raises ClocksApart if the clocks are further apart than the bound."""
    if abs(difference) > bound:
        raise ClocksApart(f"{said(difference)} this PC's; allowed are {_span(bound)}")


def said(difference: timedelta) -> str:
    """For people: `2 h 0 min ahead of`."""
    return f"{_span(abs(difference))} {'behind' if difference < timedelta(0) else 'ahead of'}"


def _span(length: timedelta) -> str:
    minutes, seconds = divmod(round(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "days"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "0 s"
