"""Serial numbers from patterns, and when two work orders would give the same one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signerd.core.serial_number import Pattern, overlap, parse_pattern


def test_a_pattern_renders_and_reads() -> None:
    pattern = parse_pattern("BM-{number:06d}-X")
    assert pattern.render(42) == "BM-000042-X"
    assert pattern.read("BM-000042-X") == 42
    assert pattern.read("BM-42-X") is None
    assert pattern.read("BM-00004٢-X") is None
    assert parse_pattern("{number}").render(7) == "7"


@pytest.mark.parametrize(
    "text",
    ["BM", "{number}{number}", "{number:6d}", "{number:06x}", "{number!r}", "{other}", "{number}{", "{0}"],
)
def test_other_patterns_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="serial pattern"):
        parse_pattern(text)


patterns = st.builds(
    Pattern, st.sampled_from(["", "1", "A", "A1", "10"]), st.integers(1, 3), st.sampled_from(["", "0", "Z"])
)
ranges = st.builds(lambda start, count: range(start, start + count), st.integers(0, 120), st.integers(1, 40))


@settings(max_examples=300, deadline=None)
@given(patterns, ranges, patterns, ranges)
def test_overlap_is_that_of_the_rendered_sets(
    one: Pattern, ones: range, other: Pattern, others: range
) -> None:
    same = {one.render(number) for number in ones} & {other.render(number) for number in others}
    assert overlap(one, ones, other, others) is bool(same)
