"""Key holder processes on SoftHSM: an installation's token, and waiting for what becomes of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from signerd.adapters.installation import Wishes, create_dev
from signerd.adapters.keyholder.client import KeyHolderProcess, KeyHolderSettings
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.pool import settings_for
from signerd.adapters.pin import read_pin
from signerd.config import Config, load
from signerd.core.names import Place
from signerd.core.note import VerifierKey, parse_vkey

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class TokenAtHand:
    """A development installation, for its token."""

    directory: Path
    config: Config

    @property
    def settings(self) -> KeyHolderSettings:
        """As the daemon would start a key holder."""
        return settings_for(self.config)

    @property
    def pin(self) -> bytes:
        """The token's PIN."""
        return bytes(read_pin(self.config.hsm.pin, self.directory))

    @property
    def sub_ca(self) -> x509.Certificate:
        """The certificate of the CA key in the token."""
        return x509.load_pem_x509_certificate(self.config.authority.certificate.read_bytes())

    @property
    def log(self) -> VerifierKey:
        """The checkpoint key in the token."""
        return parse_vkey(self.config.ledger.vkey.read_text(encoding="ascii"))


def make_token(directory: Path, wishes: Wishes | None = None, key_type: str = "p256") -> TokenAtHand:
    """A new development installation in `directory`."""
    return TokenAtHand(directory, load(create_dev(directory, wishes=wishes, key_type=key_type)))


ALL_SEALED = Wishes(Place.SEALED, Place.SEALED, no_spare=True)


class Changes:
    """Hears of changes, and waits for the one that matters."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; it is looked at after each change."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; for what nobody announces, it is looked at again and again."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 # there is no event to wait for
            await asyncio.sleep(0)


@asynccontextmanager
async def running(
    settings: KeyHolderSettings, pin: bytes, changes: Changes | None = None
) -> AsyncIterator[KeyHolderProcess]:
    """A key holder that is started, and stopped in the end."""
    holder = KeyHolderProcess(settings, on_change=changes or Changes())
    try:
        await holder.start(HeldPin(pin))
        yield holder
    finally:
        await holder.stop()
