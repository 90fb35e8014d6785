"""Group commit: the one thread that writes, and the ledger's tree.

Guarantees that records and their ledger entries are committed together or not at all, that a unit of
work that fails undoes itself and no other, and that nobody gets an answer before the commit.

Times of entries never go back by more than `core.clock.BOUND`, but at an entry that says so: whatever a clock
does between a call's look at it and its entry, nothing is entered out of order.

The head row (size, root, epoch) moves by compare-and-swap in the same transaction as the entries: a second
writer, or a database that was exchanged underneath, fails here and nothing more is written. So does the MAC
over the entries (`core/commits.py`): the next start believes none without it that no checkpoint covers.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, bindparam, insert, update
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.commit_keys import StartKey
from signerd.adapters.store.log.ledger import Ledger
from signerd.adapters.store.log.opened_only import NOT_BEGUN
from signerd.adapters.store.state.kept_states import EVERY, keep
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.savepoint import attempt
from signerd.adapters.store.tables.schema import commits, entries, head
from signerd.adapters.store.tables.worker import Outcome, Unit, Worker
from signerd.core.approval.actions import ACTIONS
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.clock import BOUND
from signerd.core.commits import Commit
from signerd.core.entry import ID_BYTES, ClockAccepted, Entry, Issued, Revoked, encode
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.state.administration import changes
from signerd.core.state.boards import MAX_SERIAL, Boards, Revocation
from signerd.core.state.kept import KeptState
from signerd.core.state.values import StateError
from signerd.errors import ClockWrong, Fault, Unavailable
from signerd.program import program_version

_ADD_ENTRIES = insert(entries)
_ADD_COMMIT = Prepared(insert(commits), ("size_after", "start", "epoch", "published", "leaves", "mac"))
_MOVE_HEAD = Prepared(
    update(head)
    .where(
        head.c.id == 1,
        head.c.size == bindparam("old_size"),
        head.c.root == bindparam("old_root"),
        head.c.epoch == bindparam("old_epoch"),
    )
    .values(size=bindparam("new_size"), root=bindparam("new_root"), epoch=bindparam("new_epoch"))
)
_PROBE = update(head).where(head.c.id == 1).values(size=head.c.size)


class Transaction:
    """What a unit of work is given: the connection, and the ledger to append to."""

    __slots__ = (
        "_base", "_entry_of", "boards", "changed", "connection", "demanded", "intents", "lists", "log_keys",
        "newest", "noted", "pending", "proven", "registry_changed", "state",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        size: int,
        log_keys: LogKeys,
        states: States,
        newest: datetime | None = None,
        demanded: AdministratorSet | None = None,
    ) -> None:
        self.connection = connection
        self.boards = states.boards  # as of the last commit
        self.lists = states.lists
        self.intents = states.intents
        self._entry_of = states.entry_of
        self.noted: list[Issued | Revoked] = []  # for it, once this is committed
        self.changed: list[int] = []  # indices of those that changed the administration
        self.state = states.newest  # with what this transaction appended so far
        self.log_keys = log_keys  # replaced by what changes them
        self.demanded = demanded  # administrators of the settings, who are asked once an entry says so
        self.pending: list[bytes] = []
        self.registry_changed = False  # set by what adds or revokes a peer
        self._base = size
        self.newest = newest
        self.proven = False  # that the database can be written, by `prove`

    def append(self, entry: Entry, *, approved: bool = False) -> int:
        """Adds a ledger entry; its index. It is dropped if the unit of work fails.

        `approved` is for `approving.append_approved` alone, which asks whether an approval is needed: no
        other way leads to an action that may need one.

        Raises:
            ClockWrong: its time is too far before the newest entry's.
            Fault: it does not follow from the entries before it.
        """
        if entry.type in ACTIONS and not approved and not _follows_by_itself(entry):
            raise Fault(f"a {entry.type} entry that no approval was asked for")
        moment = entry.time.replace(microsecond=0)
        if self.newest is None or isinstance(entry, ClockAccepted):
            self.newest = moment
        elif self.newest - moment > BOUND:
            raise ClockWrong(f"an entry of {moment} would follow one of {self.newest}")
        else:
            self.newest = max(self.newest, moment)
        data, index = encode(entry, secrets.token_bytes(ID_BYTES)), self.next_index
        if changes(entry.type):
            try:
                self.state = self.state.after(index, json.loads(data))
            except StateError as error:
                raise Fault(f"the tables are not what the ledger says: {error}") from error
            self.changed.append(index)
        if isinstance(entry, Revoked) and len(entry.certificate_serial) > MAX_SERIAL:
            raise Fault(
                "a certificate with a serial number that no certificate has"
            )  # never after the commit
        if isinstance(entry, Issued | Revoked):
            self.noted.append(entry)
        self.pending.append(data)
        return index

    def prove(self) -> None:
        """Writes what stands there already: its commit succeeds where others would."""
        self.connection.execute(_PROBE)
        self.proven = True

    def entry_of(self, index: int) -> bytes:
        """An entry, also one that this transaction appended. Raises Fault: there is none as it was logged."""
        if self._base <= index < self.next_index:
            return self.pending[index - self._base]
        return self._entry_of(index)

    @property
    def next_index(self) -> int:
        """The index that the next `append` gives."""
        return self._base + len(self.pending)


def _follows_by_itself(entry: Entry) -> bool:
    """Whether it is the other half of something else: a newer certificate of the chip revoked this one."""
    return isinstance(entry, Revoked) and entry.superseded_by is not None


def _note(boards: Boards, entry: Issued | Revoked) -> None:
    if isinstance(entry, Issued):
        boards.took(entry.work_order, entry.number)
        return
    boards.revocations.add(
        Revocation(
            entry.certificate_sha256,
            int.from_bytes(entry.certificate_serial, "big"),
            entry.time.replace(microsecond=0),
            entry.reason,
        )
    )


@dataclass(slots=True)
class Written:
    """Counts since start, for metrics."""

    batches: int = 0
    units: int = 0
    entries: int = 0


class Writer(Worker[Transaction]):
    """The writing thread. `tree` belongs to it; others read it below the committed size alone."""

    def __init__(
        self,
        engine: Engine,
        tree: Tree,
        ledger: Ledger,
        newest: datetime | None,
        registry_changed: Callable[[], None],
        states: States,
        start_key: StartKey,
    ) -> None:
        """`newest` is the latest time in the ledger (`log/moments.py`). `registry_changed` is called on the
        event loop, before those who changed it get their answers. `start_key` makes the MACs of commits."""
        super().__init__("store-writer", engine)
        self._registry_changed = registry_changed
        self._registry_touched = False  # set here, cleared on the event loop
        self._tree = tree
        self._root = tree.root()
        self._ledger = ledger
        self.states = states
        self._start_key = start_key
        self.newest = newest
        self.demanded: AdministratorSet | None = None  # see `Transaction.demanded`
        self.kept = 0  # size of the kept state in the database; 0: there is none
        self._log_keys = ledger.keys
        self.broken: Fault | None = None  # set when writing has stopped for good
        self._told = False  # that it is broken
        self._committed: deque[tuple[int, list[bytes], LogKeys]] = (
            deque()
        )  # filled here, emptied on the event loop
        self.written = Written()

    def run_batch(self, connection: Connection, units: Sequence[Unit[Transaction]]) -> list[Outcome]:
        """One transaction for all units, a savepoint for each."""
        if self.broken is not None:
            # One for each caller: an exception that is raised again and again keeps every traceback.
            return [(None, Fault(self.broken.detail)) for _ in units]
        size = self._tree.size
        before = self.states.newest
        boards = self.states.boards
        transaction = Transaction(connection, size, self._log_keys, self.states, self.newest, self.demanded)
        try:
            # A crash before the commit leaves nothing of this batch, and nobody was told of any of it.
            # A crash after it leaves all of it: callers ask again and find their record; entries that no
            # checkpoint covers yet are signed at start-up.
            with connection.begin():
                kept = self._keep(connection)
                outcomes = [self._attempt(transaction, unit) for unit in units]
                if transaction.pending and self._ledger.signed_size == 0:
                    raise Unavailable(NOT_BEGUN)
                root = self._append(connection, size, transaction)
        except (SQLAlchemyError, Fault) as error:
            # Whether a commit that failed left something is not for us to guess.
            self._registry_touched |= transaction.registry_changed
            self._tree.truncate(size)
            self.states.back_to(before)
            fault = translated(error) if isinstance(error, SQLAlchemyError) else error
            return self._failed(fault, len(units))
        self._registry_touched |= transaction.registry_changed
        for entry in transaction.noted:
            _note(boards, entry)
        for index in transaction.changed:
            self.states.changes.add(index, leaf_hash(transaction.pending[index - size]))
        self.kept = kept
        failed = next((error for _, error in outcomes if isinstance(error, Unavailable)), None)
        if failed or transaction.pending or transaction.proven:  # a batch that wrote nothing proves nothing
            self.failing = failed
        self._root = root
        self.newest = transaction.newest
        self._log_keys = transaction.log_keys
        self._committed.append((size, transaction.pending, transaction.log_keys))
        self.written.batches += 1
        self.written.units += len(units)
        self.written.entries += len(transaction.pending)
        return outcomes

    def settled(self) -> None:
        """Tells the ledger what is committed, for a checkpoint over it, or that nothing more will be; and who
        keeps the registry in memory that it changed."""
        if self._registry_touched:
            self._registry_touched = False
            self._registry_changed()
        while self._committed:
            start, added, log_keys = self._committed.popleft()
            if added:
                self._ledger.committed(start, added, log_keys)
        if self.broken is not None and not self._told:
            self._told = True
            self._ledger.stop(self.broken)

    def _attempt(self, transaction: Transaction, unit: Unit[Transaction]) -> Outcome:
        kept, newest, log_keys = len(transaction.pending), transaction.newest, transaction.log_keys
        state, noted, changed = transaction.state, len(transaction.noted), len(transaction.changed)
        outcome = attempt(transaction.connection, unit, transaction)
        if outcome[1] is not None:
            del transaction.pending[kept:], transaction.noted[noted:], transaction.changed[changed:]
            transaction.newest, transaction.log_keys, transaction.state = newest, log_keys, state
        return outcome

    def _keep(self, connection: Connection) -> int:
        """Now and then, what follows from the entries of the commits before this one; its size."""
        size = self._tree.size
        if size - self.kept < EVERY:
            return self.kept
        state = KeptState.of(
            program_version(),
            self._log_keys.origin,
            size,
            self._tree.nodes(size),
            self.states.changes,
            self.states.boards,
        )
        keep(connection, state, self._start_key)
        return size

    def _append(self, connection: Connection, size: int, transaction: Transaction) -> bytes:
        """Entries, the MAC over them, tree and head; the new root."""
        pending, old_epoch, state = transaction.pending, self.states.newest.epoch, transaction.state
        if not pending:
            return self._root
        rows, leaves = [], bytearray()
        for index, data in enumerate(pending, size):
            leaf = leaf_hash(data)
            self._tree.append(leaf)
            leaves += leaf
            rows.append({"entry_index": index, "leaf_hash": leaf, "data": data})
        connection.execute(_ADD_ENTRIES, rows)
        self._add_commit(connection, bytes(leaves), state.epoch)
        root = self._tree.root()
        moved = _MOVE_HEAD.count(
            connection,
            {
                "old_size": size,
                "old_root": self._root,
                "old_epoch": old_epoch,
                "new_size": self._tree.size,
                "new_root": root,
                "new_epoch": state.epoch,
            },
        )
        if moved != 1:
            self.broken = Fault(
                "the ledger's head in the database is not ours: another writer, or another file"
            )
            raise self.broken
        self.states.put(state)  # before the commit: whoever reads the new epoch finds its state
        return root

    def _add_commit(self, connection: Connection, leaves: bytes, epoch: int) -> None:
        """Durable with the entries. A crash before the commit leaves neither, and after it both. It stays: a
        second place that was lost is made anew from an older checkpoint, beyond which it is needed again."""
        published = self._ledger.signed_size
        commit = Commit(self._start_key.start, epoch, published, leaves)
        row = {
            "size_after": self._tree.size,
            "start": commit.start,
            "epoch": epoch,
            "published": published,
            "leaves": leaves,
            "mac": commit.mac(self._start_key.key, self._log_keys.origin_at(self._tree.size)),
        }
        _ADD_COMMIT.run(connection, row)
