"""Where a shift's seconds went: each figure by hand."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from agent.core.result_row import ResultRow
from agent.core.shift_report import BREAK_S, report_of
from agent.core.step_times import percentile
from harness.shift import MORNING


def row(
    start_s: float,
    end_s: float,
    *,
    port: str = "1",
    outcome: str = "PASS",
    code: str = "",
    times: dict[str, float] | None = None,
) -> ResultRow:
    started, ended = (MORNING + timedelta(seconds=seconds) for seconds in (start_s, end_s))
    return ResultRow(
        run=1,
        started_at=started.isoformat(timespec="milliseconds"),
        ended_at=ended.isoformat(timespec="milliseconds"),
        port=port,
        work_order="WO-1",
        chip_id="CHIP-1",
        serial_number="",
        certificate_sha256="",
        outcome=outcome,
        step="",
        code=code,
        detail="",
        remedy="",
        seconds=end_s - start_s,
        times=times or {},
    )


def test_steps_and_what_was_spent_waiting_for_signerd() -> None:
    rows = [row(0, 10, times={"flash": 6.0, "sign": 1.0}), row(20, 30, times={"flash": 8.0, "session": 1.0})]
    report = report_of(rows, UTC)
    flash = next(step for step in report.steps if step.step == "flash")
    assert (flash.boards, flash.median_s, flash.p90_s, flash.max_s, flash.total_s) == (2, 7.0, 8.0, 8.0, 14.0)
    assert flash.share_percent == 100 * 14 / 16
    assert (report.signerd_s, report.signerd_percent) == (2.0, 12.5)
    assert [step.step for step in report.steps] == ["session", "flash", "sign"]  # as a board takes them


def test_steps_of_failed_boards_count_and_their_time_is_no_good_board_s() -> None:
    report = report_of(
        [row(0, 10), row(20, 120, outcome="FAIL", code="no_answer", times={"flash": 99.0})], UTC
    )
    assert (report.median_s, report.steps[0].total_s) == (10.0, 99.0)
    assert (report.passed, report.failed, report.yield_percent) == (1, 1, 50.0)


@pytest.mark.parametrize(
    ("gap_s", "idle_s", "breaks"),
    [(5.0, 5.0, 0), (BREAK_S, BREAK_S, 0), (BREAK_S + 1, 0.0, 1), (-3.0, 0.0, 0)],
)
def test_time_between_boards_of_a_port(gap_s: float, idle_s: float, breaks: int) -> None:
    rows = [row(0, 10), row(10 + gap_s, 20 + gap_s), row(0, 5, port="2")]
    first, second = report_of(rows, UTC).ports
    assert (first.port, first.boards, first.busy_s) == ("1", 2, 20.0)
    assert (first.idle_s, first.breaks) == (idle_s, breaks)
    assert (second.port, second.boards, second.idle_s, second.breaks) == ("2", 1, 0.0, 0)


def test_hours_are_the_wall_s() -> None:
    rows = [row(0, 3_590), row(3_591, 3_601, outcome="FAIL"), row(3_602, 3_610, outcome="PARKED")]
    zone = timezone(timedelta(hours=5, minutes=30))
    hours = report_of(rows, zone).hours
    assert [(hour.hour, hour.passed, hour.failed) for hour in hours] == [
        ("2026-11-20T11:00+05:30", 1, 1),
    ]
    assert [(hour.hour, hour.yield_percent) for hour in report_of(rows, UTC).hours] == [
        ("2026-11-20T05:00+00:00", 100.0),
        ("2026-11-20T06:00+00:00", 0.0),
    ]


def test_failures_most_frequent_first() -> None:
    rows = [row(n, n + 1, outcome="FAIL", code=code) for n, code in enumerate(["a", "b", "b"])]
    assert list(report_of(rows, UTC).codes.items()) == [("b", 2), ("a", 1)]


def test_nothing() -> None:
    report = report_of([], UTC)
    assert (report.boards, report.first, report.yield_percent, report.steps) == (0, "", 0.0, ())


@pytest.mark.parametrize(
    ("values", "percent", "value"),
    [([], 90, 0.0), ([3.0], 90, 3.0), ([5.0, 1.0], 50, 1.0), ([float(n) for n in range(1, 11)], 90, 9.0)],
    ids=["none", "one", "half", "ten"],
)
def test_percentiles_are_values_that_were_measured(values: list[float], percent: int, value: float) -> None:
    assert percentile(values, percent) == value
