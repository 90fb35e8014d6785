"""Ranges of serial numbers that would keep the database's writer busy for hours, compared at once."""

from __future__ import annotations

import pytest

from signerd.core.serial_number import overlap, parse_pattern

MANY = range(1, 100_000_001)  # the largest quantity of a work order


@pytest.mark.parametrize(
    ("one", "ones", "other", "others", "expected"),
    [
        ("A{number:09d}", MANY, "A{number:012d}", MANY, False),  # of other lengths
        ("A{number}", range(1, 10_001), "A{number:05d}", range(20_000, 100_000_000), False),  # few: compared
        ("A{number}", range(1, 20_001), "A{number:05d}", range(20_000, 100_000_000), True),
        ("A{number}", MANY, "A1{number}", MANY, True),  # too many to compare: taken for overlapping
    ],
)
def test_ranges_of_the_largest_orders(
    one: str, ones: range, other: str, others: range, *, expected: bool
) -> None:
    assert overlap(parse_pattern(one), ones, parse_pattern(other), others) is expected
    assert overlap(parse_pattern(other), others, parse_pattern(one), ones) is expected
