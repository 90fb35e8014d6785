"""`KnownPeers`: what the registry says of keys, kept in memory.

Admission asks at each call, also for callers that get nothing; a look here costs no read of the database.
Guarantees that no answer is older than the registry: a transaction that changes it empties all this after its
commit, before anybody hears of the commit, and an answer that was read before that is not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from signerd.ports import PeerRecord

CAPACITY = 4_096  # peers kept; the one unused for longest is forgotten first
STRANGERS = 1_024  # keys kept that the registry does not know, apart, so that they push out no peer


class KnownPeers:
    """Lives on the event loop. `read` asks the database."""

    def __init__(self, read: Callable[[bytes], Awaitable[PeerRecord | None]]) -> None:
        self._read = read
        self._known: OrderedDict[bytes, PeerRecord] = OrderedDict()
        self._strangers: OrderedDict[bytes, None] = OrderedDict()
        self._changes = 0

    async def of_key(self, spki_sha256: bytes) -> PeerRecord | None:
        """The peer that this public key was registered for, revoked or not."""
        known = self._known.get(spki_sha256)
        if known is not None:
            self._known.move_to_end(spki_sha256)
            return known
        if spki_sha256 in self._strangers:
            self._strangers.move_to_end(spki_sha256)
            return None
        changes = self._changes
        found = await self._read(spki_sha256)
        if changes == self._changes:
            self._keep(spki_sha256, found)
        return found

    def changed(self) -> None:
        """The registry was changed: forgets everything."""
        self._changes += 1
        self._known.clear()
        self._strangers.clear()

    def _keep(self, key: bytes, found: PeerRecord | None) -> None:
        if found is None:
            self._strangers[key] = None
            if len(self._strangers) > STRANGERS:
                self._strangers.popitem(last=False)
            return
        self._known[key] = found
        if len(self._known) > CAPACITY:
            self._known.popitem(last=False)
