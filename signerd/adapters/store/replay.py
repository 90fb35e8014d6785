"""Reads the log at the start: the state that follows from it, and what no checkpoint covers yet.

Guarantees that what is read is the log: the entries' bytes, and not the hashes beside them, have to give the
root that was signed, and the head.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.store.database import make_engine, start_fault
from signerd.adapters.store.reading_progress import say_read
from signerd.adapters.store.schema import KEYS_COMMITTED, commits, counters, entries, head
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.commits import CommitError, KeptCommit, Uncovered, oldest_needed
from signerd.core.entry import Issued, Revoked, Stamped
from signerd.core.merkle import Frontier, Tree, leaf_hash
from signerd.core.note import Checkpoint
from signerd.core.state.administration import State
from signerd.core.state.boards import Boards
from signerd.core.state.kinds import mentioned
from signerd.core.state.values import StateError
from signerd.core.succession import origin_of
from signerd.errors import ConfigError, NotNow

_BATCH = 1_000  # rows at once
_ISSUED, _STAMPED = [Issued.type.encode()], [Stamped.type.encode()]  # nearly all entries: not parsed
_REMEDY = 'see docs/operations.md, "Entries that signerd did not write"'
_DAMAGED = 'see docs/operations.md, "The tables are not what the ledger says"'


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the log says."""

    state: State
    boards: Boards
    size: int
    root: bytes
    uncovered: Uncovered


def replay(url: str, published: Checkpoint) -> Replayed:
    """Reads it whole.

    Raises:
        ConfigError: it is not what was published, its entries contradict each other, or the rows of `commits`
            are damaged.
    """
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            return _replay(connection, published)
    except SQLAlchemyError as error:
        raise start_fault("cannot read the ledger", error) from error
    finally:
        engine.dispose()


def _replay(connection: Connection, published: Checkpoint) -> Replayed:
    kept = _kept(connection, published.size)
    oldest = oldest_needed(published.size, kept)
    state, boards, frontier = State(), Boards(), Frontier()
    before: list[bytes] = []
    leaves: list[bytes] = []
    epochs: list[int] = []
    total = connection.execute(select(head.c.size)).scalar_one()
    asked = select(entries.c.entry_index, entries.c.data).order_by(entries.c.entry_index)
    with connection.execution_options(yield_per=_BATCH).execute(asked) as rows:
        for index, (entry_index, data) in enumerate(rows):
            if entry_index != index or not isinstance(data, bytes):
                raise ConfigError(f"the ledger has no entry {index}: the database is damaged; {_DAMAGED}")
            if index == published.size:
                _demand_root(frontier, published)
            state = _after(state, boards, index, data)
            leaf = leaf_hash(data)
            frontier.append(leaf)
            if index >= published.size:
                leaves.append(leaf)
                epochs.append(state.epoch)
            elif index >= oldest:
                before.append(leaf)
            say_read("ledger_replayed", index + 1, total)
    if frontier.size == published.size:
        _demand_root(frontier, published)
    _demand_head(connection, frontier, state)
    _demand_keys_committed(connection, state)
    uncovered = _uncovered(state, published.size, before, leaves, epochs, kept)
    return Replayed(state, boards, frontier.size, frontier.root(), uncovered)


def _uncovered(
    state: State,
    size: int,
    before: list[bytes],
    leaves: list[bytes],
    epochs: list[int],
    kept: Sequence[KeptCommit],
) -> Uncovered:
    keys = state.log_keys
    if keys is None:
        raise ConfigError(f"the ledger has no entry 0: the database is damaged; {_DAMAGED}")
    successors = [(each.index, origin_of(keys.origin, each.number)) for each in keys.successions]
    return Uncovered(keys.origin, size, before, leaves, epochs, kept, successors)


def _after(state: State, boards: Boards, index: int, data: bytes) -> State:
    try:
        kinds = mentioned(data)
        if kinds == _ISSUED:
            boards.issued(data)
        elif kinds != _STAMPED:
            state = _parsed(state, boards, index, data)
    except (StateError, ValueError) as error:
        raise ConfigError(f"ledger entry {index}: {error}; {_DAMAGED}") from error
    return state


