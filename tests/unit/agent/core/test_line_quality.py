"""Yield of boards, faults, ports that stand out and steps that drift: each figure by hand."""

from __future__ import annotations

import random
from datetime import timedelta
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.line_quality import (
    _score_among,
    board_yield,
    drifts,
    fisher,
    pareto,
    port_quality,
    rank_score,
    slow_ports,
)
from agent.core.result_row import ResultRow
from harness.shift import MORNING


def row(
    at: int,
    *,
    port: str = "1",
    chip: str | None = None,
    outcome: str = "PASS",
    code: str = "",
    times: dict[str, float] | None = None,
) -> ResultRow:
    ended = (MORNING + timedelta(seconds=60 * at)).isoformat(timespec="milliseconds")
    return ResultRow(
        run=at,
        started_at=ended,
        ended_at=ended,
        port=port,
        work_order="WO-1",
        chip_id=f"CHIP-{at}" if chip is None else chip,
        serial_number="",
        certificate_sha256="",
        outcome=outcome,
        step="",
        code=code,
        detail="",
        remedy="",
        seconds=10.0,
        times=times or {},
    )


def rows_of(port: str, passed: int, failed: int) -> list[ResultRow]:
    return [
        row(
            number,
            port=port,
            chip=f"{port}/{number}",
            outcome="FAIL" if number < failed else "PASS",
            code="x",
        )
        for number in range(passed + failed)
    ]


def test_a_board_counts_once_by_its_first_and_its_last_verdict() -> None:
    found = board_yield(
        [
            row(4, chip="A", outcome="PASS"),  # out of order: time decides
            row(1, chip="A", outcome="FAIL"),
            row(2, chip="B", outcome="PASS"),
            row(3, chip="C", outcome="FAIL"),
            row(5, chip="B", outcome="FAIL"),
        ]
    )
    assert (found.boards, found.passed_first, found.passed_at_last) == (3, 1, 1)
    assert found.first_pass_percent == found.final_percent == pytest.approx(100 / 3)


def test_what_was_parked_and_passed_then_passed_at_first() -> None:
    found = board_yield(
        [row(1, chip="A", outcome="PARKED"), row(2, chip="A"), row(3, chip="B", outcome="PARKED")]
    )
    assert (found.boards, found.first_pass_percent, found.final_percent) == (1, 100.0, 100.0)


def test_runs_without_a_chip_id_are_boards_of_their_own() -> None:
    found = board_yield([row(1, chip="", outcome="FAIL"), row(2, chip="", outcome="FAIL")])
    assert (found.boards, found.first_pass_percent) == (2, 0.0)


def test_nothing_has_no_yield() -> None:
    assert board_yield([]).first_pass_percent == 0.0
    assert (pareto([]), port_quality([]), drifts([]), slow_ports([])) == ((), (), (), ())


def test_faults_by_code_and_port() -> None:
    found = pareto(
        [
            *(row(n, port="10", outcome="FAIL", code="b") for n in range(2)),
            *(row(n, port="2", outcome="FAIL", code="b") for n in range(2)),
            *(row(n, port="2", outcome="FAIL", code="a") for n in range(4)),
            row(9, port="2", outcome="PARKED", code="signer_unavailable"),
        ]
    )
    assert [(fault.code, fault.port, fault.count) for fault in found] == [
        ("a", "2", 4),
        ("b", "2", 2),
        ("b", "10", 2),
    ]
    assert [(fault.share_percent, fault.sum_percent) for fault in found] == [(50, 50), (25, 75), (25, 100)]


def test_the_exact_test_is_exact() -> None:
    # Of 20 boards 5 failed; a port had 6 boards. By counting:
    by_hand = sum(comb(5, k) * comb(15, 6 - k) for k in range(3, 6)) / comb(20, 6)
    assert fisher(3, 6, 5, 20) == pytest.approx(by_hand)
    assert fisher(0, 6, 5, 20) == pytest.approx(1.0)
    assert fisher(3, 3, 3, 6) == pytest.approx(1 / 20)
    assert fisher(5, 5, 5, 5) == pytest.approx(1.0)


def test_a_port_that_fails_four_times_its_neighbours_is_flagged() -> None:
    rows = rows_of("7", 88, 12) + [one for port in "12345689" for one in rows_of(port, 97, 3)]
    (seven,) = [port for port in port_quality(rows) if port.flagged]
    assert (seven.port, seven.failed_percent, seven.others_percent, seven.times_others) == (
        "7",
        12.0,
        3.0,
        4.0,
    )


@pytest.mark.parametrize(
    ("failed", "others", "flagged"),
    [
        (2, 0, False),  # of 2 boards: below the least count
        (3, 0, False),  # 3 of 4, the others 0 of 3: chance does that in one of 9
        (3, 96, True),  # 3 of 4, the others 0 of 96
    ],
)
def test_small_numbers(failed: int, others: int, flagged: bool) -> None:
    rows = rows_of("7", 1, failed) + rows_of("8", others or 3, 0)
    assert any(port.flagged for port in port_quality(rows)) is flagged


