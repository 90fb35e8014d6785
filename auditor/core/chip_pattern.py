"""Patterns that cut a chip id out of a longer name (docs/formats.md, "Where a chip id comes from"), by code
of our own. Work is bounded by the length of name and pattern, whatever both are.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditor.errors import Malformed

MAX_PATTERN = 256  # characters
MAX_NAME = 256  # characters of a name, and repetitions
_LEAST_VALUES = 65_536  # fewer name a kind of chip
_CHIP_ID = frozenset(string.ascii_letters + string.digits + "._:-")
_TOKEN = re.compile(
    r"(?P<open>\()|(?P<close>\))"
    r"|(?:(?P<any>\.)|(?P<set>\[\^?(?:\\[^A-Za-z0-9]|[^\]\[\\])+\])|(?P<one>\\[^A-Za-z0-9]|[^\\\[\](){}.*+?|^$]))"
    r"(?P<times>\?|\*|\+|\{[0-9]{1,3}(?:,(?:[0-9]{1,3})?)?\})?"
)
_MEMBER = re.compile(r"(\\?.)(?:-(\\?.))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Item:
    """One of these characters, or with `others` one that is none of them: at least, at most so often."""

    characters: frozenset[str]
    others: bool
    least: int
    most: int

    def is_one(self, character: str) -> bool:
        return (character in self.characters) is not self.others


@dataclass(frozen=True, slots=True)
class ChipPattern:
    """What stands before the chip id, the chip id, and what stands after it. `read_pattern` makes it."""

    before: tuple[_Item, ...]
    group: tuple[_Item, ...]
    after: tuple[_Item, ...]

    def cut(self, name: str) -> str:
        """The chip id in this name. Raises Malformed unless there is exactly one way to cut it out."""
        if len(name) > MAX_NAME:
            raise Malformed("the name is too long for a pattern")
        begins = _reached(self.before, name, {0})
        closes = {len(name) - end for end in _reached(self.after[::-1], name[::-1], {0})}
        ends = _reached(self.group, name, begins) & closes
        backward = {len(name) - end for end in ends}
        begins &= {len(name) - end for end in _reached(self.group[::-1], name[::-1], backward)}
        if len(begins) != 1 or len(ends) != 1:
            raise Malformed("the name does not fit the pattern in exactly one way")
        return name[begins.pop() : ends.pop()]


def read_pattern(value: object) -> ChipPattern:
    """Raises Malformed for anything but a pattern."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN:
        raise Malformed("the pattern is not text of 1 to 256 characters")
    if not (value.isascii() and value.isprintable()):
        raise Malformed("the pattern is not printable ASCII")
    parts: list[list[_Item]] = [[]]
    position = 0
    while position < len(value):
        token = _TOKEN.match(value, position)
        if token is None:
            raise Malformed(f"the pattern is not of its form at {position}")
        if token["open"] or token["close"]:
            if len(parts) != (1 if token["open"] else 2):
                raise Malformed("the pattern has not exactly one group")
            parts.append([])
        else:
            parts[-1].append(_item(token))
        position = token.end()
    if len(parts) != 3:
        raise Malformed("the pattern has not exactly one group")
    if _values(parts[1]) < _LEAST_VALUES:
        raise Malformed("what the pattern cuts out names a kind of chip")
    return ChipPattern(*(tuple(part) for part in parts))


def _item(token: re.Match[str]) -> _Item:
    least, most = _times(token["times"])
    if token["any"]:
        return _Item(frozenset(), others=True, least=least, most=most)
    if token["one"]:
        return _Item(frozenset(token["one"][-1]), others=False, least=least, most=most)
    inner = token["set"][1:-1]
    others = inner.startswith("^")
    members = inner[others:]
    if not members:
        raise Malformed("the pattern has an empty class")
    return _Item(frozenset(_members(members)), others, least, most)


def _members(text: str) -> Iterable[str]:
    for first, last in _MEMBER.findall(text):
        if last and last[-1] < first[-1]:
            raise Malformed("the pattern has a range that runs backward")
        yield from map(chr, range(ord(first[-1]), ord((last or first)[-1]) + 1))


def _times(text: str | None) -> tuple[int, int]:
    match text:
        case None:
            return 1, 1
        case "?":
            return 0, 1
        case "*":
            return 0, MAX_NAME
        case "+":
            return 1, MAX_NAME
    least, comma, most = text[1:-1].partition(",")
    upper = int(most) if most else MAX_NAME if comma else int(least)
    if not int(least) <= upper <= MAX_NAME:
        raise Malformed("the pattern has a count out of its bounds")
    return int(least), upper


def _values(items: Sequence[_Item]) -> int:
    """How many chip ids they can be; it need not be exact beyond the bound that it is held against."""
    found = 1
    for item in items:
        size = sum(map(item.is_one, _CHIP_ID))
        texts = 0
        for count in range(item.least, item.most + 1):
            texts += size**count
            if texts >= _LEAST_VALUES or size <= 1 < count:
                texts += (item.most - count) * (size == 1)
                break
        found = min(found * texts, _LEAST_VALUES**2)
    return found


def _reached(items: Sequence[_Item], name: str, begins: set[int]) -> set[int]:
    """Where the items can end that begin at one of these places."""
    for item in items:
        at, ends = set(begins), set(begins) if item.least == 0 else set()
        for count in range(1, item.most + 1):
            at = {place + 1 for place in at if place < len(name) and item.is_one(name[place])}
            if not at:
                break
            if count >= item.least:
                ends |= at
        begins = ends
    return begins
