"""The log's keys in the database: which there are, and the steps that they take.

Each step is an entry and a row, in one transaction: a crash leaves both or neither. A row is an index of the
log, and no more: what the entries at its indexes do not say is damage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, inspect, select, update

from signerd.adapters.store.registry.approving import append_approved
from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.schema import checkpoint_keys, entries
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval
from signerd.core.checkpoint_keys import LogKey, LogKeys, Reason, StepRefusedError
from signerd.core.entry import CheckpointKeyActivated, CheckpointKeyAdded, CheckpointKeyRetired, LogSucceeded
from signerd.core.merkle import leaf_hash
from signerd.core.note import NoteError, VerifierKey, parse_vkey
from signerd.core.succession import Succession, SuccessionError, number_of, read_succession
from signerd.errors import Code, ConfigError, Refused

_k = checkpoint_keys.c


def read_log_keys(connection: Connection, first: VerifierKey) -> LogKeys:
    """All of them. Of a database of a schema without such a table: the first one alone.

    Raises:
        ConfigError: a row says what its entries do not.
    """
    if not inspect(connection).has_table(checkpoint_keys.name):
        return LogKeys.first(first)
    keys, successions = LogKeys.first(first).keys, []
    for row in connection.execute(select(checkpoint_keys).order_by(_k.added_index)):
        if number_of(row.vkey.partition("+")[0], first.name) not in (None, 1):  # the key of a successor
            said = _demand_entry(connection, LogSucceeded.type, row.vkey, row.added_index)
            successions.append(_succession(row.added_index, said))
            continue
        for kind, index in (
            (CheckpointKeyAdded.type, row.added_index),
            (CheckpointKeyActivated.type, row.activated_index),
            (CheckpointKeyRetired.type, row.retired_index),
        ):
            _demand_entry(connection, kind, row.vkey, index)
        if row.vkey == first.text():
            keys = (LogKey(first, 0, 0, row.retired_index), *keys[1:])
            continue
        try:
            verifier = parse_vkey(row.vkey)
        except NoteError as error:
            raise ConfigError(f"a key of the log in the database is none: {error}") from error
        keys = (*keys, LogKey(verifier, row.added_index, row.activated_index, row.retired_index))
    return LogKeys(keys, tuple(successions))


def _succession(index: int | None, said: Mapping[str, Any]) -> Succession:
    try:
        return read_succession(0 if index is None else index, said)
    except SuccessionError as error:
        raise ConfigError(f"the database is damaged: ledger entry {index}: {error}") from error


def known_log_keys(url: str, first: VerifierKey) -> LogKeys:
    """The same, of a database that no signerd has open, or that one has. Raises ConfigError."""
    with reading_database(url, "cannot read the log's keys") as connection:
        return read_log_keys(connection, first)


def _demand_entry(connection: Connection, kind: str, vkey: str, index: int | None) -> Mapping[str, Any]:
    if index is None:
        return {}
    asked = select(entries.c.data, entries.c.leaf_hash).where(entries.c.entry_index == index)
    row = connection.execute(asked).one_or_none()
    said: dict[str, Any] = {}
    if row is not None and leaf_hash(row.data) == row.leaf_hash:
        said = json.loads(row.data)
    if (said.get("type"), said.get("vkey")) != (kind, vkey):
        raise ConfigError(f"the database is damaged: ledger entry {index} is no {kind} of {vkey}")
    return said


def add_key(tx: Transaction, entry: CheckpointKeyAdded, approval: Approval) -> int:
    """`Administration.add_checkpoint_key`."""
    try:
        verifier = parse_vkey(entry.vkey)
        changed = tx.log_keys.added(verifier, tx.next_index)
    except NoteError as error:
        raise Refused(Code.INVALID, str(error)) from error
    except StepRefusedError as error:
        raise Refused(Code.INVALID, str(error)) from error
    index = append_approved(tx, entry, approval)
    tx.connection.execute(insert(checkpoint_keys), {"vkey": entry.vkey, "added_index": index})
    # An approval is an entry before it.
    tx.log_keys = changed if index == changed.keys[-1].added else tx.log_keys.added(verifier, index)
    return index


def activate_key(tx: Transaction, key_id: str, proof: bytes, now: datetime, by: str | None) -> int:
    """`Administration.activate_checkpoint_key`."""
    try:
        changed = tx.log_keys.activated(key_id, tx.next_index, proof)
    except StepRefusedError as error:
        raise Refused(Code.INVALID, str(error)) from error
    vkey = changed.named(key_id).verifier.text()
    entry = CheckpointKeyActivated(time=now, by=by, vkey=vkey, checkpoint=proof.decode())
    index = tx.append(entry)
    tx.connection.execute(update(checkpoint_keys).where(_k.vkey == vkey).values(activated_index=index))
    tx.log_keys = changed
    return index


def retire_key(
    tx: Transaction, key_id: str, reason: Reason, now: datetime, by: str | None, approval: Approval
) -> int:
    """`Administration.retire_checkpoint_key`."""
    try:
        vkey = tx.log_keys.retired(key_id, tx.next_index).named(key_id).verifier.text()
    except StepRefusedError as error:
        raise Refused(Code.INVALID, str(error)) from error
    entry = CheckpointKeyRetired(time=now, by=by, vkey=vkey, reason=reason.value)
    index = append_approved(tx, entry, approval)
    row = update(checkpoint_keys).where(_k.vkey == vkey).values(retired_index=index)
    if tx.connection.execute(row).rowcount == 0:  # the first one
        tx.connection.execute(insert(checkpoint_keys), {"vkey": vkey, "retired_index": index})
    tx.log_keys = tx.log_keys.retired(key_id, index)
    return index
