"""The form of a product's chip ids: how long they may be, and of which characters (docs/formats.md, "Form of
chip ids").

A certificate's names are made of chip ids that nobody has seen yet. What a product says of their form is what
an order is rehearsed with, and what holds on the line.

    form = parse_form("CHIP-[0-9]{4}")
    form.matches("CHIP-0001")     # True
    list(form.extremes())         # the longest and shortest ids, and one with each character at each end

A form is a part of what regular expressions say: characters, sets of them, and how often each may stand. The
time that a match takes is bounded by the form's length and the id's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LENGTH = 64  # of a chip id
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:_"
_ITEM = re.compile(
    r"(?:\[(?P<set>[A-Za-z0-9._:-]+)\]|(?P<one>[A-Za-z0-9_:-])|\\(?P<escaped>[.-]))"
    r"(?:\{(?P<least>[0-9]{1,2})(?:,(?P<most>[0-9]{1,2}))?\})?"
)
_RANGE = re.compile(r"([A-Za-z0-9])-([A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class _Item:
    characters: str  # sorted, letters and digits first
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class ChipForm:
    """What chip ids look like."""

    text: str
    items: tuple[_Item, ...]

    def matches(self, chip_id: str) -> bool:
        """True for an id of this form."""
        ends = {0}
        for item in self.items:
            reached: set[int] = set()
            for start in ends:
                end = start
                while end < len(chip_id) and end - start < item.most and chip_id[end] in item.characters:
                    end += 1
                reached.update(range(start + item.least, end + 1))
            ends = reached
        return len(chip_id) in ends

    def sample(self) -> str:
        """An id that is as plain as the form allows, and as long."""
        return "".join(item.characters[0] * item.most for item in self.items)

    def plain(self) -> str:
        """A short one, for a sample."""
        return "".join(item.characters[0] * min(item.most, max(item.least, 8)) for item in self.items)

    def extremes(self) -> Iterator[str]:
        """Ids of this form in which a field finds fault if it does in any: the longest and the shortest, with
        each character in each place, alone and with its like, and with each item as often as it may stand."""
        seen = set()
        for chip_id in self._extremes():
            if chip_id and chip_id not in seen:
                seen.add(chip_id)
                yield chip_id

    def _extremes(self) -> Iterator[str]:
        yield self.sample()
        for character in sorted({character for item in self.items for character in item.characters}):
            for longest in (True, False):
                yield self._with(character, range(len(self.items)), longest=longest)
        for position, item in enumerate(self.items):
            for character in item.characters:
                yield self._with(character, range(position, position + 1), longest=True)
                yield self._with(character, range(position, position + 1), longest=False)
            for count in range(item.least, item.most + 1):
                for longest in (True, False):
                    yield self._of_length(position, count, longest=longest)

    def _of_length(self, position: int, count: int, *, longest: bool) -> str:
        """One item this often, the others at an end: a label's third place may hold what no end has there."""
        return "".join(
            item.characters[0] * (count if place == position else item.most if longest else item.least)
            for place, item in enumerate(self.items)
        )

    def _with(self, character: str, places: range, *, longest: bool) -> str:
        return "".join(
            (character if position in places and character in item.characters else item.characters[0])
            * (item.most if longest else item.least)
            for position, item in enumerate(self.items)
        )


def parse_form(text: str) -> ChipForm:
    """Reads a form.

    Raises:
        ValueError: it is not of the part of regular expressions that a form may use, or gives ids that are no
            chip ids.
    """
    items = []
    position = 0
    while position < len(text):
        found = _ITEM.match(text, position)
        if found is None:
            raise ValueError(
                f"at {text[position:][:20]!r}: a form has characters, sets as in [0-9a-f] and counts as in"
                " {4} or {1,8}; a dot is written [.]"
            )
        items.append(_item(found))
        position = found.end()
    form = ChipForm(text, tuple(items))
    if not 1 <= sum(item.most for item in items) <= MAX_LENGTH:
        raise ValueError(f"it must give ids of 1 to {MAX_LENGTH} characters")
    return form


def _item(found: re.Match[str]) -> _Item:
    characters = found["one"] or found["escaped"] or _members(found["set"])
    least = int(found["least"] or 1)
    most = least if found["most"] is None else int(found["most"])
    if not 0 <= least <= most or most == 0:
        raise ValueError(f"{found[0]}: the counts are the wrong way round")
    return _Item("".join(sorted(set(characters), key=_ALPHABET.index)), least, most)


def _members(text: str) -> str:
    """Of what stands between brackets: a hyphen between two of a kind is a range, else itself."""
    members = ""
    position = 0
    while position < len(text):
        found = _RANGE.match(text, position)
        if found is None:
            if text[position] == "-" and 0 < position < len(text) - 1:
                raise ValueError(f"[{text}]: a hyphen that is no range stands first or last in a set")
            members += text[position]
            position += 1
            continue
        first, last = found.groups()
        span = [chr(code) for code in range(ord(first), ord(last) + 1)]
        if not span or not all(character.isalnum() for character in span):
            raise ValueError(f"[{text}]: {found[0]} is no range of digits or of letters of one case")
        members += "".join(span)
        position = found.end()
    return members


ANY = parse_form("[A-Za-z0-9._:-]{1,64}")
UUID = parse_form("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
