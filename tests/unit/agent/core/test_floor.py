"""The model of the floor: what a port shows, what a shift has counted, and what never grows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from agent.core.events import (
    BoardSeen,
    Finished,
    LineDown,
    LineUp,
    PortReady,
    StampSettled,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
)
from agent.core.floor import (
    MAX_PORTS,
    MAX_TEXT,
    NOTICES,
    RECENT,
    Floor,
    PortState,
    PortView,
    shift_begin,
)
from agent.core.port_names import by_place
from agent.core.result import Outcome
from harness.factory_floor import BAD, GOOD, HELD, MORNING, ORDER, result


def new_floor() -> Floor:
    return Floor(work_order=ORDER, steps=4, now=MORNING)


def only_port(floor: Floor, after_s: float = 0.0) -> PortView:
    (port,) = floor.snapshot(MORNING + timedelta(seconds=after_s)).ports
    return port


def test_a_port_without_a_board_is_shown_until_it_is_pulled_out() -> None:
    floor = new_floor()
    floor.ports_listed(["1"])
    assert only_port(floor).state is PortState.EMPTY
    floor.ports_listed([])
    assert only_port(floor).state is PortState.GONE
    floor.ports_listed(["1"])
    assert only_port(floor).state is PortState.EMPTY


def test_a_board_on_its_way() -> None:
    floor = new_floor()
    floor.tell(BoardSeen("1", "CHIP-1"), MORNING)
    floor.tell(StepStarted("1", "identify"), MORNING)
    floor.tell(StepDone("1", "identify", 0.1), MORNING)
    floor.tell(StepStarted("1", "flash"), MORNING)
    floor.tell(StepProgress("1", "flash", 50, 100), MORNING)
    port = only_port(floor, after_s=2.0)
    assert (port.state, port.step, port.step_percent, port.elapsed_s) == (PortState.WORKING, "flash", 50, 2.0)
    assert port.percent == 37  # one step and a half of four


def test_two_steps_at_once_show_the_one_that_goes_on() -> None:
    floor = new_floor()
    floor.tell(BoardSeen("1", "CHIP-1"), MORNING)
    floor.tell(StepStarted("1", "keygen"), MORNING)
    floor.tell(StepStarted("1", "session"), MORNING)
    floor.tell(StepDone("1", "session", 0.1), MORNING)
    assert only_port(floor).step == "keygen"


def test_waiting_ends_with_the_next_word_of_the_board() -> None:
    floor = new_floor()
    floor.tell(BoardSeen("1", "CHIP-1"), MORNING)
    floor.tell(Waiting("1", "signerd is away"), MORNING)
    assert (only_port(floor).state, only_port(floor).detail) == (PortState.WAITING, "signerd is away")
    floor.tell(StepStarted("1", "sign"), MORNING)
    assert (only_port(floor).state, only_port(floor).detail) == (PortState.WORKING, "")


@pytest.mark.parametrize("before", [None, GOOD], ids=["empty", "after a board"])
def test_a_port_that_cannot_take_boards_says_so_and_only_while_it_does(before: object) -> None:
    floor = new_floor()
    floor.ports_listed(["1"])
    if before is not None:
        floor.tell(Finished(result("1", 1)), MORNING)
    rest = only_port(floor).state
    floor.tell(Waiting("1", "port busy"), MORNING)
    assert (only_port(floor).state, only_port(floor).detail) == (PortState.WAITING, "port busy")
    assert only_port(floor, after_s=3_600).state is PortState.WAITING  # said once, and so as long as it holds
    floor.tell(PortReady("1"), MORNING)
    assert only_port(floor).state is rest


@pytest.mark.parametrize(
    ("kind", "state"),
    [(GOOD, PortState.PASS), (BAD, PortState.FAIL), (HELD, PortState.PARKED)],
    ids=["pass", "fail", "parked"],
)
def test_a_verdict_stays_whatever_comes_late(kind: object, state: PortState) -> None:
    floor = new_floor()
    floor.tell(BoardSeen("1", "CHIP-1"), MORNING)
    floor.tell(Finished(result("1", 1, kind)), MORNING)  # type: ignore[arg-type]
    floor.tell(StepProgress("1", "keygen", 10, 100), MORNING)
    floor.tell(StepStarted("1", "keygen"), MORNING)
    floor.tell(StepDone("1", "keygen", 0.1), MORNING)
    port = only_port(floor, after_s=99.0)
    assert (port.state, port.elapsed_s) == (state, 61.4)
    assert (port.percent == 100) is (state is PortState.PASS)


def test_the_shift_counts_a_parked_board_at_its_end() -> None:
    floor = new_floor()
    floor.tell(Finished(result("1", 1, HELD)), MORNING)
    floor.tell(Finished(result("2", 2, HELD)), MORNING)
    floor.tell(Finished(result("3", 3, HELD)), MORNING)
    shift = floor.snapshot(MORNING).shift
    assert (shift.passed, shift.failed, shift.parked, shift.yield_percent) == (0, 0, 3, 0.0)
    chips = [port.chip_id for port in floor.snapshot(MORNING).ports]
    floor.tell(StampSettled("WO-1", chips[0], "SN-1", ""), MORNING)
    floor.tell(StampSettled("WO-1", chips[1], "SN-2", "stamp_conflict"), MORNING)
    floor.tell(BoardSeen("3", chips[2]), MORNING)
    floor.tell(Finished(result("3", 3)), MORNING)
    snapshot = floor.snapshot(MORNING)
    assert (snapshot.shift.passed, snapshot.shift.failed, snapshot.shift.parked) == (2, 1, 0)
    assert [port.state for port in snapshot.ports] == [PortState.PASS, PortState.FAIL, PortState.PASS]
    assert "stamp_conflict" in snapshot.notices[0].text


def test_a_stamp_of_a_board_that_nobody_remembers_counts_only_as_a_failure() -> None:
    floor = new_floor()
    floor.tell(StampSettled("WO-1", "OLD", "SN-9", ""), MORNING)
    assert floor.snapshot(MORNING).shift.passed == 0
    floor.tell(StampSettled("WO-1", "OLD", "SN-9", "stamp_conflict"), MORNING)
    assert floor.snapshot(MORNING).shift.failed == 1


def test_nothing_grows() -> None:
    floor = new_floor()
    long = "x" * 100_000
    for number in range(MAX_PORTS + 50):
        floor.tell(BoardSeen(f"{long}{number}", long), MORNING)
        floor.tell(Waiting(f"{long}{number}", long), MORNING)
        floor.tell(Finished(replace(result(f"{number}", number), detail=long, outcome=Outcome.FAIL)), MORNING)
        floor.notice(long, MORNING)
    snapshot = floor.snapshot(MORNING)
    assert (len(snapshot.ports), len(snapshot.recent), len(snapshot.notices)) == (MAX_PORTS, RECENT, NOTICES)
    texts = [text for port in snapshot.ports for text in (port.port, port.detail, port.chip_id)]
    assert max(map(len, texts)) == MAX_TEXT


@pytest.mark.parametrize("total", [0, -5])
def test_a_step_without_a_size_has_no_share(total: int) -> None:
    floor = new_floor()
    floor.tell(BoardSeen("1", "CHIP-1"), MORNING)
    floor.tell(StepStarted("1", "flash"), MORNING)
    floor.tell(StepProgress("1", "flash", 10, total), MORNING)
    assert only_port(floor).step_percent is None


def test_places_sort_as_people_count() -> None:
    names = ["2", "1.10", "b", "1.2", "10", "", "a1", "²", "٣"]
    assert sorted(names, key=by_place) == ["", "1.2", "1.10", "2", "10", "a1", "b", "²", "٣"]


@pytest.mark.parametrize(
    ("now", "begun"),
    [
        ("2026-11-20T06:00", "2026-11-20T06:00"),
        ("2026-11-20T05:59", "2026-11-19T22:00"),
        ("2026-11-20T13:00", "2026-11-20T06:00"),
        ("2026-11-20T23:59", "2026-11-20T22:00"),
        ("2026-11-20T00:00", "2026-11-19T22:00"),
    ],
)
def test_when_a_shift_began(now: str, begun: str) -> None:
    starts = [time(6), time(22), time(14)]
    found = shift_begin(datetime.fromisoformat(now).replace(tzinfo=UTC), starts)
    assert found == datetime.fromisoformat(begun).replace(tzinfo=UTC)


def test_without_shifts_none_began() -> None:
    assert shift_begin(MORNING, []) is None


def test_a_new_shift_counts_from_nothing_and_keeps_what_is_parked() -> None:
    floor = new_floor()
    for number, kind in enumerate([GOOD, BAD, HELD]):
        floor.tell(Finished(result(str(number), number, kind)), MORNING)
    later = MORNING + timedelta(hours=8)
    floor.begin_shift(later, passed=3, failed=1)
    shift = floor.snapshot(later).shift
    assert (shift.passed, shift.failed, shift.parked, shift.yield_percent) == (3, 1, 1, 75.0)
    assert shift.since == later.isoformat(timespec="milliseconds")


def test_a_board_that_comes_back_for_its_label_is_counted_once() -> None:
    floor = new_floor()
    floor.tell(Finished(HELD), MORNING)
    floor.tell(StampSettled("WO-1", HELD.chip_id, "BM-3", ""), MORNING)
    floor.tell(BoardSeen(HELD.port, HELD.chip_id), MORNING)
    floor.tell(Finished(replace(GOOD, chip_id=HELD.chip_id)), MORNING)
    assert floor.snapshot(MORNING).shift.passed == 1


def test_what_stops_all_ports_is_the_lines_until_it_is_over() -> None:
    floor = Floor(work_order="WO-1", steps=4, now=MORNING)
    floor.tell(LineDown("signer_unavailable", "no answer", "Look at the cable", stop=False), MORNING)
    line = floor.snapshot(MORNING).line
    assert line is not None
    assert (line.code, line.detail, line.remedy) == ("signer_unavailable", "no answer", "Look at the cable")
    floor.tell(LineUp(), MORNING)
    assert floor.snapshot(MORNING).line is None
