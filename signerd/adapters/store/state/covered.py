"""What the log says, for a command that runs beside signerd or without it: its state, where its keys are.

Guarantees that nothing of it is from a table: it follows from the entries that the checkpoint in the second
place covers, and from their bytes. What was committed after it is not there yet. Of a log that no checkpoint
covers the entries of `signerd init` count, as at the first start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from signerd.adapters.head_file import read_second_place
from signerd.adapters.store.log.checkpoint_keys import known_log_keys
from signerd.adapters.store.tables.database import check_database, reading_database
from signerd.adapters.store.tables.schema import entries
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.entry import CheckpointKeyAdded
from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.note import Checkpoint, VerifierKey
from signerd.core.state.administration import State, may_change
from signerd.core.state.kinds import mentioned
from signerd.core.state.values import KeysAt, StateError
from signerd.errors import ConfigError

_OF_INIT = 2  # entries that `signerd init` may write: the opening, and where the keys are
_BATCH = 1_000  # rows at once
_DAMAGED = 'see docs/operations.md, "The tables are not what the ledger says"'


@dataclass(frozen=True, slots=True)
class SealedSuccessor:
    """A key of the log after the first whose seed is sealed, and the token keys that open it."""

    vkey: str
    retired: bool
    recipients: tuple[bytes, ...]  # of `checkpoint_key_added`, or of a later `keys_committed`


@dataclass(frozen=True, slots=True)
class CommittedKeys:
    """What the log says of its keys' places."""

    last: KeysAt | None  # the last `keys_committed`
    successors: tuple[SealedSuccessor, ...]  # the oldest first


def committed_keys(url: str, head_file: Path, first: VerifierKey) -> CommittedKeys:
    """Reads the log up to its last signed checkpoint; some seconds where it has millions of entries.

    Raises:
        ConfigError: there is no database of this program's schema, it or the second place cannot be read, or
            its entries are not those that were signed.
    """
    state, named = _covered(url, head_file, first)
    log_keys = state.log_keys
    if log_keys is None:
        raise ConfigError(f"the ledger has no entry 0; {_DAMAGED}")
    return CommittedKeys(state.keys_committed, tuple(_successors(log_keys, state.keys_committed, named)))


def covered_state(url: str, head_file: Path, first: VerifierKey) -> State:
    """The state of the administration, as of the last signed checkpoint. Takes and raises as
    `committed_keys`."""
    return _covered(url, head_file, first)[0]


def _covered(url: str, head_file: Path, first: VerifierKey) -> tuple[State, dict[int, tuple[bytes, ...]]]:
    check_database(url)
    kept: list[LogKeys] = []

    def keys() -> LogKeys:
        kept.append(known_log_keys(url, first))
        return kept[0]

    published = read_second_place(head_file, keys)
    with reading_database(url, "cannot read the ledger") as connection:
        state, named = _read(connection, published)
    log_keys = state.log_keys
    if log_keys is None or (
        published.size and log_keys.signers(published.size) != kept[0].signers(published.size)
    ):
        raise ConfigError(f"the table checkpoint_keys is not what the ledger says; {_DAMAGED}")
    return state, named


def _read(connection: Connection, published: Checkpoint) -> tuple[State, dict[int, tuple[bytes, ...]]]:
    """The state, and whom each key that was added is sealed to, by the index of its entry."""
    state, frontier, named = State(), Frontier(), dict[int, tuple[bytes, ...]]()
    for index, data in _entries(connection, published.size or _OF_INIT):
        frontier.append(leaf_hash(data))
        try:
            if not may_change(mentioned(data)):
                continue
            members = json.loads(data)
            state = state.after(index, members)
            if members["type"] == CheckpointKeyAdded.type:
                named[index] = tuple(bytes.fromhex(each) for each in members["recipients"])
        except (StateError, ValueError) as error:
            raise ConfigError(f"ledger entry {index}: {error}; {_DAMAGED}") from error
    if published.size and (frontier.size, frontier.root()) != (published.size, published.root):
        raise ConfigError(
            "the entries in the database are not those that were published: their bytes do not give the root"
            f" that was signed at size {published.size}; {_DAMAGED}"
        )
    return state, named


def _entries(connection: Connection, count: int) -> Iterator[tuple[int, bytes]]:
    """The first so many, or fewer where one is missing."""
    index = entries.c.entry_index
    asked = select(index, entries.c.data).where(index < count).order_by(index)
    rows = connection.execution_options(yield_per=_BATCH).execute(asked)
    for expected, (found, data) in enumerate(rows):
        if found != expected or not isinstance(data, bytes):
            return
        yield found, data


def _successors(
    keys: LogKeys, last: KeysAt | None, named: dict[int, tuple[bytes, ...]]
) -> Iterator[SealedSuccessor]:
    for key in keys.keys[1:]:
        if recipients := named[key.added]:
            newer = last is not None and last.index > key.added
            opened_by = last.recipients if newer and last is not None else recipients
            yield SealedSuccessor(key.verifier.text(), key.retired is not None, opened_by)
