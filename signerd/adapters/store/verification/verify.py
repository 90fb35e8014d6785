"""`signerd database verify`: the whole database beside the log.

    for step in (check := Verification(reading, entry_of, found)).steps():
        …                                       # pace, progress

Guarantees, if nothing is found: each entry gives its leaf hash, and all of them the root that was signed.
Each row that an entry can bear out is what the entry says. Each entry of a board has its row. So what only an
absence shows is shown too: that this chip, this anchor, this key was certified before.

It only reads. A command reads one snapshot, beside a running signerd too: SQLite keeps writers going, and its
WAL file grows until the snapshot ends. signerd itself reads many short ones (`Verification.steps` says what
may change between them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, bindparam, select

from signerd.adapters.head_file import second_place_note
from signerd.adapters.store.log.logged_entries import missing_fault
from signerd.adapters.store.tables.database import check_database, reading_database
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.schema import commits, entries, head, records
from signerd.adapters.store.verification.findings import Found, Remedy
from signerd.adapters.store.verification.verify_administration import (
    compare_administration,
    compare_chip_lists,
)
from signerd.adapters.store.verification.verify_boards import compare_page
from signerd.adapters.store.verification.verify_chips import STEPS
from signerd.adapters.store.verification.verify_log import ReadLog
from signerd.core.commits import CommitError, KeptCommit
from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.note import Checkpoint, NoteError, VerifierKey, claimed_checkpoint, parse_checkpoint
from signerd.core.state.values import StateError
from signerd.errors import ConfigError

_BATCH = 1_000  # entries at once
_OF_INIT = 2  # entries that `signerd init` may write: the opening, and where the keys are
Reading = Callable[[], AbstractContextManager[Connection]]
EntryOf = Callable[[int], bytes]
Next = Callable[[Connection, int, int], Sequence[bytes]]  # entries from … up to …, as they were logged

_ENTRY = Prepared(select(entries.c.data).where(entries.c.entry_index == bindparam("index")))


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: `done` of `total` of something."""

    name: str
    done: int
    total: int


class Verification:
    """One comparison of everything. Memory: see `verify_log` and `findings`."""

    def __init__(self, reading: Reading, entry_of: EntryOf, read: Next, found: Found) -> None:
        """`reading` opens a snapshot. `entry_of` and `read` give entries as they were logged, or raise
        Fault."""
        self._reading = reading
        self._entry_of = entry_of
        self._read = read
        self.found = found
        self.log = ReadLog()
        self._size = 0

    def steps(self) -> Iterator[Step]:
        """Compares a little, and yields. Between two steps the database may grow, as signerd makes it grow:
        rows come with entries that were not read, and those are not missed.

        Raises:
            Fault: an entry is not as it was logged.
            StateError: an entry does not follow from those before it.
        """
        yield from self._log()
        yield from self._lists()
        for name, compare in STEPS.items():
            with self._reading() as connection, self.found.comparing(name, "its rows"):
                compare(connection, self.log.state, self.found)
            yield Step(name, 1, 1)
        yield from self._records()
        self._without_row()

    def _log(self) -> Iterator[Step]:
        while True:
            with self._reading() as connection:
                self._size = connection.execute(select(head.c.size)).scalar_one()
                end = min(self.log.size + _BATCH, self._size)
                self._add(self._read(connection, self.log.size, end))
                if end == self._size:  # the snapshot whose head is reached
                    compare_administration(connection, self.log, self._entry_of, self.found)
                    break
            yield Step(entries.name, end, self._size)
        self.found.counts[entries.name] = self._size
        yield Step(entries.name, self._size, self._size)

    def _add(self, read: Sequence[bytes]) -> None:
        for data in read:
            try:
                self.log.add(data)
            except (StateError, ValueError, KeyError, TypeError) as error:
                raise StateError(f"entry {self.log.size}: {error}") from error

    def _lists(self) -> Iterator[Step]:
        with self._reading() as connection, self.found.comparing("chips", "lists of chips"):
            for _ in compare_chip_lists(connection, self.log, self._entry_of, self.found):
                yield Step("lists of chips", self.found.counts["lists of chips"], 0)

    def _records(self) -> Iterator[Step]:
        after: int | None = 0
        while after is not None:
            with self._reading() as connection:
                after = compare_page(connection, self.log, self._entry_of, after, self.found)
            yield Step(records.name, self.found.counts[records.name], 0)

    def _without_row(self) -> None:
        """Entries of boards whose row is not there, or is another's."""
        for index, kind in self.log.without_row():
            with self.found.comparing(records.name, f"the {kind} entry {index}"):
                self.found.missing_row(index, kind, self._entry_of(index))


