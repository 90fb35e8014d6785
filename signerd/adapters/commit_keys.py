"""The keys of commits (`core/commits.py`): of this start of signerd, and of those before it.

The key holder derives them from the start's name. The database has the name beside each MAC, and nothing else
of it. Where no key holder has a secret to derive from, the key is of this process alone: what it commits has
to be under a checkpoint before it ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from signerd.core.internal_key import START_BYTES

_KEY_BYTES = 32
Derive = Callable[[bytes], Awaitable[bytes | None]]
"""A key holder's key for the start of this name; None where it has no secret."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StartKey:
    """What this start of signerd commits with."""

    start: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"StartKey(start={self.start.hex()})"


class CommitKeys:
    """Asks the key holders."""

    def __init__(self, *derive: Derive) -> None:
        """In the order in which they are asked. All are asked for what an earlier start committed: which of
        them was there then, nobody knows."""
        self._derive = derive

    async def new(self) -> StartKey:
        """For this start. Raises Fault: a key holder does not answer."""
        start = secrets.token_bytes(START_BYTES)
        for key in await self.of(start):
            return StartKey(start, key)
        _log.warning(
            "commits_end_with_this_process",
            detail="no key holder has a secret to derive a key from: after a crash, entries that no"
            " checkpoint covers keep signerd from starting",
        )
        return StartKey(start, secrets.token_bytes(_KEY_BYTES))

    async def of(self, start: bytes) -> Sequence[bytes]:
        """The keys that may be that start's. Raises Fault."""
        found = [await derive(start) for derive in self._derive]
        return [key for key in found if key is not None]
