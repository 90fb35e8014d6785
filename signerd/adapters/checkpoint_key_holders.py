"""Key holders of the log's keys: the installation's own for the first, a process of its own for each other.

Each logs in to its own token with its own PIN. A key that is to sign has to be there at the start, if the
settings name it: one that was lost is taken out of them first (docs/operations.md, "The log's key"). One that
is announced alone may be missing, since its token may lie in a safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from signerd.adapters.commit_keys import Derive
from signerd.adapters.head_file import load_vkey
from signerd.adapters.keyholder.channel import SignatureDamaged
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_of_checkpoint_key
from signerd.adapters.pin import pin_of
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store.log.ledger import Sign
from signerd.config import CheckpointKeySettings, Config
from signerd.core.checkpoint_keys import KeyState, LogKey, LogKeys
from signerd.core.note import VerifierKey
from signerd.errors import ConfigError, Unavailable

_log = structlog.get_logger(__name__)


class CheckpointKeyHolders:
    """Those of this signerd."""

    def __init__(self, config: Config, first: KeyHolderPool) -> None:
        """`first` has the log's first key, unless the settings say that it has none."""
        self._config = config
        self._pools: dict[VerifierKey, KeyHolderPool] = {}
        if config.hsm.checkpoint_key_in != "none":
            self._pools[vkey_in(config.ledger.vkey)] = first
        self._further: list[KeyHolderPool] = []

    async def start(self, base: Path, keys: LogKeys, changed: Callable[[], None]) -> None:
        """Starts those beyond the first.

        Args:
            base: the configuration's directory.
            keys: what the ledger says.
            changed: is called whenever one of them may have begun or ceased to serve.

        Raises:
            WrongPin, ConfigError, Unavailable: as `KeyHolderPool.start`, for a key that is to sign.
        """
        known = {key.verifier: key for key in keys.keys}
        for settings in self._config.checkpoint_keys:
            verifier = vkey_in(settings.vkey)
            key, key_id = known.get(verifier), verifier.key_id.hex()
            if key is None:
                _log.warning(
                    "checkpoint_key_not_announced", key_id=key_id, remedy="signerd checkpoint-key add"
                )
            elif key.state is KeyState.RETIRED:
                _log.info("checkpoint_key_retired", key_id=key_id)
            else:
                await self._start(settings, base, key, changed)

    async def _start(
        self, settings: CheckpointKeySettings, base: Path, key: LogKey, changed: Callable[[], None]
    ) -> None:
        pool = KeyHolderPool(
            settings_of_checkpoint_key(self._config, settings, key.verifier), 1, on_change=changed
        )
        pin = pin_of(settings, base)
        try:
            await pool.start(pin)
        except (WrongPin, ConfigError, Unavailable) as error:
            if key.state is KeyState.SIGNING:
                raise
            _log.warning("checkpoint_key_not_serving", key_id=key.verifier.key_id.hex(), detail=str(error))
            return
        finally:
            pin[:] = bytes(len(pin))
        self._further.append(pool)
        self._pools[key.verifier] = pool
        _log.info("checkpoint_key_serving", key_id=key.verifier.key_id.hex(), state=key.state.value)

    @property
    def signs(self) -> Mapping[VerifierKey, Sign]:
        """How each key that is here signs."""
        return {verifier: pool.sign_checkpoint for verifier, pool in self._pools.items()}

    @property
    def commit_keys(self) -> list[Derive]:
        """How those beyond the first derive keys of commits."""
        return [pool.commit_key for pool in self._further]

    def serves(self, verifier: VerifierKey) -> bool:
        """Whether this key is here, and answers."""
        pool = self._pools.get(verifier)
        return pool is not None and pool.serving

    async def stop(self) -> None:
        """Ends all but the first, which is not ours."""
        await asyncio.gather(*(pool.stop() for pool in self._further))

    async def wait_given_up(self) -> WrongPin | SignatureDamaged:
        """Returns once one beyond the first tries nothing again: signerd must then end, with its code."""
        if not self._further:
            await asyncio.Event().wait()
        waits = [asyncio.create_task(pool.wait_given_up()) for pool in self._further]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()


def vkey_in(path: Path) -> VerifierKey:
    """The verifier key in this file. Raises ConfigError."""
    try:
        return load_vkey(path)
    except OSError as error:
        raise unreadable(path, error) from error
