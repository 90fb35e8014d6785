"""The kept state (`core/state/kept.py`) in the database: one row, written by the writer and read by a start.

A start that cannot believe it reads the log whole, and says why: it is never needed.
"""

from __future__ import annotations

import asyncio
import hmac

import structlog
from sqlalchemy import Connection, case, func, insert, select, update

from signerd.adapters.commit_keys import CommitKeys, StartKey
from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.schema import kept_states
from signerd.core.internal_key import START_BYTES
from signerd.core.note import Checkpoint
from signerd.core.state.kept import KeptState, KeptStateError, mac

EVERY = 100_000  # entries from one kept state to the next: what a start reads, in a second
_MAX_BYTES = 2**29  # seven million revocations; somebody else may have written the row

_log = structlog.get_logger(__name__)


def keep(connection: Connection, kept: KeptState, key: StartKey) -> None:
    """In place of the one before, in the transaction of a commit. A crash before that leaves the one before,
    and after it this one, which is of use once a checkpoint covers its entries."""
    data = kept.encode()
    row = {"start": key.start, "mac": mac(key.key, key.start, data), "state": data}
    if connection.execute(update(kept_states).where(kept_states.c.id == 1).values(row)).rowcount != 1:
        connection.execute(insert(kept_states), {"id": 1, **row})


async def believed(
    url: str, published: Checkpoint, keys: CommitKeys, *, origin: str, version: str
) -> KeptState | None:
    """The one in the database, if this signerd may go on from it.

    Raises:
        ConfigError: the database cannot be read.
        Fault: the key holder does not answer.
    """
    row = await asyncio.to_thread(_row, url)
    if row is None:
        return None
    try:
        kept = await _proven(row, keys, version)
        kept.demand_covered(origin, published.size)
    except KeptStateError as error:
        say_not_used(str(error))
        return None
    return kept


def say_not_used(why: str) -> None:
    """To the log: the start takes longer."""
    _log.warning("kept_state_not_used", why=why, detail="the ledger is read whole")


async def _proven(row: tuple[object, object, object], keys: CommitKeys, version: str) -> KeptState:
    match row:
        case (bytes(start), bytes(proof), bytes(data)) if len(start) == START_BYTES:
            made = [mac(key, start, data) for key in await keys.of(start)]
            if any(hmac.compare_digest(each, proof) for each in made):
                return KeptState.read(data, version)
    raise KeptStateError("its MAC does not hold")


def _row(url: str) -> tuple[object, object, object] | None:
    state = kept_states.c.state
    bounded = case((func.length(state) <= _MAX_BYTES, state))
    asked = select(kept_states.c.start, kept_states.c.mac, bounded.label("state"))
    with reading_database(url, "cannot read the kept state") as connection:
        row = connection.execute(asked).one_or_none()
    return None if row is None else (row.start, row.mac, row.state)
