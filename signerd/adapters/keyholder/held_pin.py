"""The PIN while signerd runs.

A key holder that dies must be replaced without a person at the keyboard, so its parent keeps the PIN. It is
held in one bytearray that `wipe` overwrites; copies that Python and CBOR make on the way to the child cannot
be overwritten, which is why both processes run without core files and closed to debuggers.

A wrong PIN is tried once: every login goes through `attempt`, one at a time, and after a rejection none
starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signerd.errors import Unavailable


class WrongPin(Unavailable):
    """The token rejected the PIN. Nothing but a new start with another PIN mends it (exit code 77)."""


class HeldPin:
    """The PIN, and whether it was rejected. Shared by all key holders of one token."""

    def __init__(self, pin: bytes | bytearray) -> None:
        self._pin = bytearray(pin)
        self._rejection: str | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return "HeldPin(…)"

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[bytes]:
        """The PIN for one login. Raises WrongPin if it was rejected before; call `reject` if it is now."""
        async with self._turn:
            if self._rejection is not None:
                raise WrongPin(self._rejection)
            yield bytes(self._pin)

    def reject(self, detail: str) -> WrongPin:
        """Notes the rejection, forgets the PIN, and gives the exception to raise."""
        self._rejection = detail
        self.wipe()
        return WrongPin(detail)

    def wipe(self) -> None:
        """Overwrites the PIN."""
        self._pin[:] = bytes(len(self._pin))