@dataclass(frozen=True, slots=True)
class Verified:
    """What a command found. `covered`: so many entries are under the signed checkpoint."""

    found: Found
    size: int
    covered: int
    log_is_whole: bool


def verify_database(url: str, head_file: Path, first: VerifierKey, say: Callable[[Step], None]) -> Verified:
    """Compares a database with its log, and the log with the checkpoint in the second place.

    Args:
        url: of the database. Nothing is written to it.
        head_file: the second place. It may be held by a signerd that runs.
        first: the log's first verifier key, of the settings.
        say: is told of each step.

    Raises:
        ConfigError: there is no database of this program's schema, or a file cannot be read.
    """
    note = second_place_note(head_file)  # before the snapshot, which may be newer
    return verify_against(url, note, first, say)


def second_place_checkpoint(head_file: Path) -> Checkpoint:
    """What it says, whoever signed it. Raises ConfigError: it holds none, or cannot be read."""
    return claimed(second_place_note(head_file), "the second place")


def verify_against(url: str, note: bytes, first: VerifierKey, say: Callable[[Step], None]) -> Verified:
    """The same, with a checkpoint from elsewhere."""
    check_database(url)
    found = Found()
    with reading_database(url, "cannot read the database") as connection:
        return _verify(connection, note, first, found, say)


def _verify(
    connection: Connection, note: bytes, first: VerifierKey, found: Found, say: Callable[[Step], None]
) -> Verified:
    def entry_of(index: int) -> bytes:
        row = _ENTRY.row(connection, {"index": index})
        if row is None or not isinstance(row.data, bytes):
            raise missing_fault(index, index + 1)
        data: bytes = row.data
        return data

    @contextmanager
    def reading() -> Iterator[Connection]:
        yield connection

    published = claimed(note, "the second place")
    hashed = _Hashed(published, found)
    check = Verification(reading, entry_of, hashed.read, found)
    whole = False
    try:
        for step in check.steps():
            say(step)
        whole = True
    except StateError as error:
        found.add(entries.name, "the log", f"{error}: rows were not compared", remedy=Remedy.ENTRY)
    except _NotWholeError as error:
        found.add(entries.name, str(error), "it is not there: rows were not compared", remedy=Remedy.ENTRY)
    if whole:
        hashed.demand_head(connection)
        _demand_signed(note, published, first, check.log, found)
        _commits(connection, found)
    return Verified(found, hashed.frontier.size, min(published.size, hashed.frontier.size), whole)


class _NotWholeError(Exception):
    """An entry is missing. The text says which."""


