"""Names of ports as people read them: in the order in which they count, and short, each still its own.

by_place("1.2") < by_place("1.10")
short_names(["/dev/serial/by-path/pci-0:1.2:1.0", "/dev/serial/by-path/pci-0:1.10:1.0"])
# {…: "1.2:1.0", …: "1.10:1.0"}
short_names(names, width=6)  # the ends of the names, where they tell the ports apart
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_PIECES = re.compile(r"([0-9]{1,18})")
_SYSTEM_NAME = re.compile(r"(?P<kind>/|usb-|\\\\\.\\)")  # names that systems made; others are people's own
_BEFORE = "/-:_\\"  # a name may be cut after one of these
_BEHIND = "-:_"  # and before one of these
_ELLIPSIS = "…"


def by_place(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts places as people count: port 2 before port 10."""
    pieces = enumerate(_PIECES.split(name))  # every second one is digits
    return tuple((0, int(piece)) if index % 2 else (1, piece) for index, piece in pieces if piece)


def short_names(names: Collection[str], width: int | None = None) -> Mapping[str, str]:
    """What each of these ports is called beside the others: no two alike, none longer than `width`.

    What all names of one kind begin with goes, up to a separator. The end stays: it says which place, which
    adapter. Only where `width` (columns, at least 6) is too small for the rest, a common end goes too.

    Args:
        names: all that are shown together, each once.
        width: the most characters of a name; None: as long as they are.
    """
    shown = dict.fromkeys(names)
    whole = {name: name for name in shown}
    without_head = _distinct(_cut_heads(shown)) or whole
    if width is None or all(len(short) <= width for short in without_head.values()):
        return without_head
    without_tail = _distinct(_cut_tails(without_head)) or without_head
    for candidate in (without_head, without_tail):
        fitted = _distinct({name: _end(short, width) for name, short in candidate.items()})
        if fitted is not None:
            return fitted
    marks = {name: f"{_ELLIPSIS}#{number}" for number, name in enumerate(sorted(shown, key=by_place), 1)}
    return {name: without_head[name][: max(width - len(mark), 0)] + mark for name, mark in marks.items()}


def _cut_heads(names: Collection[str]) -> dict[str, str]:
    kinds: dict[str, list[str]] = {}
    for name in names:
        match = _SYSTEM_NAME.match(name)
        if match is not None:
            kinds.setdefault(match["kind"], []).append(name)
    shorts = {name: name for name in names}
    for kind, alike in kinds.items():
        if len(alike) > 1:
            head = _common_head(alike)
        else:
            head = alike[0][: alike[0].rfind("/") + 1] if kind == "/" else ""
        shorts |= {name: name[len(head) :] for name in alike}
    return shorts


def _common_head(names: Collection[str]) -> str:
    common = _common(names)
    cut = max(common.rfind(separator) for separator in _BEFORE) + 1
    while cut and any(len(name) == cut for name in names):  # a name that is all beginning keeps its last part
        cut = max(common.rfind(separator, 0, cut - 1) for separator in _BEFORE) + 1
    return common[:cut]


def _common(names: Collection[str]) -> str:
    first, last = min(names, default=""), max(names, default="")
    return next(
        (first[:place] for place, letter in enumerate(first) if last[place : place + 1] != letter), first
    )


def _cut_tails(shorts: Mapping[str, str]) -> dict[str, str]:
    common = _common([short[::-1] for short in shorts.values()])[::-1]
    cuts = [common.find(separator) for separator in _BEHIND if separator in common]
    tail = common[min(cuts) :] if cuts else ""
    return {name: short[: len(short) - len(tail)] for name, short in shorts.items()}


def _end(short: str, width: int) -> str:
    return short if len(short) <= width else _ELLIPSIS + short[len(short) - width + 1 :]


def _distinct(shorts: Mapping[str, str]) -> Mapping[str, str] | None:
    """The same, if each name has one of its own."""
    return shorts if "" not in shorts.values() and len(set(shorts.values())) == len(shorts) else None
