"""The form of a product's chip ids (docs/formats.md, "Form of chip ids"), by code of our own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditor.errors import Malformed

_MAX_LENGTH = 64
_ITEM = re.compile(r"(\[[A-Za-z0-9._:-]+\]|[A-Za-z0-9_:-]|\\[.-])(?:\{([0-9]{1,2})(?:,([0-9]{1,2}))?\})?")


@dataclass(frozen=True, slots=True)
class ChipForm:
    """Sets of characters, each with how often one of it stands there: at least, at most."""

    items: tuple[tuple[frozenset[str], int, int], ...]

    def matches(self, chip_id: str) -> bool:
        """Bounded work: how far each item can come, from wherever the ones before it ended."""
        ends = {0}
        for characters, least, most in self.items:
            following: set[int] = set()
            for start in ends:
                run = 0
                while run < most and chip_id[start + run : start + run + 1] in characters:
                    run += 1
                following.update(range(start + least, start + run + 1))
            ends = following
        return len(chip_id) in ends


def read_chip_form(value: object) -> ChipForm:
    """Raises Malformed for anything but a form."""
    if not isinstance(value, str):
        raise Malformed("chip_ids is not text")
    items = []
    position = 0
    while position < len(value):
        found = _ITEM.match(value, position)
        if found is None:
            raise Malformed("chip_ids is not a form of chip ids")
        least = int(found[2] or 1)
        most = int(found[3]) if found[3] else least
        if least > most or most == 0:
            raise Malformed("chip_ids has a count that is none")
        items.append((_set(found[1]), least, most))
        position = found.end()
    if not 1 <= sum(most for _, _, most in items) <= _MAX_LENGTH:
        raise Malformed("chip_ids gives no chip ids")
    return ChipForm(tuple(items))


def _set(text: str) -> frozenset[str]:
    if not text.startswith("["):
        return frozenset(text[-1])
    members = text[1:-1]
    found = set(re.sub(r"([A-Za-z0-9])-([A-Za-z0-9])", "", members))
    for first, last in re.findall(r"([A-Za-z0-9])-([A-Za-z0-9])", members):
        span = [chr(code) for code in range(ord(first), ord(last) + 1)]
        if not span or not all(character.isalnum() for character in span):
            raise Malformed("chip_ids has a range that is none")
        found.update(span)
    return frozenset(found)
