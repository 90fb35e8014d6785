from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from signerd.core.clock import BOUND, ClockState, Reading, followed, judge

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
BOOT_S = NOON.timestamp() - 1000.0
SECOND = timedelta(seconds=1)


def reading(wall: datetime, since_boot_s: float = 1000.0) -> Reading:
    return Reading(wall, since_boot_s)


@pytest.mark.parametrize("off", [timedelta(0), BOUND, -BOUND])
def test_a_clock_within_the_bound_is_right(off: timedelta) -> None:
    judged = judge(reading(NOON + off), reference_s=BOOT_S, newest=NOON + off + BOUND)
    assert judged.state is ClockState.RIGHT


@pytest.mark.parametrize("hours", [-48, -2, 2, 48])
def test_a_step_against_the_seconds_since_boot_is_a_jump(hours: int) -> None:
    step = timedelta(hours=hours)
    judged = judge(reading(NOON + step), reference_s=BOOT_S, newest=None)
    assert (judged.state, judged.expected) == (ClockState.JUMPED, NOON)
    assert f"jumped {'forward' if hours > 0 else 'back'} by {abs(hours) * 3600} s" in str(judged)


def test_time_that_passes_is_no_jump() -> None:
    later = reading(NOON + timedelta(days=900), 1000.0 + 900 * 86400)
    assert judge(later, reference_s=BOOT_S, newest=NOON).state is ClockState.RIGHT


def test_a_clock_before_the_newest_entry_is_behind() -> None:
    judged = judge(reading(NOON), reference_s=None, newest=NOON + BOUND + SECOND)
    assert (judged.state, judged.expected) == (ClockState.BEHIND, NOON + BOUND + SECOND)
    assert "121 s before the newest entry" in str(judged)


def test_what_a_clock_should_say_is_never_before_the_newest_entry() -> None:
    judged = judge(reading(NOON - timedelta(days=2)), reference_s=BOOT_S, newest=NOON + timedelta(minutes=1))
    assert (judged.state, judged.expected) == (ClockState.JUMPED, NOON + timedelta(minutes=1))


def test_small_steps_are_followed_as_slowly_as_a_kernel_slews() -> None:
    stepped = reading(NOON + timedelta(seconds=60))
    assert followed(BOOT_S, stepped, 1000.0) == pytest.approx(BOOT_S + 0.5)
    assert followed(BOOT_S, stepped, 1e9) == pytest.approx(BOOT_S + 60)
    assert followed(BOOT_S, stepped, -5.0) == BOOT_S
