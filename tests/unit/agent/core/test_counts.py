"""How boards are counted: each time they come, and a parked one when it is known what became of it."""

from __future__ import annotations

from dataclasses import replace

from agent.core.counts import Counts
from agent.core.events import BoardSeen, Finished, StampSettled
from harness.factory_floor import BAD, GOOD, HELD


def numbers(counts: Counts) -> tuple[int, int, int]:
    return counts.passed, counts.failed, counts.parked


def test_a_board_counts_each_time_that_it_comes() -> None:
    counts = Counts()
    for one in (BAD, BAD, GOOD):
        counts.tell(BoardSeen("1", one.chip_id))
        counts.tell(Finished(one))
    assert numbers(counts) == (1, 2, 0)
    assert counts.yield_percent == 100 / 3
    assert counts.codes == {BAD.code: 2}


def test_a_parked_board_that_is_taken_up_again_counts_at_its_end() -> None:
    counts = Counts()
    counts.tell(Finished(HELD))
    assert (numbers(counts), counts.codes) == ((0, 0, 1), {HELD.code: 1})
    counts.tell(BoardSeen("1", HELD.chip_id))
    assert numbers(counts) == (0, 0, 0)
    counts.tell(Finished(replace(GOOD, chip_id=HELD.chip_id)))
    assert (numbers(counts), counts.codes) == ((1, 0, 0), {})


def test_a_board_that_comes_back_for_its_label_was_counted() -> None:
    counts = Counts()
    counts.tell(Finished(HELD))
    counts.tell(StampSettled("WO-1", HELD.chip_id, "BM-1", ""))
    assert numbers(counts) == (1, 0, 0)
    label = replace(GOOD, chip_id=HELD.chip_id)
    counts.tell(BoardSeen("1", label.chip_id))
    counts.tell(Finished(label))
    assert numbers(counts) == (1, 0, 0)
    counts.tell(Finished(label))  # and once more, later: a board like any other
    assert numbers(counts) == (2, 0, 0)


def test_a_stamp_of_an_earlier_run_counts_only_when_it_is_refused() -> None:
    counts = Counts()
    counts.tell(StampSettled("WO-1", "CHIP-9", "BM-1", ""))
    assert numbers(counts) == (0, 0, 0)
    counts.tell(StampSettled("WO-1", "CHIP-9", "BM-1", "stamp_conflict"))
    assert (numbers(counts), counts.codes) == ((0, 1, 0), {"stamp_conflict": 1})


def test_a_shift_that_begins_keeps_what_is_parked() -> None:
    counts = Counts()
    for one in (GOOD, BAD, HELD):
        counts.tell(Finished(one))
    counts.begin(passed=0, failed=0)
    assert (numbers(counts), counts.codes) == ((0, 0, 1), {HELD.code: 1})
