from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.clocks import apart, check, read_time, said
from agent.errors import ClocksApart, Verdict

NOW = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (-0.5, -0.5), (2.5, 0.5), (-7200.0, -7200.0), (7202.0, 7200.0)],
)
def test_a_time_within_the_call_agrees(theirs: float, expected: float) -> None:
    assert apart(NOW + theirs * SECOND, NOW, NOW + 2 * SECOND) == expected * SECOND


def test_a_clock_that_is_set_during_the_call_shows_no_difference_that_is_not_there() -> None:
    assert apart(NOW, NOW - 3600 * SECOND, NOW + SECOND) == timedelta(0)
    assert apart(NOW, NOW + SECOND, NOW - 3600 * SECOND) == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [None, b"", "", "2026-11-29", "2026-13-29T08:00:00.000Z", "2026-11-29T08:00:00Z", "٢" * 24, "9" * 9999],
)
def test_what_is_no_time_is_none(text: object) -> None:
    assert read_time(text) is None


def test_a_time_is_read() -> None:
    assert read_time("2026-11-29T08:00:00.125Z") == NOW + timedelta(milliseconds=125)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7200.0, "2 h ahead of"),
        (-7260.4, "2 h 1 min behind"),
        (172_800.0, "2 days ahead of"),
        (-301.0, "5 min 1 s behind"),
        (0.2, "0 s ahead of"),
    ],
)
def test_differences_are_said_for_people(seconds: float, text: str) -> None:
    assert said(seconds * SECOND) == text


def test_clocks_that_are_apart_stop_the_line_and_name_both() -> None:
    bound = timedelta(minutes=5)
    check(bound, bound)
    check(-bound, bound)
    with pytest.raises(ClocksApart) as caught:
        check(timedelta(hours=-2), bound)
    error = caught.value
    assert (error.code, error.verdict) == ("clocks_apart", Verdict.STOP)
    assert error.detail == "signerd's clock is 2 h behind this PC's; allowed are 5 min"
    assert "w32tm" in error.remedy
    assert "administrator" in error.remedy
