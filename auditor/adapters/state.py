"""The kept state in one directory: the books in SQLite, their marks beside it, where the last run stands.

    with SqliteState.open(directory) as state, state.transaction():
        …

A crash within a transaction leaves what the last one kept. Nothing in the directory is trusted more than the
auditor's own disk is; it holds no secret but the one that keys the marks.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from auditor.adapters.books import SqliteBooks, moment_of, seconds_of
from auditor.adapters.earlier_state import brought_over
from auditor.adapters.marks import Marks, RunMissing
from auditor.adapters.schema import LEDGER_TABLES, SCHEMA, VERSION
from auditor.core.books import OrderState, Totals
from auditor.core.codes import Code
from auditor.core.entry import NOT_KEPT, LogOpened, OrderOpened, parse_entry
from auditor.core.findings import Finding
from auditor.core.proofs import translated
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound
from auditor.ports import Acknowledgement, Kept, KeptFinding, Stage
from birthmark.proof import Checkpoint, Frontier

FILE, MARKS = "state.sqlite", "marks"
_COUNTS = (
    "places", "highest", "unproved", "imported", "stamped", "revoked", "certificates", "stamped_revoked",
    "refused", "at_close",
)  # fmt: skip
# Of boards there are many, and of refusals and CRLs as many as there are calls and days: these are read anew.
_NOT_KEPT = NOT_KEPT | {""}


class SqliteState(SqliteBooks):
    """`auditor.ports.State`. One process writes at a time: the file is locked for a transaction's length.
    Others may read meanwhile."""

    def __init__(self, connection: sqlite3.Connection, directory: Path | None) -> None:
        """`directory`: where marks lie; None: nowhere, for books in memory."""
        secret = connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0]
        super().__init__(connection, Marks(None if directory is None else directory / MARKS, secret))
        self._saved: dict[str, str] = {}  # counts of orders, as the file has them
        self._dropped: list[str] = []  # runs of marks that this transaction names no more
        self._swept = False
        self._version = self._data_version()
        self._load()

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Opens the state in `directory`, or makes an empty one there.

        Raises:
            ConfigError: it cannot be opened, or is of another version or no state at all.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            brought_over(directory / FILE)
            connection = sqlite3.connect(directory / FILE, isolation_level=None, timeout=10)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -65536")  # KiB: 64 MiB, so that indexes stay in memory
            return cls(_ready(connection), directory)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"cannot use the state in {directory}: {error}. See that no other auditor works there"
            ) from error
        except (ValueError, TypeError, KeyError, Malformed, CheckFailed) as error:
            raise ConfigError(f"the state in {directory} is damaged: move it away and verify anew") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._marks.close()
        self._db.close()

    # What a run keeps

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """See `auditor.ports.State`. Raises ConfigError if another process writes."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise ConfigError(
                f"the state is locked: {error}. See that no other auditor works there"
            ) from error
        self._dropped = []
        try:
            self._begin_writing()
            yield
            self.write_rows()
            self._save()
            self._dropped += self._save_marks()
            # A crash before this line leaves the transaction before; after it, this one. Runs of marks that
            # only one of the two names are removed by the next writer.
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            self._load()
            if isinstance(error, sqlite3.Error):
                raise ConfigError(
                    f"the state cannot be written: {error}. See that its disk has room"
                ) from error
            raise
        self._marks.remove(self._dropped)

    def _begin_writing(self) -> None:
        """The write lock is held: nobody else makes runs, or changes what is saved from memory."""
        version = self._data_version()
        if version != self._version:  # another process wrote, as `acknowledge` does
            self._load()
            self._version = version
        if not self._swept:
            self._marks.sweep(self._marks.names())
            self._swept = True

    def _data_version(self) -> int:
        """Changes with each commit of another process, and with none of ours."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def kept(self) -> Kept | None:
        """See `auditor.ports.State`."""
        checkpoint = self._checkpoint("checkpoint")
        if checkpoint is None:
            return None
        head = json.loads(self._meta("head") or b"{}")
        with translated():
            frontier = Frontier(head["size"], [bytes.fromhex(item) for item in head["frontier"]])
        tail = self._meta("tail") or b""
        leaves = tuple(tail[at : at + 32] for at in range(0, len(tail), 32))
        return Kept(checkpoint, frontier, leaves, head["record_id"], Stage(head["stage"]))

    def keep(self, kept: Kept) -> None:
        """See `auditor.ports.State`."""
        hashes = [item.hex() for item in kept.frontier.hashes]
        head = {"size": kept.frontier.size, "frontier": hashes, "record_id": kept.record_id}
        self._put_meta("head", json.dumps(head | {"stage": kept.stage.value}).encode())
        self._put_meta("tail", b"".join(kept.tail))
        self._put_checkpoint("checkpoint", kept.checkpoint)

    def passing(self) -> Checkpoint | None:
        """See `auditor.ports.State`."""
        return self._checkpoint("passing")

    def passed(self) -> None:
        """See `auditor.ports.State`."""
        self._db.execute("DELETE FROM meta WHERE key = 'passing'")

    def looked(self, now: datetime) -> None:
        """See `auditor.ports.State`."""
        self._put_meta("looked_at", str(seconds_of(now)).encode())

    def begin_run(self) -> None:
        """See `auditor.ports.State`."""
        self._put_meta("run", str(self._run() + 1).encode())

    def _run(self) -> int:
        return int(self._meta("run") or b"0")

    def forget(self, *, lost: bool = False) -> None:
        """See `auditor.ports.State`."""
        kept = self.kept()
        if lost:
            self._db.execute("DELETE FROM meta WHERE key IN ('passing', 'since')")
        else:
            if kept is not None and self.passing() is None:
                self._put_checkpoint("passing", kept.checkpoint)
            self._put_meta("since", str(self._run()).encode())
        self._dropped += self._marks.names()  # removed once this is durable, and not before
        for table in LEDGER_TABLES:
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 (names of our own schema)
        names = ("head", "tail", "checkpoint", "totals", "again", "looked_at")
        self._db.executemany("DELETE FROM meta WHERE key = ?", [(name,) for name in names])
        self._load()

    def forget_findings(self, *, records: bool) -> None:
        """See `auditor.ports.State`."""
        since = self._meta("since")
        if since is None:
            return
        found = self._db.execute("SELECT id, code FROM findings WHERE run <= ?", (int(since),)).fetchall()
        old = [(number,) for number, code in found if records or not Code(code).may_be_of_records]
        self._db.executemany("DELETE FROM acknowledgements WHERE finding = ?", old)
        self._db.executemany("DELETE FROM findings WHERE id = ?", old)
        if records:
            self._db.execute("DELETE FROM meta WHERE key = 'since'")

    def look_again(self) -> Mapping[str, int]:
        """See `auditor.ports.State`."""
        found: dict[str, int] = json.loads(self._meta("again") or b"{}")
        return found

    def keep_look_again(self, place: Mapping[str, int]) -> None:
        """See `auditor.ports.State`."""
        self._put_meta("again", json.dumps(dict(place)).encode())

    # Entries

    def add_entry(self, index: int, kind: str, data: bytes) -> None:
        """See `auditor.ports.State`."""
        if kind not in _NOT_KEPT:
            self._db.execute("INSERT INTO entries VALUES (?, ?, ?)", (index, kind, data))

    def add_bundles(self, first: int, hashes: Sequence[bytes]) -> None:
        """See `auditor.ports.State`."""
        self._db.executemany("INSERT INTO bundles VALUES (?, ?)", enumerate(hashes, first))

    def bundle(self, number: int) -> bytes:
        """See `auditor.ports.State`."""
        row = self._db.execute("SELECT hash FROM bundles WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise NotFound(f"no bundle {number} was verified")
        return bytes(row[0])

    def entry(self, index: int) -> bytes:
        """See `auditor.ports.State`."""
        row = self._db.execute("SELECT data FROM entries WHERE idx = ?", (index,)).fetchone()
        return self.read_entry(index) if row is None else bytes(row[0])

    def entries(self, start: int = 0, kinds: Sequence[str] = ()) -> Iterator[tuple[int, bytes]]:
        """See `auditor.ports.State`."""
        if kinds:
            marks = ", ".join("?" * len(kinds))
            query = f"SELECT idx, data FROM entries WHERE idx >= ? AND kind IN ({marks}) ORDER BY idx"  # noqa: S608
            yield from self._db.execute(query, (start, *kinds))
            return
        kept = self.kept()
        for index in range(start, 0 if kept is None else kept.frontier.size):
            yield index, self.entry(index)

    # Records

    def await_entry(self, certificate_sha256: bytes, claimed_index: int, serial_number: str) -> None:
        """See `auditor.ports.State`."""
        row = (certificate_sha256, min(claimed_index, 2**63 - 1), serial_number)
        self._db.execute("INSERT OR REPLACE INTO awaited VALUES (?, ?, ?)", row)

    def awaited(self) -> list[tuple[bytes, int, str]]:
        """See `auditor.ports.State`."""
        return self._db.execute("SELECT sha256, claimed_index, serial_number FROM awaited").fetchall()

    def settle(self, certificate_sha256: bytes) -> None:
        """See `auditor.ports.State`."""
        self._db.execute("DELETE FROM awaited WHERE sha256 = ?", (certificate_sha256,))

    # Findings

    def add_findings(self, findings: Sequence[Finding], now: datetime) -> list[Finding]:
        """See `auditor.ports.State`."""
        query = "INSERT OR IGNORE INTO findings VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
        again = (
            "UPDATE findings SET run = ? WHERE code = ? AND detail = ? AND ifnull(idx, -1) = ifnull(?, -1)"
            " AND ifnull(serial_number, '') = ifnull(?, '') AND found = ?"
        )
        new, run = [], self._run()
        for item in findings:
            row = (item.code.value, item.detail, item.index, item.serial_number, item.expected, item.found)
            if self._db.execute(query, (*row, seconds_of(now), run)).rowcount == 1:
                new.append(item)
            else:
                self._db.execute(again, (run, *row[:4], item.found))
        return new

    def findings(self) -> list[KeptFinding]:
        """See `auditor.ports.State`."""
        words: dict[int, list[Acknowledgement]] = {}
        for number, statement, signature, at in self._db.execute(
            "SELECT finding, statement, signature, at FROM acknowledgements ORDER BY id"
        ):
            said = Acknowledgement(statement, signature, datetime.fromtimestamp(at, UTC))
            words.setdefault(number, []).append(said)
        query = (
            "SELECT code, detail, idx, serial_number, expected, found, found_at, id FROM findings ORDER BY id"
        )
        return [
            KeptFinding(
                Finding(Code(row[0]), *row[1:6]),
                datetime.fromtimestamp(row[6], UTC),
                row[7],
                tuple(words.get(row[7], ())),
            )
            for row in self._db.execute(query)
        ]

    def acknowledge(self, number: int, acknowledgement: Acknowledgement) -> None:
        """See `auditor.ports.State`."""
        if self._db.execute("SELECT 1 FROM findings WHERE id = ?", (number,)).fetchone() is None:
            raise NotFound(f"no finding has the number {number}: `findings` lists them")
        said = (number, acknowledgement.statement, acknowledgement.signature, seconds_of(acknowledgement.at))
        self._db.execute("INSERT INTO acknowledgements VALUES (?, ?, ?, ?, NULL)", said)

    # Inside

    def _load(self) -> None:
        try:
            self._load_at_once()
        except RunMissing:
            if self._db.in_transaction:
                raise
            self._load_at_once()  # another process merged it between our reading its name and opening it

    def _load_at_once(self) -> None:
        """As of one commit, whoever writes meanwhile."""
        if self._db.in_transaction:
            self._load_rows()
            return
        self._db.execute("BEGIN")
        try:
            self._load_rows()
        finally:
            self._db.execute("ROLLBACK")

    def _load_rows(self) -> None:
        self._peers = {}
        self._no_intents = None
        self._saved = {}
        self.forget_rows()
        self.totals = _totals(self._meta("totals"))
        opened = self._db.execute("SELECT data FROM entries WHERE idx = 0 AND kind = 'log_opened'").fetchone()
        first = None if opened is None else parse_entry(opened[0])
        self.opened = first if isinstance(first, LogOpened) else None
        self._orders = {}
        query = (
            "SELECT opened_index, counts, data FROM orders JOIN entries ON idx = opened_index ORDER BY idx"
        )
        for index, counts, data in self._db.execute(query):
            terms = parse_entry(data)
            if isinstance(terms, OrderOpened):
                values = json.loads(counts)
                closed = moment_of(values.pop("closed_at"))
                self._orders[terms.work_order] = OrderState(terms, index, closed, **values)
        runs = [name for (name,) in self._db.execute("SELECT name FROM runs ORDER BY place")]
        recent = [cells for (cells,) in self._db.execute("SELECT cells FROM recent_marks ORDER BY id")]
        self._marks.load(runs, recent)

    def _save(self) -> None:
        totals = asdict(self.totals)
        last = self.totals.last_time
        totals["last_time"] = None if last is None else seconds_of(last)
        ahead = self.totals.ahead_until
        totals["ahead_until"] = None if ahead is None else seconds_of(ahead)
        totals["superseding"] = {
            chip: [index, spki.hex()] for chip, (index, spki) in self.totals.superseding.items()
        }
        self._put_meta("totals", json.dumps(totals).encode())
        for order in self._orders.values():
            counts: dict[str, Any] = {name: getattr(order, name) for name in _COUNTS}
            counts["closed_at"] = None if order.closed_at is None else seconds_of(order.closed_at)
            text = json.dumps(counts)
            if self._saved.get(order.terms.work_order) != text:
                query = "UPDATE orders SET counts = ? WHERE opened_index = ?"
                self._db.execute(query, (text, order.opened_index))
                self._saved[order.terms.work_order] = text

    def _save_marks(self) -> list[str]:
        """Returns the runs that are none any more, once this is durable."""
        unsaved = self._marks.unsaved()
        if unsaved:
            self._db.execute("INSERT INTO recent_marks (cells) VALUES (?)", (unsaved,))
        flushed = self._marks.flush()
        if flushed is None:
            return []
        self._db.execute("DELETE FROM recent_marks")
        self._db.execute("DELETE FROM runs")
        self._db.executemany(
            "INSERT INTO runs VALUES (?, ?)", [(name, at) for at, name in enumerate(flushed[0])]
        )
        return flushed[1]

    def _checkpoint(self, key: str) -> Checkpoint | None:
        data = self._meta(key)
        if data is None:
            return None
        value = json.loads(data)
        note = value["note"].encode()
        origin = note.partition(b"\n")[0].decode()
        return Checkpoint(origin, value["size"], bytes.fromhex(value["root"]), note)

    def _put_checkpoint(self, key: str, checkpoint: Checkpoint) -> None:
        value = {"size": checkpoint.size, "root": checkpoint.root.hex(), "note": checkpoint.note.decode()}
        self._put_meta(key, json.dumps(value).encode())

    def _meta(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def _put_meta(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _ready(connection: sqlite3.Connection) -> sqlite3.Connection:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        # As a whole or not at all: a crash leaves a file of version 0, which is begun again.
        secret = f"INSERT INTO meta VALUES ('secret', x'{os.urandom(16).hex()}');"  # noqa: S608 (digits)
        connection.executescript(f"BEGIN; {SCHEMA} {secret} PRAGMA user_version = {VERSION}; COMMIT;")
        version = VERSION
    if version != VERSION:
        raise ConfigError(
            f"the state is of version {version}, and this auditor reads {VERSION}: verify anew in another"
            " directory"
        )
    return connection


def _totals(data: bytes | None) -> Totals:
    if data is None:
        return Totals()
    values: dict[str, Any] = json.loads(data)
    values["last_time"] = moment_of(values["last_time"])
    values["ahead_until"] = moment_of(values["ahead_until"])
    values["superseding"] = {
        chip: (index, bytes.fromhex(spki)) for chip, (index, spki) in values["superseding"].items()
    }
    values["approved"] = None if values["approved"] is None else tuple(values["approved"])
    return Totals(**{item.name: values[item.name] for item in fields(Totals) if item.name in values})
