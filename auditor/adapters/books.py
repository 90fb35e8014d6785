"""The books (`auditor.core.books`) in SQLite. `state` adds what a run keeps for the next one."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

from auditor.adapters.certificates import CertificateBooks
from auditor.adapters.marks import Marks
from auditor.core.books import IntentState, OrderState, PeerState, Totals
from auditor.core.entry import (
    ActionApproved,
    AdministratorsEntry,
    AdministratorsSet,
    Entry,
    KeysCommitted,
    LogOpened,
    parse_entry,
    reread_entry,
)
from auditor.core.issuers import KINDS, Known, replay
from auditor.core.questions.acts import about, is_somebodys

_INTENT = "idx, work_order, number, chip_id, serial_number, since, resolved"


class SqliteBooks(CertificateBooks):
    """The part of `SqliteState` that entries are checked against."""

    def __init__(self, connection: sqlite3.Connection, marks: Marks) -> None:
        super().__init__(connection, marks)
        self.totals = Totals()
        self.opened: LogOpened | None = None
        self._orders: dict[str, OrderState] = {}
        self._peers: dict[str, PeerState] = {}
        self._no_intents: bool | None = None  # None: not looked yet

    def keys_committed(self, before: int) -> KeysCommitted | None:
        """See `auditor.core.books.Books`."""
        entry = self._last("keys_committed", before)
        return entry if isinstance(entry, KeysCommitted) else None

    def issuers(self, before: int) -> Known:
        """See `auditor.core.books.Books`."""
        marks = ", ".join("?" * len(KINDS))
        found = self._db.execute(
            f"SELECT idx, data FROM entries WHERE kind IN ({marks}) AND idx < ? ORDER BY idx",  # noqa: S608
            (*KINDS, before),
        )
        return replay((index, parse_entry(data)) for index, data in found)

    def administrators(self, before: int) -> AdministratorsSet | None:
        """See `auditor.core.books.Books`."""
        entry = self._last("administrators_set", before)
        return entry if isinstance(entry, AdministratorsSet) else None

    def _last(self, kind: str, before: int) -> Entry | None:
        found = self._db.execute(
            "SELECT data FROM entries WHERE kind = ? AND idx < ? ORDER BY idx DESC LIMIT 1", (kind, before)
        ).fetchone()
        return None if found is None else parse_entry(found[0])

    def add_act(self, index: int, entry: AdministratorsEntry) -> None:
        """See `auditor.core.books.Books`."""
        if not is_somebodys(entry):
            return
        word = self._words.number
        actor = 0 if entry.by is None else word(entry.by)
        names = self._approvers(index)
        approvers = word(" ".join(names)) if names else 0
        row = (index, seconds_of(entry.time), word(entry.type), actor, approvers, about(entry))
        self._db.execute("INSERT INTO acts VALUES (?, ?, ?, ?, ?, ?)", row)

    def _approvers(self, index: int) -> list[str]:
        """Whose signatures stand in the entry right before, if that is an approval."""
        row = self._db.execute(
            "SELECT data FROM entries WHERE idx = ? AND kind = 'action_approved'", (index - 1,)
        ).fetchone()
        approval = None if row is None else reread_entry(row[0])
        signatures = approval.signatures if isinstance(approval, ActionApproved) else ()
        return sorted({each.administrator for each in signatures})

    def peer(self, uri: str) -> PeerState | None:
        """See `auditor.core.books`."""
        known = self._peers.get(uri)
        if known is None:
            row = self._db.execute("SELECT spki, revoked_at FROM peers WHERE uri = ?", (uri,)).fetchone()
            if row is None:
                return None
            known = self._peers[uri] = PeerState(uri, row[0], moment_of(row[1]))
        return known

    def put_peer(self, peer: PeerState) -> None:
        """See `auditor.core.books`."""
        self._peers[peer.uri] = peer
        revoked = None if peer.revoked_at is None else seconds_of(peer.revoked_at)
        self._db.execute(
            "INSERT OR REPLACE INTO peers VALUES (?, ?, ?)", (peer.uri, peer.spki_sha256, revoked)
        )

    def has_product(self, product: str, product_sha256: bytes) -> bool:
        """See `auditor.core.books`."""
        query = "SELECT 1 FROM products WHERE name = ? AND sha256 = ?"
        return self._db.execute(query, (product, product_sha256)).fetchone() is not None

    def knows_product(self, product: str) -> bool:
        """See `auditor.core.books`."""
        query = "SELECT 1 FROM products WHERE name = ? LIMIT 1"
        return self._db.execute(query, (product,)).fetchone() is not None

    def add_product(self, product: str, product_sha256: bytes) -> None:
        """See `auditor.core.books`."""
        self._db.execute("INSERT OR IGNORE INTO products VALUES (?, ?)", (product, product_sha256))

    def order(self, work_order: str) -> OrderState | None:
        """See `auditor.core.books`."""
        return self._orders.get(work_order)

    def add_order(self, order: OrderState) -> None:
        """See `auditor.core.books`."""
        self._orders[order.terms.work_order] = order
        self._db.execute("INSERT INTO orders VALUES (?, ?, '')", (order.opened_index, order.terms.work_order))

    def orders(self) -> list[str]:
        """See `auditor.ports.State`."""
        return list(self._orders)

    def shift_times(self, after: datetime, by: timedelta) -> None:
        """See `auditor.core.books`."""
        for order in self._orders.values():
            if order.closed_at is not None and order.closed_at > after:
                order.closed_at -= by
        moved = (int(by.total_seconds()), seconds_of(after))
        self._db.execute("UPDATE peers SET revoked_at = revoked_at - ? WHERE revoked_at > ?", moved)
        self._db.execute("UPDATE intents SET since = since - ? WHERE since > ?", moved)
        self._peers.clear()

    def intent(self, work_order: str, number: int) -> IntentState | None:
        """See `auditor.core.books`."""
        if self._no_intents is None:
            self._no_intents = self._db.execute("SELECT 1 FROM intents LIMIT 1").fetchone() is None
        if self._no_intents:
            return None
        query = f"SELECT {_INTENT} FROM intents WHERE work_order = ? AND number = ? ORDER BY idx DESC LIMIT 1"  # noqa: S608
        row = self._db.execute(query, (work_order, number)).fetchone()
        return None if row is None else _intent(row)

    def put_intent(self, intent: IntentState) -> None:
        """See `auditor.core.books`."""
        row = (
            intent.index, intent.work_order, intent.number, intent.chip_id, intent.serial_number,
            seconds_of(intent.since), intent.resolved,
        )  # fmt: skip
        self._no_intents = False
        self._db.execute("INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def open_intents(self) -> list[IntentState]:
        """See `auditor.ports.State`."""
        query = f"SELECT {_INTENT} FROM intents WHERE NOT resolved ORDER BY idx"  # noqa: S608 (a constant)
        return [_intent(row) for row in self._db.execute(query)]


def _intent(row: tuple[Any, ...]) -> IntentState:
    index, work_order, number, chip_id, serial_number, since, resolved = row
    began = datetime.fromtimestamp(since, UTC)
    return IntentState(index, work_order, number, chip_id, serial_number, began, resolved=bool(resolved))


def seconds_of(moment: datetime) -> int:
    """Whole seconds since 1970, UTC."""
    return int(moment.timestamp())


def moment_of(seconds: int | None) -> datetime | None:
    """The aware moment; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
