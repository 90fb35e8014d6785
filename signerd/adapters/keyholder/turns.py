"""Whose turn it is at the token: a queue in front of it that is fair, bounded, and never lets it wait.

Callers take turns, not requests: whoever asks a hundred times at once waits behind everybody's next one.
Between their operations comes a checkpoint's (`due`), over all that was entered until then. What costs the
token next to nothing beside a signature (`beside`), a chip's MAC above all, waits for no turn.

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
MOST_AHEAD = 64
_SMOOTHING = 0.2  # the share of the newest operation in what one is taken to last
_NEXT_TO_NOTHING = 0.1  # of a signature's time
LEAST_SHARED = 8  # calls that one checkpoint is for, where so many are there
LONGEST_SHARING_S = 5.0  # that a checkpoint is put off, for more to share it


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
    """How long the token takes for one kind of operation, as seen from outside."""

    def __init__(self) -> None:
        self.operation_s: float | None = None  # None before the first

    def took(self, operation_s: float) -> None:
        """An operation has ended."""
        if self.operation_s is None:
            self.operation_s = operation_s
        self.operation_s += _SMOOTHING * (operation_s - self.operation_s)

    @property
    def slow(self) -> bool:
        """True where the order of operations matters."""
        return self.operation_s is not None and self.operation_s >= SLOW_S

    @property
    def depth(self) -> int:
        """How many operations a key holder is given at once."""
        if self.operation_s is None:
            return _LEAST_AHEAD
        return max(_LEAST_AHEAD, min(MOST_AHEAD, int(_AHEAD_S / max(self.operation_s, 1e-6))))


def beside(operation: Pace, signature: Pace) -> bool:
    """Whether such an operation costs next to nothing beside a signature of a slow token."""
    if not signature.slow or operation.operation_s is None or signature.operation_s is None:
        return False
    return operation.operation_s <= _NEXT_TO_NOTHING * signature.operation_s


def due(waiting: int, wanted: int, *, idle: bool) -> bool:
    """Whether a checkpoint's turn has come: `waiting` calls wait for it, `wanted` ones for a certificate.

    At a busy token half of those that are there share it. The other half keeps the token at work while they
    come back, and has the next one. So whoever comes back before that misses none, and each waits as long as
    any other.
    """
    return idle or waiting >= max(LEAST_SHARED, wanted)
