"""The PIN while signerd runs.

A key holder that dies must be replaced without a person at the keyboard, so its parent keeps the PIN. It is
held in one bytearray that `wipe` overwrites; copies that Python and CBOR make on the way to the child cannot
be overwritten, which is why both processes run without core files and closed to debuggers.

A wrong PIN is tried once: every login goes through `attempt`, one at a time, and after a rejection none
starts, in this process or a later one (`keyholder/rejected_pin.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from signerd.adapters.keyholder.rejected_pin import NoteDamagedError, RejectedPins
from signerd.errors import Unavailable


class WrongPin(Unavailable):
    """The token rejected the PIN. Nothing but a new start with another PIN mends it (exit code 77)."""


class HeldPin:
    """The PIN, and whether it was rejected. Shared by all key holders of one token."""

    def __init__(self, pin: bytes | bytearray, rejected: RejectedPins | None = None) -> None:
        """`rejected` are the PINs that this token rejected before; None where nothing is kept of them."""
        self._pin = bytearray(pin)
        self._rejected = rejected
        self._looked = False  # whether it is one of them
        self._rejection: str | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return "HeldPin(…)"

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[bytes]:
        """The PIN for one login. Raises WrongPin if it was rejected before; call `reject` if it is now."""
        async with self._turn:
            if self._rejection is None and not self._looked:
                await asyncio.to_thread(self._look)
            if self._rejection is not None:
                raise WrongPin(self._rejection)
            yield bytes(self._pin)

    def _look(self) -> None:
        """A slow hash, once."""
        self._looked = True
        if self._rejected is None:
            return
        file = self._rejected.file
        try:
            since = self._rejected.since(bytes(self._pin))
        except NoteDamagedError as error:
            self._rejection = f"{error}: see that the PIN is right, then remove the file"
            return
        if since is not None:
            self._rejection = (
                f"the token rejected this PIN at {since}: it is not tried again. If the token's PIN was"
                f" changed to it since, remove {file}"
            )

    def reject(self, detail: str, names: Sequence[str] = ()) -> WrongPin:
        """Notes the rejection, for ever, under these names of the token too; forgets the PIN, and gives the
        exception to raise."""
        if self._rejected is not None:
            try:
                self._rejected.add(bytes(self._pin), names)
            except (OSError, NoteDamagedError) as error:
                detail = f"{detail}\nthis could not be noted, so the next start would try it again: {error}"
        return self.leave_alone(detail)

    def leave_alone(self, detail: str) -> WrongPin:
        """The token takes no PIN now, and was not asked: nothing is known of this one. As `reject`."""
        self._rejection = detail
        self.wipe()
        return WrongPin(detail)

    def wipe(self) -> None:
        """Overwrites the PIN."""
        self._pin[:] = bytes(len(self._pin))
