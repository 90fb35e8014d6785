"""Token buckets, one a caller's key, in a table that cannot grow without bound.

A caller is counted by its public key, not by its name: nobody can use up the share of a name that is not
theirs, nor that of a key which came after theirs. A call takes one token; dear work is taken by its cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

BUCKETS = 4096  # callers remembered; the one unused for longest is forgotten first


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second in the long run, and at once after a pause. Of dear work: seconds of CPU, likewise."""

    calls_per_s: float
    burst: float


# Keys that the registry does not know: all that they may ask is how signerd is.
STRANGERS = Rate(calls_per_s=1.0, burst=10)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """Counts calls. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, capacity: int = BUCKETS) -> None:
        self._clock = clock
        self._capacity = capacity
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def take(self, key: bytes, rate: Rate, cost: float = 1.0) -> bool:
        """Takes `cost` from the key's bucket; False, and nothing taken, if it holds less."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(rate.burst), now)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        bucket.tokens = min(float(rate.burst), bucket.tokens + (now - bucket.filled_at) * rate.calls_per_s)
        bucket.filled_at = now
        if bucket.tokens < cost:
            return False
        bucket.tokens -= cost
        return True
