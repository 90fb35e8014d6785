"""Which operations CA each peer's certificate is of, as peers show it by calling; kept for the time after a
restart.

What is not kept yet when signerd ends is lost, and said again by the peer's next call. However often a peer
changes between two certificates, it costs one transaction in `KEEP_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from signerd.errors import Fault, Refused

KEEP_S = 5.0  # between two transactions

_log = structlog.get_logger(__name__)


class MovedPeers:
    """Lives on the event loop. No larger than the registry: only its peers are noted."""

    def __init__(self, keep: Callable[[Mapping[bytes, bytes]], Awaitable[None]]) -> None:
        """`keep` is given the CA (SHA-256) by public key (SHA-256)."""
        self._keep = keep
        self._seen: dict[bytes, bytes] = {}

    def saw(self, spki_sha256: bytes, ca_sha256: bytes) -> None:
        """A registered peer called with a certificate of another CA than the registry has."""
        self._seen[spki_sha256] = ca_sha256

    async def keep(self) -> None:
        """Keeps what was seen until now. Raises Fault; it is kept the next time."""
        if not self._seen:
            return
        seen, self._seen = self._seen, {}
        try:
            await self._keep(seen)
        except (Fault, Refused):
            self._seen = seen | self._seen
            raise

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                await self.keep()
            except (Fault, Refused) as error:
                _log.warning("moved_peers_not_kept", detail=error.detail)
