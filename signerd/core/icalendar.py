"""Ends as an iCalendar (RFC 5545), for the calendar that people look at: an event each, with an alarm.

Guarantees lines of at most 75 octets that are folded between characters, and values in which nothing of a
name can begin a line, a property or an event.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

from signerd.core.ends import End, What

_LINE = 75  # octets, without the line's end (§3.1)
_ESCAPES = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,"})  # §3.3.11


def calendar(ends: Iterable[End], deployment: str, now: datetime) -> str:
    """The whole file. `now` is aware. The same end has the same UID each time: importing again moves it. Of
    several that have one name, as certificates of one subject, the last one's is that of the name alone."""
    ends = list(ends)
    last: dict[tuple[What, str], datetime] = {}
    for end in ends:
        last[end.what, end.name] = max(end.at, last.get((end.what, end.name), end.at))
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Birthmark//signerd calendar//EN",
        f"X-WR-CALNAME:{_text(f'Birthmark {deployment}')}",
    ]
    for end in ends:
        beside = [] if end.at == last[end.what, end.name] else [_moment(end.at)]
        lines += _event(end, (deployment, end.what.value, end.name, *beside), now)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _folded(line))


def _event(end: End, named: Collection[str], now: datetime) -> Iterator[str]:
    uid = hashlib.sha256("\n".join(named).encode()).hexdigest()
    title = f"{end.what.value.replace('_', ' ')} {end.name} ends"
    yield "BEGIN:VEVENT"
    yield f"UID:{uid[:32]}@birthmark"
    yield f"DTSTAMP:{_moment(now)}"
    yield f"DTSTART:{_moment(end.at)}"
    yield f"SUMMARY:{_text(title)}"
    yield f"DESCRIPTION:{_text(f'{end.stops}. {end.remedy}')}"
    yield "TRANSP:TRANSPARENT"  # a date like this makes nobody busy
    yield "BEGIN:VALARM"
    yield "ACTION:DISPLAY"
    yield f"DESCRIPTION:{_text(title)}"
    yield f"TRIGGER:-P{end.warned.days}D"
    yield "END:VALARM"
    yield "END:VEVENT"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"  # §3.3.5, form 2


def _text(text: str) -> str:
    seen = (" " if unicodedata.category(each)[0] == "C" else each for each in text)
    return "".join(seen).translate(_ESCAPES)


def _folded(line: str) -> Iterator[str]:
    """A line that goes on begins with a blank, which counts (§3.1)."""
    part, size = "", 0
    for character in line:
        octets = len(character.encode())
        if size + octets > _LINE:
            yield part
            part, size = " ", 1
        part += character
        size += octets
    yield part