class _Hashed:
    """Reads entries of one snapshot, and hashes what it gives."""

    def __init__(self, published: Checkpoint, found: Found) -> None:
        self.frontier = Frontier()
        self._published = published
        self._found = found
        self._at_published = self.frontier.root()

    def read(self, connection: Connection, start: int, end: int) -> Sequence[bytes]:
        """Raises _NotWholeError."""
        index = entries.c.entry_index
        asked = select(index, entries.c.data, entries.c.leaf_hash).where(index >= start, index < end)
        rows = connection.execute(asked.order_by(index)).all()
        for expected, row in zip(range(start, end), rows, strict=False):
            if row.entry_index != expected or not isinstance(row.data, bytes):
                raise _NotWholeError(f"entry {expected}")
            leaf = leaf_hash(row.data)
            if leaf != row.leaf_hash:
                self._found.add(
                    entries.name,
                    f"entry {expected}",
                    "its bytes are not those of the leaf hash beside them",
                    expected,
                    remedy=Remedy.ENTRY,
                )
            self.frontier.append(leaf)
            if self.frontier.size == self._published.size:
                self._at_published = self.frontier.root()
        if len(rows) < end - start:
            raise _NotWholeError(f"entry {start + len(rows)}")
        return [row.data for row in rows]

    def demand_head(self, connection: Connection) -> None:
        """Tree and head, tree and checkpoint."""
        found, published = self._found, self._published
        row = connection.execute(select(head.c.size, head.c.root)).one()
        beyond = select(entries.c.entry_index).where(entries.c.entry_index >= row.size).limit(1)
        if connection.execute(beyond).one_or_none() is not None:
            found.add(entries.name, f"entry {row.size}", "it is beyond the head", remedy=Remedy.ENTRY)
        if row.root != self.frontier.root():
            found.add(head.name, "the head", "the entries do not give its root", remedy=Remedy.ENTRY)
        if published.size > self.frontier.size:
            what = f"there are {self.frontier.size} entries, and {published.size} were published"
            found.add(entries.name, "the log", what, remedy=Remedy.BACKUP)
        elif published.size and published.root != self._at_published:
            what = f"the entries do not give the root that was signed at size {published.size}"
            found.add(entries.name, "the log", what, remedy=Remedy.ENTRY)


def claimed(note: bytes, where: str) -> Checkpoint:
    """The checkpoint that stands there. Who signed it is asked once the log's keys are known. Raises
    ConfigError: there is none."""
    try:
        return claimed_checkpoint(note, None)
    except NoteError as error:
        try:
            return parse_checkpoint(note)  # the mark of a log that was just opened
        except NoteError:
            raise ConfigError(
                f'{where} holds no checkpoint: {error}; see docs/operations.md, "The second place is lost"'
            ) from error


def _demand_signed(
    note: bytes, published: Checkpoint, first: VerifierKey, log: ReadLog, found: Found
) -> None:
    keys = log.state.log_keys
    if keys is None or keys.keys[0].verifier != first:
        found.add(entries.name, "entry 0", "it names another key than the settings do (ledger.vkey)", 0)
        return
    if published.size == 0:
        if log.size > _OF_INIT:
            what = f"the second place says that no checkpoint was signed, and there are {log.size} entries"
            found.add(entries.name, "the log", what, remedy=Remedy.SECOND_PLACE)
        return
    try:
        keys.open(note)
    except NoteError as error:
        what = f"the log's keys did not sign what is in the second place: {error}"
        found.add(entries.name, "the checkpoint", what, remedy=Remedy.SECOND_PLACE)


def _commits(connection: Connection, found: Found) -> None:
    """Each has the leaf hashes of its entries, and none is left out. Whether its MAC holds is known to the
    key holder alone: signerd asks it at the start, before it signs anything over entries of its own."""
    asked = select(commits).order_by(commits.c.size_after)
    at: int | None = None
    for row in connection.execution_options(yield_per=_BATCH).execute(asked):
        found.counts[commits.name] += 1
        key = f"the commit up to entry {row.size_after}"
        try:
            kept = KeptCommit.read(row.start, row.epoch, row.published, row.leaves, row.mac)
        except CommitError as error:
            found.add(commits.name, key, str(error))
            continue
        start = row.size_after - kept.commit.count
        if at is not None and start != at:
            found.add(commits.name, key, f"the commit before it ends at {at}, and it begins at {start}")
        at = row.size_after
        index = entries.c.entry_index
        leaves = select(entries.c.leaf_hash).where(index >= start, index < row.size_after).order_by(index)
        if b"".join(connection.execute(leaves).scalars()) != kept.commit.leaves:
            found.add(commits.name, key, "it has the hashes of other entries")
    size = connection.execute(select(head.c.size)).scalar_one()
    if at is not None and at != size:
        found.add(commits.name, "the last one", f"it ends at entry {at}, and there are {size}")
