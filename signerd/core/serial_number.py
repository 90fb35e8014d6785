"""Serial numbers of boards, from a work order's pattern (docs/formats.md, "Work order file").

Guarantees that two work orders which `overlap` says do not overlap never give the same serial number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOST_COMPARED = 10_000  # serial numbers that are looked at one by one, while the database's writer waits
_FIELD = re.compile(r"\{number(?::0([1-9][0-9]?)d)?\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern taken apart: fixed text, a decimal number of at least `width` digits, fixed text."""

    prefix: str
    width: int
    suffix: str

    def render(self, number: int) -> str:
        """The serial number that stands for `number`."""
        return f"{self.prefix}{number:0{self.width}d}{self.suffix}"

    def read(self, serial: str) -> int | None:
        """The number that `render` makes this serial of, or None."""
        if not serial.startswith(self.prefix) or not serial.endswith(self.suffix):
            return None
        digits = serial[len(self.prefix) : len(serial) - len(self.suffix)]
        if not digits.isascii() or not digits.isdecimal():
            return None
        number = int(digits)
        return number if self.render(number) == serial else None


def parse_pattern(text: str) -> Pattern:
    """Reads `BM-{number:06d}`: exactly one `{number}` or `{number:0Wd}`.

    Raises:
        ValueError: there is no such field, more than one, or another brace.
    """
    parts = _FIELD.split(text)
    if len(parts) != 3 or "{" in parts[0] + parts[2] or "}" in parts[0] + parts[2]:
        raise ValueError("a serial pattern has exactly one {number}, perhaps with a width as in {number:06d}")
    return Pattern(parts[0], int(parts[1] or 1), parts[2])


def overlap(first: Pattern, first_numbers: range, second: Pattern, second_numbers: range) -> bool:
    """True if both give the same serial number for some of their numbers.

    Also true where patterns that look alike have too many numbers to compare: then it is not known.
    """
    if first == second:
        return max(first_numbers.start, second_numbers.start) < min(first_numbers.stop, second_numbers.stop)
    if first_numbers.stop - first_numbers.start > second_numbers.stop - second_numbers.start:
        return overlap(second, second_numbers, first, first_numbers)
    if not _alike(first.prefix, second.prefix) or not _alike(first.suffix[::-1], second.suffix[::-1]):
        return False
    if set(_lengths(first, first_numbers)).isdisjoint(_lengths(second, second_numbers)):
        return False
    if first_numbers.stop - first_numbers.start > _MOST_COMPARED:
        return True
    read = (second.read(first.render(number)) for number in first_numbers)
    # Asked of None, `in` would walk the whole range.
    return any(number is not None and number in second_numbers for number in read)


def _lengths(pattern: Pattern, numbers: range) -> range:
    """How long the serial numbers are: no shorter than the first, no longer than the last."""
    return range(len(pattern.render(numbers[0])), len(pattern.render(numbers[-1])) + 1)


def _alike(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
