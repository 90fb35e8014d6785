"""What the lines of a key holder's service share: its keys, its notes, and bounds on memory and log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from signerd.adapters.keyholder.guard import Guard
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.adapters.keyholder.protocol import MAX_FRAME, ProtocolError
from signerd.adapters.keyholder.service.notes import Notes
from signerd.adapters.rate_limit import Rate, RateLimiter
from signerd.core.approval.verify import Installation
from signerd.core.approved_order import IssuerOfCa
from signerd.errors import Fault

MAX_HELD = 4 * MAX_FRAME  # bytes of requests without an answer, of all lines together
MAX_DETAIL = 2_000  # characters of a reason
_LOGGED = Rate(1.0, 100)  # refusals in the log

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One key: its processes; where it is an issuer's, the look at what they sign, and its CA."""

    pool: KeyHolderPool
    guard: Guard | None = None  # None: of the log, beyond the first
    issuer: IssuerOfCa | None = None  # likewise
    lines: set[Callable[[], None]] = field(default_factory=set)  # those that are served: what ends each

    def changed(self) -> None:
        """Whether it serves may have changed: lines to a token that is away end."""
        if not self.pool.serving:
            for end in list(self.lines):
                end()


@dataclass(frozen=True, slots=True)
class Holder:
    """What the lines share."""

    installation: Installation
    notes: Notes
    keys: Mapping[bytes, HeldKey]  # by the certificate's SHA-256
    clients: frozenset[int]  # uids
    succession: int = 1  # the highest number of a successor of the log that may be signed
    said: RateLimiter = field(default_factory=lambda: RateLimiter(time.monotonic))
    room: Room = field(default_factory=lambda: Room(MAX_HELD))

    def refused(self, operation: str, detail: str) -> None:
        """Logs it, within a bound."""
        if self.said.take(b"refused", _LOGGED):
            _log.warning("refused", operation=operation[:32], detail=detail[:MAX_DETAIL])

    def ended(self, error: BaseException) -> None:
        """Logs why a line ended, within a bound."""
        if self.said.take(b"ended", _LOGGED):
            _log.warning("line_ended", detail=f"{type(error).__name__}: {error}"[:500])

    def fault(self, operation: str, error: Exception) -> None:
        """Logs what is nobody's doing but ours, within a bound."""
        if self.said.take(b"fault", _LOGGED):
            detail = error.detail if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
            _log.error("fault", operation=operation[:32], detail=detail[:MAX_DETAIL])


class Room:
    """Bytes of requests that all lines together hold, and a bound on them."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> None:
        """Raises ProtocolError: there is no room for them now."""
        if count > self._left:
            raise ProtocolError("more bytes of requests at once than there is room for")
        self._left -= count

    def give(self, count: int) -> None:
        """They were answered, or their line ended."""
        self._left += count
