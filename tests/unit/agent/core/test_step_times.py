"""How long steps take at each port, beside the others and from hour to hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from agent.core.result_row import ResultRow
from agent.core.shift_report import way_place
from agent.core.step_times import MAX_HOURS, MAX_PORTS, TimesOfShift, hour_of, times_of_shift

FIVE = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


def row(port: str, minutes: float, outcome: str = "PASS", **times: float) -> ResultRow:
    ended = (FIVE + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")
    texts = dict.fromkeys(("certificate_sha256", "step", "code", "detail", "remedy"), "")
    return ResultRow(
        run=1,
        started_at=ended,
        ended_at=ended,
        port=port,
        work_order="WO-1",
        chip_id="c",
        serial_number="s",
        outcome=outcome,
        seconds=1.0,
        times=times,
        **texts,
    )


def of(*rows: ResultRow) -> TimesOfShift:
    return times_of_shift(rows, UTC, way_place)


def test_a_port_beside_the_others_and_its_hours() -> None:
    times = of(
        *(row("1.1", 10 * n, flash=10.0, identify=0.5) for n in range(6)),
        *(row("1.2", 10 * n, flash=10.0 + n) for n in range(12)),
    )
    assert times.hours == ("2026-11-20T05:00+00:00", "2026-11-20T06:00+00:00")
    assert [step.step for step in times.steps] == ["identify", "flash"]
    flash = times.steps[1]
    assert (flash.boards, flash.median_s, flash.most_s) == (18, 12.5, 21.0)
    first, second = flash.ports
    assert (first.port, first.median_s, first.times_others) == ("1.1", 10.0, 0.65)
    assert first.hour_median_s == (10.0, None)
    assert (second.median_s, second.p90_s, second.times_others) == (15.5, 20.0, 1.55)
    assert second.hour_median_s == (12.5, 18.5)
    assert second.hour_p90_s == (15.0, 21.0)


def test_a_port_alone_has_no_others() -> None:
    (step,) = of(row("1", 0, flash=3.0)).steps
    assert step.ports[0].times_others is None


def test_a_board_that_failed_is_not_counted() -> None:
    times = of(row("1", 0, flash=3.0), row("1", 1, "FAIL", flash=600.0), row("2", 2, "PARKED", flash=600.0))
    assert [(port.port, port.boards, port.p90_s) for port in times.steps[0].ports] == [("1", 1, 3.0)]


def test_nothing_was_made() -> None:
    assert of() == TimesOfShift((), ())


def test_it_stays_small() -> None:
    days = [row("1", 60.0 * n, flash=1.0 + n) for n in range(3 * MAX_HOURS)]
    times = of(*days, *(row(str(n), 60.0 * len(days), flash=1.0) for n in range(2 * MAX_PORTS)))
    assert len(times.hours) == MAX_HOURS
    assert times.hours[-1] == "2026-11-23T05:00+00:00"
    assert len(times.steps[0].ports) == MAX_PORTS
    assert all(len(port.hour_median_s) == MAX_HOURS for port in times.steps[0].ports)
    assert times.steps[0].boards == len(days) + 2 * MAX_PORTS


@pytest.mark.parametrize(
    ("moment", "zone", "hour"),
    [
        ("2026-11-20T05:59:59.999+00:00", UTC, "2026-11-20T05:00:00+00:00"),
        ("2026-11-20T05:10:00+00:00", timezone(timedelta(hours=5, minutes=30)), "2026-11-20T04:30:00+00:00"),
        ("2026-10-25T00:30:00+00:00", ZoneInfo("Europe/Berlin"), "2026-10-25T00:00:00+00:00"),
        ("2026-10-25T01:30:00+00:00", ZoneInfo("Europe/Berlin"), "2026-10-25T01:00:00+00:00"),
    ],
)
def test_an_hour_begins_on_the_clock_of_the_wall(moment: str, zone: timezone, hour: str) -> None:
    assert hour_of(moment, zone).isoformat() == hour
