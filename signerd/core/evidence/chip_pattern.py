"""Patterns that cut a chip id out of a longer name: a small part of RE2's language, without backtracking.

Guarantees that a name is cut in one way or not at all, in time linear in name and pattern, whatever both are.

    parse_pattern(r"EUI:([0-9A-F]{16}) S:SE0 ID:MCU").cut("EUI:000D6FFFFE000001 S:SE0 ID:MCU")

A pattern is a sequence of characters, of `.` and of classes as `[0-9A-F]` or `[^ ]`, each of them repeated by
`?`, `*`, `+`, `{n}`, `{n,}` or `{n,m}`, and has one pair of parentheses around what is cut out. A backslash
takes away the meaning of the character that follows. A pattern always covers the whole name
(docs/formats.md, "Where a chip id comes from").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from signerd.core.names import is_chip_id

MAX_PATTERN = 256  # characters
MAX_NAME = 256  # characters of a name that a pattern is held against
# A group that can be fewer texts than this names a family, not a chip.
LEAST_VALUES = 65_536
_ENOUGH = 1 << 64
_SPECIAL = frozenset("\\[](){}.*+?|^$")
_QUANTIFIER = re.compile(r"\{(\d{1,3})(?:(,)(\d{1,3})?)?\}")
_SHORT = {"?": (0, 1), "*": (0, MAX_NAME), "+": (1, MAX_NAME)}
_PARTS = 3  # before, inside and after the parentheses
_ALPHABET = frozenset(chr(code) for code in range(128) if is_chip_id(chr(code)))


class PatternError(ValueError):
    """It is no pattern, or it does not cut this name in exactly one way."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One of these characters, or with `others` one of all the others, so many times."""

    characters: frozenset[str]
    others: bool
    least: int = 1
    most: int = 1

    def fits(self, character: str) -> bool:
        return (character in self.characters) != self.others

    def values(self) -> int:
        """How many texts of a chip id's alphabet it can be, up to a bound."""
        size = sum(self.fits(character) for character in _ALPHABET)
        texts: int = sum(size**count for count in range(self.least, self.most + 1))
        return min(_ENOUGH, texts)


@dataclass(frozen=True, slots=True)
class ChipPattern:
    """A pattern. `parse_pattern` makes it."""

    text: str
    before: tuple[_Item, ...]
    group: tuple[_Item, ...]
    after: tuple[_Item, ...]

    @property
    def values(self) -> int:
        """How many chip ids it can cut out, up to a bound."""
        found = 1
        for item in self.group:
            found = min(_ENOUGH, found * item.values())
        return found

    def cut(self, name: str) -> str:
        """What the parentheses hold of this name.

        Raises:
            PatternError: it does not fit, or in more than one way: which counts would be the reader's choice.
        """
        if len(name) > MAX_NAME:
            raise PatternError(f"a name of more than {MAX_NAME} characters")
        begins = _ends(self.before, name, 1)
        closes = _begins(self.after, name, 1 << len(name))
        begins &= _begins(self.group, name, closes)
        closes &= _ends(self.group, name, begins)
        if not begins:
            raise PatternError(f"it does not fit the pattern {self.text}")
        if begins.bit_count() > 1 or closes.bit_count() > 1:
            raise PatternError(f"it fits the pattern {self.text} in more than one way")
        return name[begins.bit_length() - 1 : closes.bit_length() - 1]


def parse_pattern(text: str) -> ChipPattern:
    """Reads a pattern.

    Raises:
        PatternError: it is none, has not exactly one group, or one that can be too few texts.
    """
    if not 0 < len(text) <= MAX_PATTERN or not text.isascii() or not text.isprintable():
        raise PatternError(f"a pattern is 1 to {MAX_PATTERN} printable ASCII characters")
    parts: list[list[_Item]] = [[]]
    position = 0
    while position < len(text):
        if text[position] == ("(" if len(parts) == 1 else ")") and len(parts) < _PARTS:
            parts.append([])
            position += 1
            continue
        item, position = _item(text, position)
        parts[-1].append(item)
    if len(parts) != _PARTS:
        raise PatternError("a pattern has exactly one pair of parentheses, around the chip id")
    pattern = ChipPattern(text, *(tuple(part) for part in parts))
    if pattern.values < LEAST_VALUES:
        raise PatternError(
            f"what the parentheses hold can be {pattern.values} texts at most: it names a kind of chip"
        )
    return pattern


def _item(text: str, position: int) -> tuple[_Item, int]:
    character = text[position]
    if character == "[":
        characters, others, position = _class(text, position + 1)
    elif character == ".":
        characters, others, position = frozenset[str](), True, position + 1
    else:
        single, position = _character(text, position)
        characters, others = frozenset(single), False
    if position < len(text) and text[position] in _SHORT:
        return _Item(characters, others, *_SHORT[text[position]]), position + 1
    quantifier = _QUANTIFIER.match(text, position)
    if quantifier is None:
        return _Item(characters, others), position
    least = int(quantifier[1])
    most = int(quantifier[3]) if quantifier[3] else MAX_NAME if quantifier[2] else least
    if not least <= most <= MAX_NAME:
        raise PatternError(f"{quantifier[0]} is no count up to {MAX_NAME}")
    return _Item(characters, others, least, most), quantifier.end()


def _character(text: str, position: int) -> tuple[str, int]:
    if text[position] == "\\" and position + 1 < len(text):
        if text[position + 1].isalnum():
            raise PatternError(f"\\{text[position + 1]} has no meaning here: write a class, as [0-9]")
        return text[position + 1], position + 2
    if text[position] in _SPECIAL:
        raise PatternError(
            f"{text[position]} at {position}: without a meaning there; \\ before it takes it away"
        )
    return text[position], position + 1


def _class(text: str, position: int) -> tuple[frozenset[str], bool, int]:
    """The class that begins behind `[`."""
    others = text.startswith("^", position)
    position += others
    found: set[str] = set()
    while position < len(text) and text[position] != "]":
        first, position = _member(text, position)
        last = first
        if text.startswith("-", position) and position + 1 < len(text) and text[position + 1] != "]":
            last, position = _member(text, position + 1)
        if last < first:
            raise PatternError(f"{first}-{last} is no range")
        found |= {chr(code) for code in range(ord(first), ord(last) + 1)}
    if position >= len(text) or not found:
        raise PatternError("a class has no end, or nothing in it")
    return frozenset(found), others, position + 1


def _member(text: str, position: int) -> tuple[str, int]:
    return _character(text, position) if text[position] in "\\[" else (text[position], position + 1)


# Positions in a name, between two characters, are bits of an integer: where the items can end, or begin.


def _ends(items: Sequence[_Item], name: str, begins: int) -> int:
    for item in items:
        fitting = _fitting(item, name)
        at, reached = begins, begins if item.least == 0 else 0
        for count in range(1, item.most + 1):
            at = (at & fitting) << 1
            if not at:
                break
            reached |= at if count >= item.least else 0
        begins = reached
    return begins


def _begins(items: Sequence[_Item], name: str, ends: int) -> int:
    for item in reversed(items):
        fitting = _fitting(item, name)
        at, reached = ends, ends if item.least == 0 else 0
        for count in range(1, item.most + 1):
            at = (at >> 1) & fitting
            if not at:
                break
            reached |= at if count >= item.least else 0
        ends = reached
    return ends


def _fitting(item: _Item, name: str) -> int:
    return sum(1 << position for position, character in enumerate(name) if item.fits(character))