def _parsed(state: State, boards: Boards, index: int, data: bytes) -> State:
    members = json.loads(data)
    if members.get("type") == Issued.type:
        boards.issued(data)
    elif members.get("type") == Revoked.type:
        boards.revoked(members)
    return state.after(index, members)


def _demand_root(frontier: Frontier, published: Checkpoint) -> None:
    if published.size and frontier.root() != published.root:
        raise ConfigError(
            "an entry in the database is not the one that was published: its bytes do not give the root that"
            f" was signed at size {published.size}; {_DAMAGED}"
        )


def _demand_head(connection: Connection, frontier: Frontier, state: State) -> None:
    row = connection.execute(select(head.c.size, head.c.root, head.c.epoch)).one()
    if (row.size, row.root) != (frontier.size, frontier.root()):
        raise ConfigError(f"the ledger's entries do not give the head in the database; {_DAMAGED}")
    if row.epoch != state.epoch:
        raise ConfigError(
            f"the head in the database says epoch {row.epoch} of the administration, and the ledger"
            f" {state.epoch}; {_DAMAGED}"
        )


def _demand_keys_committed(connection: Connection, state: State) -> None:
    """The counter names the last such entry, unless that is entry 1."""
    row = connection.execute(select(counters.c.value).where(counters.c.name == KEYS_COMMITTED)).one_or_none()
    said = state.keys_committed
    if said is None or row is None:
        right = row is None and (said is None or said.index == 1)
    else:
        right = row.value == said.index
    if not right:
        raise ConfigError(f"the counter {KEYS_COMMITTED} is not what the ledger says; {_DAMAGED}")


def _kept(connection: Connection, size: int) -> Sequence[KeptCommit]:
    asked = (
        select(commits.c.start, commits.c.epoch, commits.c.published, commits.c.leaves, commits.c.mac)
        .where(commits.c.size_after > size)
        .order_by(commits.c.size_after)
    )
    try:
        return [KeptCommit.read(*row) for row in connection.execute(asked)]
    except CommitError as error:
        raise ConfigError(f"{error}: the database is damaged; {_REMEDY}") from error


async def demand_committed(replayed: Replayed, keys: CommitKeys) -> None:
    """Before anything is signed over them: entries beyond the last checkpoint are signerd's own.

    Raises:
        ConfigError: one is not. Nothing was signed, nothing was changed.
        Fault: the key holder does not answer.
    """
    uncovered = _without_first_entries(replayed)
    starts = {each.commit.start for each in uncovered.kept}
    try:
        uncovered.demand({start: await keys.of(start) for start in starts})
    except CommitError as error:
        raise ConfigError(
            f"the ledger has {replayed.size} entries, the last checkpoint covers {replayed.uncovered.size},"
            f" and those beyond it are not what signerd committed: {error}; {_REMEDY}"
        ) from error


async def replay_believed(
    url: str, published: Checkpoint, tree: Tree, log_keys: LogKeys, keys: CommitKeys
) -> Replayed:
    """What the log says, once all of it is known to be signerd's. Nothing is signed before. Raises as
    `replay` and `demand_committed`."""
    replayed = await asyncio.to_thread(replay, url, published)
    demand_same_tree(replayed, tree)
    demand_same_keys(replayed.state, log_keys)
    await demand_committed(replayed, keys)
    return replayed


def _without_first_entries(replayed: Replayed) -> Uncovered:
    """What `signerd init` wrote, before any key holder served, counts without a MAC until the first
    checkpoint: the log's opening, and where the keys are."""
    given = replayed.uncovered
    if given.size:
        return given
    said = replayed.state.keys_committed
    count = 2 if said is not None and said.index == 1 else 1
    return Uncovered(
        given.origin,
        count,
        given.leaves[:count],
        given.leaves[count:],
        given.epochs[count:],
        given.kept,
        given.successors,
    )


def demand_same_tree(replayed: Replayed, tree: Tree) -> None:
    """Both were read from one log. Raises NotNow."""
    if (replayed.size, replayed.root) != (tree.size, tree.root()):
        raise NotNow("the ledger in the database changes while it is read: another signerd?")


def demand_same_keys(state: State, kept: LogKeys) -> None:
    """The log's keys in the table are those of the log. Raises ConfigError."""
    if state.log_keys != kept:
        raise ConfigError(f"the table checkpoint_keys is not what the ledger says; {_DAMAGED}")
