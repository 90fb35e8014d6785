"""The order in which operations reach a token, and how many are handed on ahead."""

from __future__ import annotations

from signerd.adapters.keyholder.turns import LEAST_SHARED, SLOW_S, Pace, Turns, before, due


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


def test_a_token_that_is_slow_is_given_one_operation_ahead() -> None:
    pace = Pace()
    assert pace.depth == 2
    assert not pace.slow
    for number in range(20):
        pace.ended(number * 0.1, (number + 1) * 0.1)
    assert pace.slow
    assert pace.depth == 2
    assert pace.operation_s is not None
    assert abs(pace.operation_s - 0.1) < 1e-9


def test_a_token_that_is_fast_is_given_many() -> None:
    pace = Pace()
    for number in range(50):
        pace.ended(number * 0.0002, (number + 1) * 0.0002)
    assert not pace.slow
    assert pace.depth > 32


def test_an_operation_that_waited_for_another_one_is_not_taken_for_slow() -> None:
    pace = Pace()
    pace.ended(0.0, SLOW_S * 10)
    pace.ended(0.0, SLOW_S * 20)  # handed on with the first
    assert pace.operation_s is not None
    assert abs(pace.operation_s - SLOW_S * 10) < 1e-9


def test_a_checkpoint_is_due_at_once_where_nobody_waits_and_else_after_half_of_them() -> None:
    assert due(0, 0)
    assert not due(0, 1)
    assert not due(LEAST_SHARED - 1, 1)
    assert due(LEAST_SHARED, 1)
    assert not due(15, 32)
    assert due(16, 32)
