"""The `log_succeeded` entry, in a database that no signerd has open (`core/succession.py`).

What is left is looked at as at a start: the log is read whole, and each entry has to be under a checkpoint
that the log's key signed, or under a MAC of its commit. An entry that signerd did not write goes on in no
successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.commit_keys import CommitKeys, StartKey
from signerd.adapters.store.boards.intents import IntentKeys
from signerd.adapters.store.log.log_start import ReadLedger, compare_database
from signerd.adapters.store.log.moments import newest_moment
from signerd.adapters.store.registry.approving import append_approved
from signerd.adapters.store.state.replay import Replayed, demand_committed, demand_same_keys, replay
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.database import check_database, make_engine, reading_database, start_fault
from signerd.adapters.store.tables.schema import checkpoint_keys, commits, entries, head
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.commits import Commit
from signerd.core.entry import LogSucceeded
from signerd.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from signerd.core.note import Checkpoint
from signerd.core.succession import Known, Left
from signerd.errors import ConfigError

_INDEX = entries.c.entry_index


@dataclass(frozen=True, slots=True)
class LeftLedger:
    """What a database holds, once it is known to be signerd's."""

    url: str
    ledger: ReadLedger
    replayed: Replayed
    keys: LogKeys

    @property
    def left(self) -> Left:
        """For the statement."""
        return Left(self.ledger.size, self.ledger.root, self.keys.successions)

    @property
    def ends_with_succession(self) -> bool:
        """Whether its last entry is `log_succeeded`: a command that was cut short goes on."""
        said = self.keys.successions
        return bool(said) and said[-1].index == self.ledger.size - 1


async def read_left(url: str, keys: LogKeys, known: Sequence[Known], commit_keys: CommitKeys) -> LeftLedger:
    """Reads it.

    Raises:
        ConfigError: it is damaged, or has entries that signerd did not commit.
        Fault: a key holder does not answer.
    """
    check_database(url)
    ledger = await asyncio.to_thread(compare_database, url, Checkpoint(keys.origin, 0, EMPTY_ROOT))
    published = await asyncio.to_thread(_held, ledger, keys, known)
    replayed = await asyncio.to_thread(replay, url, published)
    demand_same_keys(replayed.state, keys)
    await demand_committed(replayed, commit_keys)
    return LeftLedger(url, ledger, replayed, keys)


def _held(ledger: ReadLedger, keys: LogKeys, known: Sequence[Known]) -> Checkpoint:
    """The largest checkpoint that the database continues: entries below it need no MAC, as those of a log
    that is older than MACs."""
    for each in sorted(known, key=lambda one: one.size, reverse=True):
        if each.size <= ledger.size and ledger.root(each.size) == each.root:
            return Checkpoint(keys.origin_at(each.size), each.size, each.root)
    return Checkpoint(keys.origin, 0, EMPTY_ROOT)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A log whose last entry is `log_succeeded`."""

    entry: bytes
    size: int
    root: bytes
    inclusion: list[bytes]  # the proof of the entry


def enter_succession(
    found: LeftLedger, entry: LogSucceeded, approval: Approval, intents: IntentKeys, key: StartKey
) -> None:
    """Enters it, with its approval.

    One transaction: a crash before its commit leaves the database as it was. After it, the log ends with an
    entry that no checkpoint covers, and signerd does not start beside the second place of before: the command
    goes on where it was cut short.

    Raises:
        Refused: an approval is needed, or does not hold.
        WouldAppend: it is only prepared.
        ConfigError: the database cannot be written, or changed meanwhile.
    """
    engine = make_engine(found.url, "write")
    try:
        newest = newest_moment(found.url)
        with engine.begin() as connection:
            state, boards = found.replayed.state, found.replayed.boards
            states = States(state, boards, intents, lambda index: _entry(connection, index))
            tx = Transaction(connection, found.ledger.size, found.keys, states, newest)
            index = append_approved(tx, entry, approval)
            row = {"vkey": entry.vkey, "added_index": index}
            connection.execute(insert(checkpoint_keys), row)
            _append(connection, found, tx, key)
    except SQLAlchemyError as error:
        raise start_fault("cannot enter the succession", error) from error
    finally:
        engine.dispose()


def _entry(connection: Connection, index: int) -> bytes:
    data: bytes = connection.execute(select(entries.c.data).where(_INDEX.in_([index]))).scalar_one()
    return data


def _append(connection: Connection, found: LeftLedger, tx: Transaction, key: StartKey) -> None:
    size, frontier = found.ledger.size, _frontier(connection, found.ledger.size)
    leaves = [leaf_hash(data) for data in tx.pending]
    rows = [
        {"entry_index": index, "leaf_hash": leaf, "data": data}
        for index, (leaf, data) in enumerate(zip(leaves, tx.pending, strict=True), size)
    ]
    connection.execute(insert(entries), rows)
    for leaf in leaves:
        frontier.append(leaf)
    commit = Commit(key.start, tx.state.epoch, size, b"".join(leaves))
    mac = commit.mac(key.key, found.keys.origin_at(frontier.size))
    connection.execute(
        insert(commits),
        {
            "size_after": frontier.size,
            "start": commit.start,
            "epoch": commit.epoch,
            "published": commit.published,
            "leaves": commit.leaves,
            "mac": mac,
        },
    )
    before = (head.c.id == 1, head.c.size == size, head.c.root == found.ledger.head.root)
    after = {"size": frontier.size, "root": frontier.root(), "epoch": tx.state.epoch}
    if connection.execute(update(head).where(*before).values(after)).rowcount != 1:
        raise ConfigError("the database changed while it was read: another signerd?")


def read_succeeded(url: str) -> Succeeded:
    """Of a database whose last entry is `log_succeeded`. Raises ConfigError."""
    with reading_database(url, "cannot read the succession") as connection:
        size = connection.execute(select(head.c.size)).scalar_one()
        data = connection.execute(select(entries.c.data).where(size - 1 == _INDEX)).scalar_one()
        frontier = _frontier(connection, size - 1)
    inclusion = frontier.next_inclusion()
    frontier.append(leaf_hash(data))
    return Succeeded(data, size, frontier.root(), inclusion)


def _frontier(connection: Connection, size: int) -> Frontier:
    asked = select(entries.c.data).where(size > _INDEX).order_by(_INDEX)
    frontier = Frontier()
    for data in connection.execution_options(yield_per=1_000).execute(asked).scalars():
        frontier.append(leaf_hash(data))
    return frontier


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """A work order that goes on, and how many of its places the log knows."""

    work_order: str
    quantity: int
    taken: int


def open_orders(found: LeftLedger) -> list[OpenOrder]:
    """Whose places and serial numbers may be taken by boards of which the log knows nothing any more."""
    taken = found.replayed.boards.highest
    return [
        OpenOrder(each.work_order, each.quantity, taken.get(each.work_order, 0))
        for each in found.replayed.state.orders.values()
        if each.closed is None
    ]
