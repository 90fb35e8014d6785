"""What a witness tells, of events as they come."""

from __future__ import annotations

from auditor.adapters.witness_journal import EVERY_S, Event, WitnessJournal


class Clock:
    """The test moves it."""

    def __init__(self) -> None:
        self.seconds = 5.0

    def __call__(self) -> float:
        return self.seconds


def test_one_a_minute_of_each_log_size_class_and_verdict() -> None:
    told: list[Event] = []
    clock = Clock()
    journal = WitnessJournal(told.append, clock)
    first = [
        Event("unproven", "a.example/log", 900, "wrong"),
        Event("unproven", "b.example/log", 900, "wrong"),
        Event("fork", "a.example/log", 900, "wrong"),
        Event("unproven", "a.example/log", 1_024, "wrong"),
    ]
    for _ in range(1_000):
        for event in first:
            journal.repeatable(event)
    assert told == first
    clock.seconds += EVERY_S
    journal.repeatable(Event("unproven", "a.example/log", 512, "wrong"))  # of the class of 900
    assert told[4:] == [Event("unproven", "a.example/log", 512, "wrong", left_out=999)]
    assert [event.left_out for event in journal.rest()] == [999] * 3
    assert list(journal.rest()) == []


def test_each_larger_tree_is_told() -> None:
    told: list[Event] = []
    journal = WitnessJournal(told.append, Clock())
    grown = [Event("cosigned", "a.example/log", size) for size in range(100)]
    for event in grown:
        journal.new(event)
    assert told == grown
