"""Reads the log at the start: the state that follows from it, and what no checkpoint covers yet.

Guarantees that what is read is the log: the entries' bytes, and not the hashes beside them, have to give the
root that was signed, and the head. Where there is a kept state (`kept_states.py`), it stands for the entries
before it, and of these the ones of administrators are read, held against its digest. The others are compared
when they are used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.store.log.reading_progress import say_read
from signerd.adapters.store.state.kept_states import believed, say_not_used
from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.schema import KEYS_COMMITTED, commits, counters, entries, head
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.commits import CommitError, KeptCommit, Uncovered, oldest_needed
from signerd.core.entry import Issued, Revoked, Stamped
from signerd.core.merkle import Frontier, Tree, leaf_hash
from signerd.core.note import Checkpoint
from signerd.core.state.administration import State
from signerd.core.state.boards import Boards
from signerd.core.state.kept import Changes, KeptState
from signerd.core.state.kinds import mentioned
from signerd.core.state.values import StateError
from signerd.core.succession import origin_of
from signerd.errors import ConfigError, Fault, NotNow
from signerd.program import program_version

_INDEX = entries.c.entry_index
_BATCH = 1_000  # rows at once
_NAMED = 500  # rows that are asked for by their indices at once
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
    changes: Changes
    kept: int  # size of the kept state that it went on from; 0: it was read whole


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    state: State
    boards: Boards
    changes: Changes
    frontier: Frontier
    before: list[bytes]  # leaf hashes of the last ones that a checkpoint covers (`commits.oldest_needed`)

    def take(self, index: int, data: bytes) -> bytes:
        """The next entry; its leaf hash. Raises StateError, ValueError."""
        epoch, leaf = self.state.epoch, leaf_hash(data)
        kinds = mentioned(data)
        if kinds == _ISSUED:
            self.boards.issued(data)
        elif kinds != _STAMPED:
            self._parsed(index, data)
        if self.state.epoch != epoch:
            self.changes.add(index, leaf)
        self.frontier.append(leaf)
        return leaf

    def _parsed(self, index: int, data: bytes) -> None:
        members = json.loads(data)
        if members.get("type") == Issued.type:
            self.boards.issued(data)
        elif members.get("type") == Revoked.type:
            self.boards.revoked(members)
        self.state = self.state.after(index, members)


def replay(
    url: str, published: Checkpoint, kept: KeptState | None = None, tree: Tree | None = None
) -> Replayed:
    """Reads it: from `kept` on, whose MAC holds, or whole. `tree` is the log's, and goes with `kept`.

    Raises:
        ConfigError: it is not what was published, its entries contradict each other, or the rows of `commits`
            are damaged.
    """
    with reading_database(url, "cannot read the ledger") as connection:
        commits_beyond = _kept(connection, published.size)
        oldest = oldest_needed(published.size, commits_beyond)
        begun = None if kept is None or tree is None else _begun(connection, kept, tree, oldest)
        reading = begun or _Reading(State(), Boards(), Changes(), Frontier(), [])
        return _replay(connection, published, reading, oldest, commits_beyond)


def _begun(connection: Connection, kept: KeptState, tree: Tree, oldest: int) -> _Reading | None:
    """As the kept state has it; None where it is of another tree, or the entries that it names are not those
    that it was made from."""
    frontier = kept.frontier()
    try:
        same = tree.root(kept.size) == frontier.root()
        before = [tree.leaf(index) for index in range(oldest, kept.size)]
    except Fault as error:
        say_not_used(error.detail)
        return None
    if not same:
        say_not_used("it is of another tree")
        return None
    state, changes = State(), Changes()
    for start in range(0, len(kept.indices), _NAMED):
        named = list(kept.indices[start : start + _NAMED])
        asked = select(_INDEX, entries.c.data).where(_INDEX.in_(named)).order_by(_INDEX)
        for index, data in connection.execute(asked):
            if not isinstance(data, bytes):
                break
            try:
                state = state.after(index, json.loads(data))
            except (StateError, ValueError):
                break
            changes.add(index, leaf_hash(data))
    if (changes.indices, changes.digest()) != (kept.indices, kept.digest):
        say_not_used("the entries that it names are others in the database")
        return None
    return _Reading(state, kept.boards(), changes, frontier, before)


def _replay(
    connection: Connection,
    published: Checkpoint,
    reading: _Reading,
    oldest: int,
    kept: Sequence[KeptCommit],
) -> Replayed:
    first = reading.frontier.size
    leaves: list[bytes] = []
    epochs: list[int] = []
    total = connection.execute(select(head.c.size)).scalar_one()
    asked = select(_INDEX, entries.c.data).where(first <= _INDEX).order_by(_INDEX)
    with connection.execution_options(yield_per=_BATCH).execute(asked) as rows:
        for index, (entry_index, data) in enumerate(rows, first):
            if entry_index != index or not isinstance(data, bytes):
                raise ConfigError(f"the ledger has no entry {index}: the database is damaged; {_DAMAGED}")
            if index == published.size:
                _demand_root(reading.frontier, published)
            try:
                leaf = reading.take(index, data)
            except (StateError, ValueError) as error:
                raise ConfigError(f"ledger entry {index}: {error}; {_DAMAGED}") from error
            if index >= published.size:
                leaves.append(leaf)
                epochs.append(reading.state.epoch)
            elif index >= oldest:
                reading.before.append(leaf)
            say_read("ledger_replayed", index + 1, total)
    state, frontier = reading.state, reading.frontier
    if frontier.size == published.size:
        _demand_root(frontier, published)
    _demand_head(connection, frontier, state)
    _demand_keys_committed(connection, state)
    uncovered = _uncovered(state, published.size, reading.before, leaves, epochs, kept)
    return Replayed(state, reading.boards, frontier.size, frontier.root(), uncovered, reading.changes, first)


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
    kept = await believed(url, published, keys, origin=log_keys.origin, version=program_version())
    replayed = await asyncio.to_thread(replay, url, published, kept, tree)
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
