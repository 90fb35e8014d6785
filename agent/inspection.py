"""Looks at a board again while it is worked on: is it the same chip, and does it hold what it was given?

What the board says of itself is compared with what was issued to it; what it signs is verified with the
certified key; and where the family can ask the silicon, its word stands above the firmware's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from agent.core.certificate import CheckedCertificate
from agent.core.stamp import CheckedStamp, Expected, check_stamp, require_firmware
from agent.errors import BoardError
from agent.ports import BoardIdentity, Driver, Found, KeyState

T = TypeVar("T")

_CHALLENGE_BYTES = 32


def firmware_of(found: Found) -> BoardIdentity:
    """What the board's firmware says. Raises BoardError `no_firmware` where none has answered."""
    if found.board is None:
        remedy = (
            "The recipe leaves out flash or first-boot and this board needs it; or its firmware is broken."
        )
        raise BoardError("no_firmware", "no firmware that speaks the board protocol answers", remedy=remedy)
    return found.board


def holds(issued: CheckedCertificate, board: BoardIdentity) -> bool:
    """True if the board says that it stored certificate and settings."""
    return (
        board.credential_sha256 == issued.credential_sha256
        and board.settings_sha256 == issued.settings_sha256
    )


def reported(board: BoardIdentity) -> Mapping[str, tuple[str, bytes]]:
    """Version and digest of each component, as the board's hello says."""
    return {name: (component.version, component.digest) for name, component in board.firmware.items()}


class Inspection:
    """Of one board. Methods raise `LineError` and `BoardError`."""

    def __init__(self, driver: Driver, chip_id: str, random_bytes: Callable[[int], bytes]) -> None:
        self._driver = driver
        self._random_bytes = random_bytes
        self._chip_id = chip_id

    async def find(self) -> Found:
        """Asks the board who it is, once more; it is the same chip, or this raises `chip_changed`."""
        found = await self._driver.identify()
        answering = {found.chip_id} | ({found.board.chip_id} if found.board else set())
        if answering != {self._chip_id}:
            remedy = "Present both boards again, one after the other."
            raise BoardError("chip_changed", "another chip answers than at the beginning", remedy=remedy)
        return found

    async def find_running(self) -> Found:
        """As `find`; and its firmware answers."""
        found = await self.find()
        firmware_of(found)
        return found

    async def first(self, action: Callable[[], Awaitable[T]]) -> T:
        """Does something to the board only after it has said that it still is the same chip."""
        await self.find()
        return await action()

    async def require_held(self, issued: CheckedCertificate) -> BoardIdentity:
        """The board says that it holds its key, certificate and settings; else `verify_differs`."""
        board = firmware_of(await self.find())
        if board.key_state is not KeyState.DONE or not holds(issued, board):
            raise BoardError("verify_differs", "the board does not hold what it was given")
        return board

    async def require_final(
        self, issued: CheckedCertificate, firmware: Mapping[str, tuple[str, bytes]] | None
    ) -> BoardIdentity:
        """As `require_held`; and it runs this firmware, if it is said which: else `firmware_differs`."""
        board = await self.require_held(issued)
        if firmware is not None:
            require_firmware(reported(board), firmware)
        return board

    async def require_locked(self, required_locks: Sequence[str]) -> None:
        """No lock that the order requires is open in the silicon; else `verify_differs`."""
        silicon = await self._driver.locks()
        still_open = [lock for lock in required_locks if silicon.get(lock) is False]
        if still_open:
            raise BoardError("verify_differs", f"open in the chip itself: {', '.join(still_open)}")

    async def trial_stamp(
        self,
        issued: CheckedCertificate,
        required_locks: tuple[str, ...],
        firmware: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> CheckedStamp:
        """Has the board stamp a challenge of the station's own, and checks that stamp as the last one is
        checked.

        It is sent nowhere: it shows that the key in the board is the certified one, and what the board would
        say.
        """
        challenge = self._random_bytes(_CHALLENGE_BYTES)
        stamp = await self._driver.stamp(challenge)
        expected = Expected(challenge, self._chip_id, required_locks, issued, firmware)
        return check_stamp(stamp.stamp, stamp.signature, expected)
