"""`signerd key-holder run`: the composition of a key holder's service.

start: settings, notes, PINs, the tokens' processes, administrators, the socket, READY
end:   the socket; lines; notes; the tokens' processes
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from signerd.adapters import systemd
from signerd.adapters.administrators_file import read_administrators
from signerd.adapters.checkpoint_key_holders import vkey_in
from signerd.adapters.checks import load_issuer
from signerd.adapters.ends import issuer_ends
from signerd.adapters.keyholder.channel import SignatureDamaged
from signerd.adapters.keyholder.client import KeyHolderSettings
from signerd.adapters.keyholder.guard import Authority, Guard, Limits
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import (
    KeyHolderPool,
    settings_for,
    settings_of_checkpoint_key,
    settings_of_issuer,
)
from signerd.adapters.keyholder.service import noted_approvals, notes
from signerd.adapters.keyholder.service.held import HeldKey, Holder
from signerd.adapters.keyholder.service.notes import About, Notes
from signerd.adapters.keyholder.service.server import Listener, bind
from signerd.adapters.keyholder.service.settings import KeyHolderConfig
from signerd.adapters.keyholder.service.shown_ends import show_ends
from signerd.adapters.keyholder.service.users import uids
from signerd.adapters.line_writer import LineWriter, standard_error
from signerd.adapters.logs import configure_logs
from signerd.adapters.pin import read_pin
from signerd.adapters.start_faults import from_system
from signerd.config import AnyTokenSettings, CheckpointKeySettings, TokenSettings
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.approval.verify import Installation
from signerd.core.approved_order import IssuerOfCa
from signerd.core.names import FIRST
from signerd.core.profile import Issuer
from signerd.errors import ConfigError, Unavailable

_log = structlog.get_logger(__name__)


def run(config: KeyHolderConfig, base: Path, announce: Callable[[str], None]) -> None:
    """Runs until SIGTERM or SIGINT. `base` is the directory of the settings.

    Raises:
        ConfigError: something is wrong that will still be wrong at the next start.
        WrongPin: a token rejected its PIN.
        Fault: a token or the notes do not start, or cannot go on.
    """
    with closing(LineWriter(standard_error())) as lines:
        configure_logs(config.log.level, lines)
        asyncio.run(_serve(config, base, announce))


async def _serve(config: KeyHolderConfig, base: Path, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clients = uids(config.service.clients)
    if os.geteuid() in clients:
        _log.warning("client_is_own_user", detail="whoever has signerd then has this key holder's files too")
    installation = Installation(config.deployment, vkey_in(config.ledger.vkey).text())
    kept = Notes.open(config.service.notes)
    wanted = read_administrators(config)
    async with AsyncExitStack() as running:
        kept.start()
        running.push_async_callback(kept.close)
        await kept.do(lambda connection: _check(connection, config, installation, wanted))
        keys = await _start_keys(config, kept, base, running)
        holder = Holder(installation, kept, keys, clients, config.ledger.succession)
        listener = Listener(holder, config.service.socket)
        show_ends(config.service.socket, issuer_ends(config))
        try:
            await listener.start(bind(config.service.socket))
        except OSError as error:
            raise from_system(f"cannot listen on {config.service.socket}: {error.strerror}", error) from error
        running.push_async_callback(listener.stop)
        announce(f"the key holder {config.service.name} serves on {config.service.socket}")
        systemd.notify(systemd.READY)
        await _until_stopped(stop, [key.pool for key in keys.values()])
        systemd.notify(systemd.STOPPING)


def _check(
    connection: Connection,
    config: KeyHolderConfig,
    installation: Installation,
    wanted: AdministratorSet | None,
) -> None:
    """Refuses notes of another holder or log. Administrators of the settings count where nobody does yet, as
    in the ledger: afterwards their own approvals change them."""
    about = notes.read_about(connection)
    if about != About(config.service.name, installation.deployment, installation.log):
        raise ConfigError(
            f"{config.service.notes} are the notes of the key holder {about.holder} of {about.deployment},"
            f" log {about.log}: other ones than the settings name"
        )
    asked = noted_approvals.in_force(connection)
    if asked.asked and wanted is not None and not asked.same_as(wanted):
        _log.warning("administrators_differ", in_force="those of the notes")
    if wanted is not None and not asked.asked:
        # A crash before the commit leaves nobody asked, and nothing served.
        noted_approvals.set_administrators(connection, wanted)


async def _start_keys(
    config: KeyHolderConfig, kept: Notes, base: Path, running: AsyncExitStack
) -> dict[bytes, HeldKey]:
    """The processes of all issuers whose keys are here. The first has the installation's own keys too, and
    may be without a CA key. A further one may be missing while it is not active, its token in a safe."""
    first = config.all_issuers[0]
    issuer = load_issuer(config, first)
    how = settings_for(config)
    digest, key = await _start(config, first.name, issuer, FIRST, config.hsm, how, base, running)
    keys = {digest: key}
    for settings in config.issuers:
        if settings.hsm is None:
            continue
        issuer = load_issuer(config, settings)
        how = settings_of_issuer(config, issuer.certificate, settings.hsm)
        try:
            digest, key = await _start(
                config, settings.name, issuer, settings.ca, settings.hsm, how, base, running
            )
        except (WrongPin, ConfigError, Unavailable) as error:
            if await kept.do(partial(noted_approvals.active_of, ca=settings.ca)) == sha256_of(issuer):
                raise
            _log.warning("issuer_not_serving", issuer=settings.name, detail=str(error))
            continue
        keys[digest] = key
    for checkpoint_key in config.checkpoint_keys:
        keys.update(await _start_checkpoint_key(config, checkpoint_key, base, running))
    return keys


async def _start_checkpoint_key(
    config: KeyHolderConfig, settings: CheckpointKeySettings, base: Path, running: AsyncExitStack
) -> dict[bytes, HeldKey]:
    """One that came after the log's first. It may be missing: whether it is to sign, the ledger says, and
    signerd then does not publish."""
    verifier = vkey_in(settings.vkey)
    how = settings_of_checkpoint_key(config, settings, verifier)
    name = f"checkpoint key {verifier.key_id.hex()}"
    try:
        key = await _start_pool(name, how, settings, base, running, HeldKey)
    except (WrongPin, ConfigError, Unavailable) as error:
        _log.warning("checkpoint_key_not_serving", key_id=verifier.key_id.hex(), detail=str(error))
        return {}
    return {how.named: key}


def sha256_of(issuer: Issuer) -> bytes:
    """Of its certificate."""
    return hashlib.sha256(issuer.certificate.public_bytes(Encoding.DER)).digest()


async def _start(
    config: KeyHolderConfig,
    name: str,
    issuer: Issuer,
    ca: str,
    token: TokenSettings,
    how: KeyHolderSettings,
    base: Path,
    running: AsyncExitStack,
) -> tuple[bytes, HeldKey]:
    limits = Limits(timedelta(days=config.authority.max_validity_days), config.authority.allow_no_expiry)
    guard = Guard(Authority.from_certificate(issuer.certificate.public_bytes(Encoding.DER)), limits, None)
    made = partial(HeldKey, guard=guard, issuer=IssuerOfCa(issuer, ca))
    return how.named, await _start_pool(name, how, token, base, running, made)


async def _start_pool(
    name: str,
    how: KeyHolderSettings,
    token: AnyTokenSettings,
    base: Path,
    running: AsyncExitStack,
    made: Callable[[KeyHolderPool], HeldKey],
) -> HeldKey:
    held: list[HeldKey] = []
    count = token.key_holders if isinstance(token, TokenSettings) else 1
    pool = KeyHolderPool(how, count, on_change=lambda: _changed(name, held))
    held.append(made(pool))
    running.push_async_callback(pool.stop)
    pin = read_pin(token.pin, base)
    try:
        await pool.start(pin)
    finally:
        pin[:] = bytes(len(pin))
    return held[0]


def _changed(name: str, held: list[HeldKey]) -> None:
    for key in held:
        _log.info("key_holder", of=name, serving=key.pool.serving)
        key.changed()


async def _until_stopped(stop: asyncio.Event, pools: list[KeyHolderPool]) -> None:
    """Returns when told to stop; raises what cannot be mended while it runs."""
    stopped = asyncio.create_task(stop.wait())
    faults: list[asyncio.Task[WrongPin | SignatureDamaged]] = [
        asyncio.create_task(pool.wait_given_up()) for pool in pools
    ]
    done, pending = await asyncio.wait((stopped, *faults), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for fault in faults:
        if fault in done:
            raise fault.result()
