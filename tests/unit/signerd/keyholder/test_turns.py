"""The order in which operations reach a token, and how many are handed on ahead."""

from __future__ import annotations

from itertools import pairwise

from signerd.adapters.keyholder.turns import LEAST_SHARED, Pace, Turns, before, beside, due


def taken(turns: Turns[str]) -> list[str]:
    found = []
    while (item := turns.take()) is not None:
        found.append(item)
    return found


def test_callers_take_turns_whoever_asked_first() -> None:
    turns: Turns[str] = Turns()
    for number in range(4):
        turns.add("many", f"many-{number}")
    turns.add("one", "one-0")
    turns.add("two", "two-0")
    turns.add("two", "two-1")
    assert len(turns) == 7
    assert taken(turns) == ["many-0", "one-0", "two-0", "many-1", "two-1", "many-2", "many-3"]
    assert len(turns) == 0


def test_a_caller_that_comes_again_at_once_waits_behind_the_others() -> None:
    turns: Turns[str] = Turns()
    for caller in "abc":
        turns.add(caller, caller)
    for _ in range(3):
        first = turns.take()
        assert first is not None
        turns.add(first, first)
    assert taken(turns) == ["a", "b", "c"]


def test_what_comes_before_a_caller_is_counted_by_turns() -> None:
    assert before({}, "one") == 0
    assert before({"many": 10}, "one") == 1
    assert before({"many": 10}, "many") == 10
    assert before({"many": 10, "one": 1}, "one") == 3
    assert before({"many": 10, "one": 1}, "many") == 11


def pace_of(operation_s: float) -> Pace:
    pace = Pace()
    for _ in range(50):
        pace.took(operation_s)
    return pace


def test_a_token_that_is_slow_is_given_one_operation_ahead() -> None:
    assert Pace().depth == 2
    assert not Pace().slow
    pace = pace_of(0.1)
    assert pace.slow
    assert pace.depth == 2
    assert pace.operation_s is not None
    assert abs(pace.operation_s - 0.1) < 1e-9


def test_a_token_that_is_fast_is_given_many() -> None:
    pace = pace_of(0.0002)
    assert not pace.slow
    assert pace.depth > 32


def test_what_costs_a_slow_token_next_to_nothing_waits_for_no_turn() -> None:
    assert beside(pace_of(0.001), pace_of(0.1))
    assert not beside(pace_of(0.02), pace_of(0.1))
    assert not beside(pace_of(0.00001), pace_of(0.001))  # a fast token: many at once, in order
    assert not beside(Pace(), pace_of(0.1))  # not known yet
    assert not beside(pace_of(0.001), Pace())


def test_a_checkpoint_is_due_at_once_at_an_idle_token_and_else_for_half_of_those_that_are_there() -> None:
    assert due(0, 0, idle=True)
    assert due(1, 5, idle=True)
    assert not due(0, 0, idle=False)
    assert not due(LEAST_SHARED - 1, 1, idle=False)
    assert due(LEAST_SHARED, 1, idle=False)
    assert not due(15, 17, idle=False)
    assert due(16, 16, idle=False)


def test_stations_that_come_back_at_once_all_wait_alike() -> None:
    """32 of them: a cycle is 32 certificates and two checkpoints, in whatever order they come back."""
    wanted, waiting = list(range(32)), list[int]()
    published: dict[int, list[int]] = {number: [] for number in range(32)}
    for moment in range(20 * 34):  # in signatures
        if due(len(waiting), len(wanted), idle=not wanted):
            for number in waiting:
                published[number].append(moment)
            wanted += sorted(waiting, key=lambda number: hash((number, moment)))
            waiting = []
        else:
            waiting.append(wanted.pop(0))
    assert {after - before for each in published.values() for before, after in pairwise(each)} == {34}
