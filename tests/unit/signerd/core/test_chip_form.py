"""Forms of chip ids, in signerd and in the auditor."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.chip_form import read_chip_form
from auditor.errors import Malformed
from signerd.core.chip_form import ANY, UUID, parse_form
from signerd.core.names import is_chip_id

FORMS = [
    "CHIP-[0-9]{4}",
    "[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}",
    "[A-Z0-9]{1,8}[.][0-9]{0,3}",
    r"a\.b\-[a-]{3}",
    "[._:-]{1,3}x",
    ANY.text,
    UUID.text,
]


@pytest.mark.parametrize("text", FORMS)
@given(st.data())
def test_a_form_is_the_regular_expression_that_it_looks_like_on_both_sides(
    text: str, data: st.DataObject
) -> None:
    form, auditors, expression = parse_form(text), read_chip_form(text), re.compile(text)
    alphabet = "".join(item.characters for item in form.items) + "zZ9_"
    chip_id = data.draw(st.from_regex(expression, fullmatch=True) | st.text(alphabet, max_size=20))
    expected = expression.fullmatch(chip_id) is not None
    assert (form.matches(chip_id), auditors.matches(chip_id)) == (expected, expected)


@pytest.mark.parametrize("text", FORMS)
def test_its_extremes_are_of_it_and_have_every_character_and_the_longest(text: str) -> None:
    form = parse_form(text)
    extremes = list(form.extremes())
    assert all(form.matches(chip_id) and is_chip_id(chip_id) for chip_id in (*extremes, form.plain()))
    assert set("".join(extremes)) == {character for item in form.items for character in item.characters}
    assert max(map(len, extremes)) == sum(item.most for item in form.items)
    assert min(map(len, extremes)) == max(1, sum(item.least for item in form.items))


@pytest.mark.parametrize(
    "text",
    [
        "", "a.b", "[a-z", "[]", "a|b", "(a)", "a+", "a*", "[^a]", "a{4,2}", "a{0}", "a{65}", "[a-Z]",
        "[z-a]", "[0-z]", "ä", "a b", "\\d", "a{1,2,3}", "[a-z]{60}[0-9]{5}", "a{0,1}{2}",
    ],
)  # fmt: skip
def test_what_is_no_form(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each says something of its own
        parse_form(text)
    with pytest.raises(Malformed):
        read_chip_form(text)


def test_a_hyphen_in_the_middle_of_a_set_is_a_range_or_refused() -> None:
    with pytest.raises(ValueError, match="first or last"):
        parse_form("[a-c-e]")


def test_matching_takes_no_time_that_a_station_could_spend() -> None:
    form = parse_form("[a-z]{0,4}" * 16)
    assert not form.matches("a" * 63 + "!")
