"""Key holders of all issuers: the installation's own for the first, processes of their own for the others.

Each logs in to its own token with its own PIN. An issuer that is active has to be there at the start. One
that is not may be missing, since its token may lie in a safe: its CRLs wait until it is back.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters.checks import load_issuer
from signerd.adapters.keyholder.channel import SignatureDamaged
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_of_issuer
from signerd.adapters.pin import pin_of
from signerd.config import Config, IssuerSettings, TokenSettings
from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.errors import ConfigError, Unavailable
from signerd.issuers import IssuerParts

_log = structlog.get_logger(__name__)


class IssuerKeyHolders:
    """Those of this signerd. `parts` is for `signerd.issuers`."""

    def __init__(self, config: Config, first: KeyHolderPool) -> None:
        self._config = config
        self._first = first
        self._others: list[KeyHolderPool] = []
        self.parts: dict[bytes, IssuerParts] = {}
        settings = config.all_issuers[0]
        self._add(settings, None if settings.hsm is None else first)

    async def start(
        self, base: Path, known: Mapping[bytes, IssuerRecord], changed: Callable[[], None]
    ) -> None:
        """Starts those beyond the first.

        Args:
            base: the configuration's directory.
            known: what the ledger says, by the certificate's SHA-256.
            changed: is called whenever `serving` may have changed.

        Raises:
            WrongPin, ConfigError, Unavailable: as `KeyHolderPool.start`, for an issuer that is active.
        """
        for settings in self._config.issuers:
            digest = self._add(settings, None)
            record = known.get(digest)
            if record is None:
                _log.warning("issuer_not_announced", issuer=settings.name, remedy="signerd ca add")
            elif settings.hsm is None:
                _log.info("issuer_without_key", issuer=settings.name, state=record.state.value)
            else:
                await self._start(settings, settings.hsm, base, record, changed)

    async def _start(
        self,
        settings: IssuerSettings,
        token: TokenSettings,
        base: Path,
        record: IssuerRecord,
        changed: Callable[[], None],
    ) -> None:
        certificate = load_issuer(self._config, settings).certificate
        pool = KeyHolderPool(
            settings_of_issuer(self._config, certificate, token), token.key_holders, on_change=changed
        )
        pin = pin_of(token, base)
        try:
            await pool.start(pin)
        except (WrongPin, ConfigError, Unavailable) as error:
            if record.state is IssuerState.ACTIVE:
                raise
            _log.warning("issuer_not_serving", issuer=settings.name, detail=str(error))
            return
        finally:
            pin[:] = bytes(len(pin))
        self._others.append(pool)
        self._add(settings, pool)
        _log.info("issuer_serving", issuer=settings.name, state=record.state.value)

    def _add(self, settings: IssuerSettings, pool: KeyHolderPool | None) -> bytes:
        issuer = load_issuer(self._config, settings)
        digest = hashlib.sha256(issuer.certificate.public_bytes(Encoding.DER)).digest()
        if pool is None:
            self.parts[digest] = IssuerParts(issuer, None)
        else:
            self.parts[digest] = IssuerParts(issuer, pool, lambda: pool.serving, pool.demand_room)
        return digest

    @property
    def pools(self) -> tuple[KeyHolderPool, ...]:
        """All of them, the first one first."""
        return (self._first, *self._others)

    async def stop(self) -> None:
        """Ends all but the first, which is not ours."""
        await asyncio.gather(*(pool.stop() for pool in self._others))

    async def wait_given_up(self) -> WrongPin | SignatureDamaged:
        """Returns once one of them tries nothing again: signerd must then end, with its exit code."""
        waits = [asyncio.create_task(pool.wait_given_up()) for pool in (self._first, *self._others)]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()
