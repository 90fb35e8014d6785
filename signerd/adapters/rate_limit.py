"""Token buckets, one a caller's key, in a table that cannot grow without bound.

A caller is counted by its public key, not by its name: nobody can use up the share of a name that is not
theirs. Keys that the registry does not know get the strangers' rate.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

BUCKETS = 4096  # callers remembered; the one unused for longest is forgotten first


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second in the long run, and at once after a pause."""

    calls_per_s: float
    burst: int


STRANGERS = Rate(calls_per_s=1.0, burst=10)


@dataclass(slots=True)
class _Bucket:
    rate: Rate
    tokens: float
    filled_at: float


class RateLimiter:
    """Counts calls. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, capacity: int = BUCKETS) -> None:
        self._clock = clock
        self._capacity = capacity
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()
        self._strangers: set[bytes] = set()

    def take(self, key: bytes, rate: Rate) -> bool:
        """Takes one call from the key's bucket; False if it is empty. Known strangers get their own rate."""
        now = self._clock()
        rate = STRANGERS if key in self._strangers else rate
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(rate, float(rate.burst), now)
            if len(self._buckets) > self._capacity:
                forgotten, _ = self._buckets.popitem(last=False)
                self._strangers.discard(forgotten)
        else:
            self._buckets.move_to_end(key)
        if bucket.rate is not rate:
            bucket.rate, bucket.tokens = rate, min(bucket.tokens, float(rate.burst))
        bucket.tokens = min(float(rate.burst), bucket.tokens + (now - bucket.filled_at) * rate.calls_per_s)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True

    def mark(self, key: bytes, *, stranger: bool) -> None:
        """Remembers whether the registry knew the key. Call it after `take`."""
        if stranger and key in self._buckets:
            self._strangers.add(key)
        else:
            self._strangers.discard(key)
