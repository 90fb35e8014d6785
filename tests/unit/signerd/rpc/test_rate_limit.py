from __future__ import annotations

from signerd.adapters.rate_limit import Rate, RateLimiter

RATE = Rate(calls_per_s=2.0, burst=3)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(limiter: RateLimiter, key: bytes, rate: Rate = RATE) -> int:
    count = 0
    while limiter.take(key, rate):
        count += 1
    return count


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    assert taken(limiter, b"a") == 3
    clock.now += 1.0
    assert taken(limiter, b"a") == 2
    clock.now += 3600.0
    assert taken(limiter, b"a") == 3


def test_callers_do_not_share() -> None:
    limiter = RateLimiter(Clock())
    assert taken(limiter, b"a") == 3
    assert taken(limiter, b"b") == 3


def test_dear_work_is_taken_by_its_cost_or_not_at_all() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    cpu = Rate(calls_per_s=0.1, burst=0.5)
    assert limiter.take(b"a", cpu, 0.4)
    assert not limiter.take(b"a", cpu, 0.2)
    assert limiter.take(b"a", cpu, 0.09)
    clock.now += 1.0
    assert limiter.take(b"a", cpu, 0.1)


def test_the_table_is_bounded_and_forgets_the_one_unused_for_longest() -> None:
    limiter = RateLimiter(Clock(), capacity=2)
    assert taken(limiter, b"a") == 3
    assert taken(limiter, b"b") == 3
    assert not limiter.take(b"a", RATE)
    assert limiter.take(b"c", RATE)  # b leaves
    assert not limiter.take(b"a", RATE)
    assert limiter.take(b"b", RATE)
