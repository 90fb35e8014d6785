"""Whose turn it is at the token: a queue in front of it that is fair, bounded, and never lets it wait.

Callers take turns, not requests: whoever asks a hundred times at once waits behind everybody's next one.
Between their operations comes a checkpoint's (`due`), over all that was entered until then.

Only what keeps the token at work is handed on (`Pace.depth`): what a key holder process has been given is
out of this order, and lost with it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

SLOW_S = 0.005  # an operation: below it nothing is gained by order, and everything by many at once
_AHEAD_S = 0.02  # of work that is handed on before it can begin: a busy event loop is late by less
_LEAST_AHEAD = 2  # operations: one at work, one that begins when it ends
_MOST_AHEAD = 64
_SMOOTHING = 0.2  # the share of the newest operation in what one is taken to last
LEAST_SHARED = 8  # operations between two checkpoints, where so many wait


class Turns(Generic[T]):
    """Who waits, in the order of their turns."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, caller: str, item: T) -> None:
        """Behind what this caller asked before."""
        self._callers.setdefault(caller, deque()).append(item)
        self._count += 1

    def take(self) -> T | None:
        """The next one; its caller's next is behind every other caller's. None where nobody waits."""
        if not self._callers:
            return None
        caller, items = self._callers.popitem(last=False)
        item = items.popleft()
        self._count -= 1
        if items:
            self._callers[caller] = items
        return item


def before(waiting: Mapping[str, int], caller: str) -> int:
    """How many have their turn before one more of this caller's, where each caller has so many."""
    own = waiting.get(caller, 0)
    return sum(min(count, own + 1) for count in waiting.values())


class Pace:
    """How long the token takes for one operation, as seen from outside. Moments are in seconds."""

    def __init__(self) -> None:
        self.operation_s: float | None = None  # None before the first
        self._free_at = 0.0

    def ended(self, handed_on_at: float, now: float) -> None:
        """An operation has ended."""
        took_s = now - max(handed_on_at, self._free_at)
        self._free_at = now
        if self.operation_s is None:
            self.operation_s = took_s
        self.operation_s += _SMOOTHING * (took_s - self.operation_s)

    @property
    def slow(self) -> bool:
        """True where the order of operations matters."""
        return self.operation_s is not None and self.operation_s >= SLOW_S

    @property
    def depth(self) -> int:
        """How many operations a key holder is given at once."""
        if self.operation_s is None:
            return _LEAST_AHEAD
        return max(_LEAST_AHEAD, min(_MOST_AHEAD, int(_AHEAD_S / max(self.operation_s, 1e-6))))


def due(ended: int, waiting: int) -> bool:
    """Whether a checkpoint's turn has come, after so many operations since it was wanted.

    Half of those who wait go before it, so that it covers what they enter; the other half keeps the token
    busy while the callers whose entries it published come back.
    """
    return waiting == 0 or ended >= max(LEAST_SHARED, waiting // 2)