def test_a_port_alone_has_nobody_to_compare_with() -> None:
    (only,) = port_quality(rows_of("1", 1, 30))
    assert (only.flagged, only.chance, only.times_others) == (False, 1.0, None)


def test_many_boards_make_a_small_difference_sure_and_still_no_alarm() -> None:
    ports = port_quality(rows_of("1", 9_000, 1_000) + rows_of("2", 9_300, 700))
    assert ports[0].chance < 1e-6
    assert not ports[0].flagged


def test_ports_of_one_quality_raise_an_alarm_in_one_shift_of_a_hundred_at_most() -> None:
    chance = random.Random(11)
    alarms = 0
    for _ in range(300):
        rows = [one for port in range(8) for one in rows_of(str(port), *_drawn(chance, 40, 0.05))]
        alarms += any(port.flagged for port in port_quality(rows))
    assert alarms <= 6  # 3 are what the rule allows on average


def _drawn(chance: random.Random, boards: int, share: float) -> tuple[int, int]:
    failed = sum(chance.random() < share for _ in range(boards))
    return boards - failed, failed


def timed(seconds: list[float], port: str = "1", outcome: str = "PASS") -> list[ResultRow]:
    return [row(n, port=port, outcome=outcome, times={"flash": value}) for n, value in enumerate(seconds)]


def test_a_step_that_becomes_slower_is_found() -> None:
    (drift,) = drifts(timed([10.0 + n * 0.2 for n in range(32)]) + timed([10.0] * 32, port="2"))
    assert (drift.port, drift.step, drift.boards) == ("1", "flash", 32)
    assert drift.first_s == pytest.approx(10.7)
    assert drift.last_s == pytest.approx(15.5)
    assert drift.change_percent == pytest.approx(44.86, abs=0.01)


@pytest.mark.parametrize(
    "seconds",
    [
        [10.0 + n * 0.2 for n in range(31)],
        [10.0 + n * 0.05 for n in range(32)],
        [0.10 + n * 0.01 for n in range(32)],
        [10.0] * 32,
    ],
    ids=["too few boards", "less than a quarter", "less than half a second", "none"],
)
def test_what_is_no_drift(seconds: list[float]) -> None:
    assert drifts(timed(seconds)) == ()


def test_times_of_boards_that_failed_are_no_drift() -> None:
    assert drifts(timed([10.0 + n * 0.2 for n in range(32)], outcome="FAIL")) == ()


def test_what_only_varies_is_no_drift() -> None:
    chance = random.Random(3)
    rows = [
        one
        for port in range(16)
        for one in timed([chance.lognormvariate(2, 0.5) for _ in range(60)], str(port))
    ]
    assert drifts(rows) == ()


def test_a_port_that_is_slow_at_a_step_is_found() -> None:
    rows = [one for port in "123" for one in timed([10.0 + n * 0.1 for n in range(16)], port)]
    (slow,) = slow_ports([*rows, *timed([40.0] * 16, "4")])
    assert (slow.port, slow.step, slow.boards, slow.median_s) == ("4", "flash", 16, 40.0)
    assert slow.others_s == pytest.approx(10.75)
    assert slow.times_others == pytest.approx(3.72, abs=0.01)
    (slow,) = slow_ports([*timed([0.0] * 16, "1"), *timed([1.0] * 16, "2")])
    assert (slow.port, slow.others_s, slow.times_others) == ("2", 0.0, None)


@pytest.mark.parametrize(
    ("seconds", "others"),
    [
        ([40.0] * 15, [10.0] * 16),
        ([40.0] * 16, [10.0] * 15),
        ([12.4] * 16, [10.0] * 16),
        ([0.50] * 16, [0.10] * 16),
        ([10.0] * 16, [40.0] * 16),
        ([10.0] * 7 + [13.0] * 9, [10.0] * 9 + [13.0] * 7),
    ],
    ids=["too few", "too few others", "less than a quarter", "less than half a second", "faster", "chance"],
)
def test_what_is_no_slow_port(seconds: list[float], others: list[float]) -> None:
    assert [slow for slow in slow_ports(timed(seconds) + timed(others, "2")) if slow.port == "1"] == []


def test_ports_of_one_speed_are_none_of_them_slow() -> None:
    chance = random.Random(5)
    rows = [
        one
        for port in range(16)
        for one in timed([chance.lognormvariate(2, 0.5) for _ in range(60)], str(port))
    ]
    assert slow_ports(rows) == ()


SECONDS = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@given(SECONDS, SECONDS)
def test_both_ways_to_rank_agree(some: list[int], others: list[int]) -> None:
    assert _score_among(some, sorted(some + others)) == pytest.approx(rank_score(others, some))


def test_ranks() -> None:
    assert rank_score([1.0, 2.0], [1.0, 2.0]) == 0.0
    assert rank_score(range(8), range(8, 16)) == pytest.approx(3.36, abs=0.01)
    assert rank_score(range(8, 16), range(8)) == pytest.approx(-3.36, abs=0.01)
