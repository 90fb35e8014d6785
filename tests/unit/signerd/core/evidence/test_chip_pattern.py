"""Patterns cut a chip id out of a name in one way or not at all, and quickly whatever the name is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.evidence.chip_pattern import MAX_NAME, ChipPattern, PatternError, parse_pattern

SILABS = r"EUI:([0-9A-F]{16}) S:SE0 ID:MCU"


@pytest.mark.parametrize(
    ("pattern", "name", "cut"),
    [
        (SILABS, "EUI:000D6FFFFE00AB01 S:SE0 ID:MCU", "000D6FFFFE00AB01"),
        ("([A-Za-z0-9]{1,16})", "abc", "abc"),
        (r"sn[0-9a-f]* ([0-9a-f]{8})\.", "sn 0123abcd.", "0123abcd"),
        ("[^:]+:([0-9]{5,9})", "any-thing:00001", "00001"),
        (".*[/]([0-9A-F]{12})", "urn:x/y/0123456789AB", "0123456789AB"),
        (r"\(\[([a-z]{4,})\]\)", "([abcd])", "abcd"),
        ("x?([a-f]{4}[0-9]{4,5})", "abcd00001", "abcd00001"),
    ],
)
def test_what_the_parentheses_hold(pattern: str, name: str, cut: str) -> None:
    assert parse_pattern(pattern).cut(name) == cut


@pytest.mark.parametrize(
    "name",
    [
        "",
        "EUI:000D6FFFFE00AB01 S:SE0 ID:MCU ",
        " EUI:000D6FFFFE00AB01 S:SE0 ID:MCU",
        "EUI:000D6FFFFE00AB0 S:SE0 ID:MCU",
        "EUI:000D6FFFFE00AB012 S:SE0 ID:MCU",
        "EUI:000d6ffffe00ab01 S:SE0 ID:MCU",
        "EUI:000D6FFFFE00AB01 S:SE1 ID:MCU",
        "EUI:000D6FFFFE00AB01\nS:SE0 ID:MCU",
        "A" * (MAX_NAME + 1),
    ],
)
def test_a_name_that_the_pattern_does_not_cover_is_not_cut(name: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(SILABS).cut(name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (".*([0-9]{5,9}).*", "1234567"),
        ("[a-z]*([a-z0-9]+)", "abc1"),
        ("([a-z0-9]+)[a-z]*", "1abc"),
        ("x*([xa-f]{4,20})", "xxabcd"),
    ],
)
def test_a_name_that_can_be_cut_in_two_ways_is_not_cut(pattern: str, name: str) -> None:
    with pytest.raises(PatternError, match="more than one way"):
        parse_pattern(pattern).cut(name)


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "abc", "()", "([0-9]{5}", "[0-9]{5})", "([0-9]{5})([0-9]{5})", "(([0-9]{5}))", "(a|b[0-9]{5})"),
        *(
            "^([0-9]{5})",
            "([0-9]{5})$",
            r"(\d{5})",
            r"([0-9]{5})\1",
            "(?:[0-9]{5})",
            "(?=[0-9]{5})",
            "*([0-9]{5})",
        ),
        *(
            "([0-9]+?)",
            "([0-9]**)",
            "([0-9]{5}{5})",
            "([0-9]{5,4})",
            "([0-9]{999})",
            "([0-9]{,5})",
            "([9-0]{5})",
        ),
        *(
            "([]{5})",
            "([0-9{5}",
            "(\u00e4{5})",
            "([0-9]{5})\n",
            "([0-9]{5})\\",
            "[0-9]{5}" * 40 + "([0-9]{5})",
        ),
        # A group that names a kind of chip.
        *("(Infineon IoT Node)", "(Infineon.IoT.Node)", "([0-9]{4})", "(A[0-9A-F]{3}Z?)", "([AB]{0,14})"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["([0-9]{5})", "([0-9A-F]{4})", "(.{3})", "([AB]{16})", "(A{0,200}[^ ]{3})"]
)
def test_a_group_of_65536_texts_and_more_names_a_chip(pattern: str) -> None:
    assert parse_pattern(pattern).values >= 65_536


_ITEMS = st.sampled_from(
    ["a", "b", "[ab]", "[^a]", ".", r"\.", "a*", "[ab]+", "b?", "a{2}", "[ab]{1,3}", ".*"]
)


@given(
    st.lists(_ITEMS, max_size=4),
    st.lists(_ITEMS, max_size=4),
    st.lists(_ITEMS, max_size=4),
    st.text("abc.", max_size=9),
)
def test_it_agrees_with_re_on_every_way_to_cut(
    before: list[str], group: list[str], after: list[str], name: str
) -> None:
    """What `re` allows for each pair of positions is what one pass finds."""
    head, middle, tail = "".join(before), "".join(group), "".join(after)
    pattern = _unbounded(head, middle, tail)
    ways = {
        (begin, end)
        for begin in range(len(name) + 1)
        for end in range(begin, len(name) + 1)
        if re.fullmatch(head, name[:begin])
        and re.fullmatch(middle, name[begin:end])
        and re.fullmatch(tail, name[end:])
    }
    if len(ways) == 1:
        ((begin, end),) = ways
        assert pattern.cut(name) == name[begin:end]
    else:
        with pytest.raises(PatternError):
            pattern.cut(name)


def _unbounded(head: str, middle: str, tail: str) -> ChipPattern:
    """The pattern, whatever its group can be: each part is read beside a group that is long enough."""
    before = parse_pattern(f"{head}(.{{9}})")
    group = parse_pattern(f"{middle}(.{{9}})")
    after = parse_pattern(f"(.{{9}}){tail}")
    return ChipPattern("any", before.before, group.before, after.after)


def test_no_name_takes_long() -> None:
    pattern = parse_pattern("a*" * 40 + "([ab]{1,200})" + "[ab]*" * 20)
    begin = time.perf_counter()
    with pytest.raises(PatternError, match="more than one way"):
        pattern.cut("a" * MAX_NAME)
    assert time.perf_counter() - begin < 1
