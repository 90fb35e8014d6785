"""`signerd ledger succeed` on an installation that is stopped: its key holders, its operations CA, its
approval."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from signerd.adapters.checkpoint_key_holders import CheckpointKeyHolders, vkey_in
from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_for
from signerd.adapters.log_succession import Done, Signers, Where, succeed
from signerd.adapters.operations_ca import CERTIFICATES, OperationsCa, load_ca
from signerd.adapters.pin import pin_of
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store import known_log_keys
from signerd.adapters.store.registry.approving import WouldAppend
from signerd.config import Config, database_url, tiles_folder
from signerd.core.approval.actions import Approval, Preparing
from signerd.core.approval.statement import REQUEST_BYTES, Statement
from signerd.errors import Code, ConfigError, Refused


@dataclass(frozen=True, slots=True)
class ToSign:
    """What administrators are to sign first."""

    text: bytes
    threshold: int
    administrators: tuple[str, ...]


async def succeed_log(
    config: Config, base: Path, given: Sequence[bytes], *, by: str | None, approval: Approval, valid_days: int
) -> Done | ToSign:
    """Makes the successor, or where administrators are asked and none has approved, what they are to sign.

    Raises:
        ConfigError, Refused, NotNow, Fault: as `log_succession.succeed`.
        WrongPin: a token rejected its PIN.
    """
    first, ca = vkey_in(config.ledger.vkey), load_ca(base)
    named = (first, *(vkey_in(each.vkey) for each in config.checkpoint_keys))
    where = Where(database_url(config, base), config.ledger.head, tiles_folder(config, base), first, named)
    async with AsyncExitStack() as running:
        signers = await _signers(config, base, where, ca, running)
        now = datetime.now(UTC)
        try:
            return await succeed(where, signers, given, by=by, approval=approval, now=now)
        except Refused as error:
            if error.code is not Code.APPROVAL_REQUIRED or approval is not None:
                raise
        try:
            await succeed(where, signers, given, by=by, approval=Preparing(), now=now)
        except WouldAppend as would:
            return _to_sign(would, now + timedelta(days=valid_days))
    raise Refused(Code.INVALID, "no approval is asked for here any more: give the command again")


async def _signers(
    config: Config, base: Path, where: Where, ca: OperationsCa, running: AsyncExitStack
) -> Signers:
    pool = KeyHolderPool(settings_for(config), 1, on_change=_nothing)
    running.push_async_callback(pool.stop)
    pin = pin_of(config.hsm, base)
    try:
        await pool.start(pin)
    finally:
        pin[:] = bytes(len(pin))
    holders = CheckpointKeyHolders(config, pool)
    running.push_async_callback(holders.stop)
    await holders.start(base, known_log_keys(where.url, where.first), _nothing)
    commit_keys = CommitKeys(pool.commit_key, *holders.commit_keys)
    return Signers(holders.signs, commit_keys, ca, _trusted(base))


def _nothing() -> None:
    """Nobody is served here."""


def _trusted(base: Path) -> tuple[x509.Certificate, ...]:
    path = base / CERTIFICATES
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not of its form: {error}") from error


def _to_sign(would: WouldAppend, expires: datetime) -> ToSign:
    statement = Statement(
        deployment=would.installation.deployment,
        log=would.installation.log,
        action=would.action,
        request=secrets.token_bytes(REQUEST_BYTES),
        expires=expires.replace(microsecond=0),
        entries=(would.members,),
        inputs=(would.given,),
    )
    return ToSign(statement.text(), would.asked.threshold, would.asked.names)
