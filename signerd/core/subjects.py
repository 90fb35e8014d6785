"""Whether two boards can come to one subject, within an order and over all orders.

Names are compared as RFC 5280 §7.1 says: without regard to letter case and to repeated blanks. Guarantees
that a subject which `tells_boards_apart` differs from board to board within its order, and that two orders of
which `compare` says `DISTINCT` have no subject in common but that of one and the same chip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from signerd.core.chip_form import ANY
from signerd.core.order import WorkOrder
from signerd.core.product import Profile
from signerd.core.serial_number import Pattern, overlap, parse_pattern

_PLACEHOLDER = re.compile(r"(\{(?:serial|chip_id|number|product|work_order)\})")
_DIGITS = "0123456789"
_CHIP_CHARACTERS = "".join(item.characters for item in ANY.items)


class Verdict(Enum):
    """Of two orders' subjects."""

    DISTINCT = "distinct"
    UNKNOWN = "unknown"  # only a chip with an odd id could bring it about
    EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class _Digits:
    """A number between fixed text: of a board's serial number, or of its place."""

    width: int
    numbers: range
    serial: bool

    @property
    def fixed(self) -> bool:
        return len(self.render(self.numbers[0])) == len(self.render(self.numbers[-1]))

    def render(self, number: int) -> str:
        return f"{number:0{self.width}d}"


class _Chip(Enum):
    ID = "chip_id"


_Part = str | _Digits | _Chip


@dataclass(frozen=True, slots=True)
class _Attribute:
    kind: str
    template: str  # with the order's own constants filled in, in one letter case
    names_order: bool
    parts: tuple[_Part, ...]

    @property
    def read(self) -> set[_Digits | _Chip]:
        """What can be read back from a value, whatever else stands in it."""
        return {*_readable(self.parts, 1), *_readable(tuple(reversed(self.parts)), -1)}

    @property
    def numbered(self) -> tuple[Pattern, range] | None:
        """The attribute as a pattern with one number, or with none; None where more varies."""
        match self.parts:
            case ():
                return Pattern("", 1, ""), range(0)
            case (str(text),):
                return Pattern(text, 1, ""), range(0)
            case _:
                varying = [part for part in self.parts if not isinstance(part, str)]
        if len(varying) != 1 or not isinstance(varying[0], _Digits):
            return None
        at = self.parts.index(varying[0])
        before, after = self.parts[:at], self.parts[at + 1 :]
        prefix, suffix = "".join(map(str, before)), "".join(map(str, after))
        return Pattern(prefix, varying[0].width, suffix), varying[0].numbers


@dataclass(frozen=True, slots=True)
class Subject:
    """What subjects an order gives."""

    attributes: tuple[_Attribute, ...]

    @classmethod
    def of(cls, order: WorkOrder, profile: Profile) -> Subject:
        """Raises ValueError for a serial pattern that is none."""
        return cls(tuple(_attribute(kind, template, order) for kind, template in profile.subject))

    @property
    def tells_boards_apart(self) -> bool:
        """True if a serial number or a chip id can be read from it, or a place's number beside its order."""
        read = {part for attribute in self.attributes for part in attribute.read}
        if any(part is _Chip.ID or (isinstance(part, _Digits) and part.serial) for part in read):
            return True
        return bool(read) and any(attribute.names_order for attribute in self.attributes)


def compare(one: Subject, other: Subject) -> Verdict:
    """Whether two orders can give one subject to two boards."""
    kinds = [[attribute.kind for attribute in subject.attributes] for subject in (one, other)]
    if kinds[0] != kinds[1]:
        return Verdict.DISTINCT
    verdicts = [_compare(mine, its) for mine, its in zip(one.attributes, other.attributes, strict=True)]
    if Verdict.DISTINCT in verdicts:
        return Verdict.DISTINCT
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts else Verdict.EQUAL


def _compare(one: _Attribute, other: _Attribute) -> Verdict:
    mine, its = one.numbered, other.numbered
    if mine is not None and its is not None:
        return Verdict.EQUAL if _meet(*mine, *its) else Verdict.DISTINCT
    if one.template == other.template and _Chip.ID in one.read and _Chip.ID in other.read:
        return Verdict.DISTINCT  # one chip id in both is one chip
    return Verdict.UNKNOWN


def _meet(one: Pattern, numbers: range, other: Pattern, others: range) -> bool:
    if not numbers and not others:
        return one.prefix == other.prefix
    if not numbers:
        return other.read(one.prefix) in others
    if not others:
        return one.read(other.prefix) in numbers
    return overlap(one, numbers, other, others)


def _attribute(kind: str, template: str, order: WorkOrder) -> _Attribute:
    constant = template.replace("{product}", order.product).replace("{work_order}", order.work_order)
    shown = re.sub(" +", " ", constant.strip()).lower()
    return _Attribute(kind, shown, "{work_order}" in template, tuple(_merged(_parts(shown, order))))


def _parts(template: str, order: WorkOrder) -> Iterator[_Part]:
    pattern = parse_pattern(order.serial_pattern)
    serials = range(order.serial_start, order.serial_start + order.quantity)
    for piece in _PLACEHOLDER.split(template):
        match piece:
            case "{serial}":
                yield pattern.prefix.lower()
                yield _Digits(pattern.width, serials, serial=True)
                yield pattern.suffix.lower()
            case "{number}":
                yield _Digits(1, range(1, order.quantity + 1), serial=False)
            case "{chip_id}":
                yield _Chip.ID
            case _:
                yield piece


def _merged(parts: Iterator[_Part]) -> Iterator[_Part]:
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def _readable(parts: Sequence[_Part], step: int) -> Iterator[_Digits | _Chip]:
    """The varying parts whose end is certain, read from one end of the value.

    `step`: 1 where the parts stand as in the value, -1 where they stand the other way round.
    """
    for position, part in enumerate(parts):
        if isinstance(part, str):
            continue
        follows = parts[position + 1 :]
        certain = not follows or (isinstance(part, _Digits) and part.fixed) or _ends(part, follows[0], step)
        if not certain:
            return
        yield part


def _ends(part: _Digits | _Chip, following: _Part, step: int) -> bool:
    """True if what follows cannot be taken for more of the part."""
    own = _DIGITS if isinstance(part, _Digits) else _CHIP_CHARACTERS
    return isinstance(following, str) and (following[0] if step == 1 else following[-1]) not in own
