"""The kept state in one SQLite file: the books, a copy of the ledger, where the last run ended, findings.

    with SqliteState.open(directory) as state, state.transaction():
        …

A crash within a transaction leaves what the last run kept. Nothing in the file is trusted more than the
auditor's own disk is; it holds no secret.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from auditor.adapters.books import CERTIFICATE, SqliteBooks, moment_of, seconds_of
from auditor.adapters.schema import SCHEMA, TABLES, UPGRADES, VERSION
from auditor.core.books import CertificateState, OrderState, Totals
from auditor.core.codes import Code
from auditor.core.entry import LogOpened, OrderOpened, parse_entry
from auditor.core.findings import Finding
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound
from auditor.ports import Kept, KeptFinding
from birthmark.proof import Checkpoint, Frontier, ProofError

FILE = "state.sqlite"
_COUNTS = ("places", "highest", "unproved", "imported", "stamped", "revoked", "certificates")


class SqliteState(SqliteBooks):
    """`auditor.ports.State`. One process at a time: the file is locked for a transaction's length."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._load()

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Opens the state in `directory`, or makes an empty one there.

        Raises:
            ConfigError: it cannot be opened, or is of another version or no state at all.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(directory / FILE, isolation_level=None, timeout=10)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -65536")  # KiB: 64 MiB, so that indexes stay in memory
            return cls(_ready(connection))
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"cannot use the state in {directory}: {error}. See that no other auditor works there"
            ) from error
        except (ValueError, TypeError, KeyError, Malformed, CheckFailed) as error:
            raise ConfigError(f"the state in {directory} is damaged: move it away and verify anew") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        try:
            yield
            self._save()
        except BaseException:
            self._db.execute("ROLLBACK")
            self._load()
            raise
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise ConfigError(f"the state cannot be written: {error}. See that its disk has room") from error

    def kept(self) -> Kept | None:
        """See `auditor.ports.State`."""
        note = self._meta("checkpoint")
        if note is None:
            return None
        head = json.loads(self._meta("head") or b"{}")
        try:
            frontier = Frontier(head["size"], [bytes.fromhex(item) for item in head["frontier"]])
        except (ProofError, KeyError) as error:
            raise ConfigError(f"the state is damaged ({error}): move it away and verify anew") from error
        origin = note.partition(b"\n")[0].decode()
        checkpoint = Checkpoint(origin, frontier.size, frontier.root(), note)
        return Kept(checkpoint, frontier, head["record_id"])

    def keep(self, kept: Kept) -> None:
        """See `auditor.ports.State`."""
        hashes = [item.hex() for item in kept.frontier.hashes]
        head = {"size": kept.frontier.size, "frontier": hashes, "record_id": kept.record_id}
        self._put_meta("head", json.dumps(head).encode())
        self._put_meta("checkpoint", kept.checkpoint.note)

    def forget(self) -> None:
        """See `auditor.ports.State`."""
        for table in (*TABLES, "meta"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 (names of our own schema)
        self._load()

    # Entries

    def add_entry(self, index: int, kind: str, data: bytes) -> None:
        """See `auditor.ports.State`."""
        self._db.execute("INSERT INTO entries VALUES (?, ?, ?)", (index, kind, data))

    def entry(self, index: int) -> bytes:
        """See `auditor.ports.State`."""
        row = self._db.execute("SELECT data FROM entries WHERE idx = ?", (index,)).fetchone()
        if row is None:
            raise NotFound(f"no entry {index} was verified")
        return bytes(row[0])

    def entries(self, start: int = 0, kinds: Sequence[str] = ()) -> Iterator[tuple[int, bytes]]:
        """See `auditor.ports.State`."""
        marks = ", ".join("?" * len(kinds))
        wanted = f" AND kind IN ({marks})" if kinds else ""
        query = f"SELECT idx, data FROM entries WHERE idx >= ?{wanted} ORDER BY idx"  # noqa: S608 (marks alone)
        yield from self._db.execute(query, (start, *kinds))

    # Records

    def unchecked(self, limit: int) -> list[CertificateState]:
        """See `auditor.ports.State`."""
        query = f"SELECT {CERTIFICATE} FROM certificates WHERE unchecked = 1 ORDER BY idx LIMIT ?"  # noqa: S608
        return [CertificateState(*row) for row in self._db.execute(query, (limit,))]

    def checked(self, index: int) -> None:
        """See `auditor.ports.State`."""
        self._db.execute("UPDATE certificates SET unchecked = 0 WHERE idx = ?", (index,))

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
        query = "INSERT OR IGNORE INTO findings VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)"
        new = []
        for item in findings:
            row = (item.code.value, item.detail, item.index, item.serial_number, item.expected, item.found)
            if self._db.execute(query, (*row, seconds_of(now))).rowcount == 1:
                new.append(item)
        return new

    def findings(self) -> list[KeptFinding]:
        """See `auditor.ports.State`."""
        query = "SELECT code, detail, idx, serial_number, expected, found, found_at FROM findings ORDER BY id"
        return [
            KeptFinding(Finding(Code(row[0]), *row[1:6]), datetime.fromtimestamp(row[6], UTC))
            for row in self._db.execute(query)
        ]

    # Inside

    def _load(self) -> None:
        self._peers = {}
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
            counts: dict[str, int | None] = {name: getattr(order, name) for name in _COUNTS}
            counts["closed_at"] = None if order.closed_at is None else seconds_of(order.closed_at)
            self._db.execute(
                "UPDATE orders SET counts = ? WHERE opened_index = ?",
                (json.dumps(counts), order.opened_index),
            )

    def _meta(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def _put_meta(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _ready(connection: sqlite3.Connection) -> sqlite3.Connection:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        version = VERSION
    while version in UPGRADES:  # a crash between two leaves a version that is one of these
        connection.executescript(
            f"BEGIN IMMEDIATE; {UPGRADES[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        )
        version += 1
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
    values["ahead_until"] = moment_of(values.get("ahead_until"))  # absent: kept before there was one
    values.setdefault("form", 1)  # as above
    values.setdefault("operations_cas", {})  # as above
    values.setdefault("checkpoint_keys", {})  # as above
    values["superseding"] = {
        chip: (index, bytes.fromhex(spki)) for chip, (index, spki) in values["superseding"].items()
    }
    approved = values.get("approved")  # absent: kept before there were approvals
    values["approved"] = None if approved is None else tuple(approved)
    values.setdefault("approvals", {})
    values.setdefault("runs", {})  # as above
    return Totals(**{item.name: values[item.name] for item in fields(Totals)})
