from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from signerd.adapters.clock import ClockGuard
from signerd.core.clock import ClockState, Reading
from signerd.errors import ClockWrong, Code

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAYS = [timedelta(hours=2), timedelta(hours=-2), timedelta(days=2), timedelta(days=-2)]


class World:
    """Two clocks that the test moves, and a ledger's newest time."""

    def __init__(self, newest: datetime | None = NOON - timedelta(hours=1)) -> None:
        self.wall, self.boot_s, self.newest = NOON, 1000.0, newest
        self.guard = ClockGuard(lambda: self.newest, read=lambda: Reading(self.wall, self.boot_s))

    def pass_s(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.boot_s += seconds


@pytest.mark.parametrize("step", DAYS)
def test_a_step_stops_it_at_once_and_the_step_back_goes_on(step: timedelta) -> None:
    world = World()
    assert world.guard() == NOON
    world.wall += step
    with pytest.raises(ClockWrong) as caught:
        world.guard()
    assert caught.value.code is Code.CLOCK_WRONG
    world.pass_s(3600)
    assert not world.guard.right
    assert world.guard.estimate() == NOON + timedelta(hours=1)
    world.wall -= step
    assert world.guard() == NOON + timedelta(hours=1)


@pytest.mark.parametrize("step", DAYS)
def test_an_accepted_step_is_the_time(step: timedelta) -> None:
    world = World()
    world.guard()
    world.wall += step
    assert world.guard.look().state is ClockState.JUMPED
    world.newest = world.wall  # what the entry does
    world.guard.accept()
    assert world.guard() == NOON + step
    world.wall -= step
    assert not world.guard.right


def test_a_board_without_a_clock_of_its_own_waits_for_the_time() -> None:
    world = World()
    world.wall = datetime(1970, 1, 1, tzinfo=UTC)
    assert world.guard.look().state is ClockState.BEHIND
    world.wall = NOON  # no jump: the clock was not right before
    assert world.guard() == NOON


def test_many_small_steps_are_not_the_way_around_the_bound() -> None:
    world = World()
    world.guard()
    for _ in range(3):
        world.wall += timedelta(seconds=50)
        world.pass_s(1)
    assert world.guard.look().state is ClockState.JUMPED


def test_a_log_without_entries_takes_any_clock() -> None:
    assert World(newest=None).guard() == NOON
