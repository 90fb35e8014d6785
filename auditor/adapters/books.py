"""The books (`auditor.core.books`) in SQLite. `state` adds what a run keeps for the next one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from auditor.core.anchors import Anchor
from auditor.core.books import Basis, CertificateState, IntentState, OrderState, PeerState, Totals
from auditor.core.counting import mark
from auditor.core.entry import AdministratorsSet, Entry, Issued, KeysCommitted, LogOpened, parse_entry
from auditor.core.issuers import KINDS, Known, replay

CERTIFICATE = (
    "idx, sha256, serial, spki, challenge, work_order, number, chip_id, serial_number,"
    " stamped_index, revoked_index, superseded_by, counted, method, chip"
)
_INTENT = "idx, work_order, number, chip_id, serial_number, since, resolved"
_RELATED = 16


class SqliteBooks:
    """The part of `SqliteState` that entries are checked against."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.totals = Totals()
        self.opened: LogOpened | None = None
        self._orders: dict[str, OrderState] = {}
        self._peers: dict[str, PeerState] = {}

    def add_id(self, entry_id: bytes, index: int) -> int | None:
        """See `auditor.core.books`."""
        added = self._db.execute("INSERT OR IGNORE INTO entry_ids VALUES (?, ?)", (entry_id, index))
        if added.rowcount == 1:
            return None
        row = self._db.execute("SELECT idx FROM entry_ids WHERE id = ?", (entry_id,)).fetchone()
        return int(row[0])

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

    def owners(self, anchors: Sequence[Anchor]) -> dict[int, int]:
        """See `auditor.core.books`."""
        query = "SELECT chip, idx FROM anchors WHERE kind = ? AND issuer = ? AND value = ?"
        found: dict[int, int] = {}
        for one in anchors:
            for chip, index in self._db.execute(query, (one.kind, one.issuer, one.value)):
                found.setdefault(chip, index)
        return found

    def add_anchors(self, anchors: Sequence[Anchor], chip: int, index: int) -> None:
        """See `auditor.core.books`."""
        rows = [(one.kind, one.issuer, one.value, chip, index) for one in anchors]
        self._db.executemany("INSERT OR IGNORE INTO anchors VALUES (?, ?, ?, ?, ?)", rows)

    def has_anchors(self, chip: int) -> bool:
        """See `auditor.core.books`."""
        query = "SELECT 1 FROM anchors WHERE chip = ? LIMIT 1"
        return self._db.execute(query, (chip,)).fetchone() is not None

    def derive_anchors(self, anchors: Sequence[Anchor], certificate: CertificateState) -> None:
        """See `auditor.ports.State`."""
        rows = [(one.kind, one.issuer, one.value, certificate.chip, certificate.index) for one in anchors]
        self._db.executemany("INSERT OR IGNORE INTO derived_anchors VALUES (?, ?, ?, ?, ?)", rows)

    def chips_that_are_one(self) -> list[tuple[int, int, Anchor]]:
        """See `auditor.ports.State`."""
        query = (
            "SELECT min(o.idx), d.idx, d.kind, d.issuer, d.value FROM derived_anchors d JOIN"
            " (SELECT * FROM derived_anchors UNION ALL SELECT * FROM anchors) o"
            " ON o.kind = d.kind AND o.issuer = d.issuer AND o.value = d.value AND o.chip < d.chip"
            " GROUP BY d.chip ORDER BY d.idx"
        )
        return [(row[0], row[1], Anchor(*row[2:])) for row in self._db.execute(query)]

    def chips_new_again(self) -> list[tuple[int, int, Anchor]]:
        """See `auditor.ports.State`."""
        query = (
            "SELECT min(d.idx), o.idx, o.kind, o.issuer, o.value FROM derived_anchors d CROSS JOIN anchors o"
            " ON o.kind = d.kind AND o.issuer = d.issuer AND o.value = d.value"  # few or none of form 1
            " WHERE o.chip NOT IN (SELECT chip FROM derived_anchors) GROUP BY o.chip ORDER BY o.idx"
        )
        return [(row[0], row[1], Anchor(*row[2:])) for row in self._db.execute(query)]

    def related(self, issued: Issued, chip: int) -> list[CertificateState]:
        """See `auditor.core.books`."""
        query = (
            f"SELECT {CERTIFICATE} FROM certificates WHERE chip = ? OR serial_number = ?"  # noqa: S608
            " OR (work_order = ? AND number = ?) OR spki = ? OR sha256 = ? OR serial = ? OR challenge = ?"
            f" ORDER BY idx DESC LIMIT {_RELATED}"
        )
        asked = (
            chip, issued.serial_number, issued.work_order, issued.number, issued.spki_sha256,
            issued.certificate_sha256, issued.certificate_serial, issued.challenge,
        )  # fmt: skip
        return [CertificateState(*row) for row in self._db.execute(query, asked)]

    def certificate(self, certificate_sha256: bytes) -> CertificateState | None:
        """See `auditor.core.books`."""
        return self._one_certificate("sha256 = ?", certificate_sha256)

    def certificate_at(self, index: int) -> CertificateState | None:
        """See `auditor.ports.State`."""
        return self._one_certificate("idx = ?", index) if index < 2**63 else None

    def certificates_of(self, *, serial_number: str = "", work_order: str = "") -> Iterator[CertificateState]:
        """See `auditor.ports.State`."""
        query = (
            f"SELECT {CERTIFICATE} FROM certificates"  # noqa: S608 (a constant)
            " WHERE (?1 = '' OR serial_number = ?1) AND (?2 = '' OR work_order = ?2) ORDER BY idx"
        )
        for row in self._db.execute(query, (serial_number, work_order)):
            yield CertificateState(*row)

    def _one_certificate(
        self, where: str, value: bytes | int | str, *, newest: bool = False
    ) -> CertificateState | None:
        order = "idx DESC" if newest else "idx"
        query = f"SELECT {CERTIFICATE} FROM certificates WHERE {where} ORDER BY {order} LIMIT 1"  # noqa: S608
        row = self._db.execute(query, (value,)).fetchone()
        return None if row is None else CertificateState(*row)

    def newest_named(self, chip_id: str) -> CertificateState | None:
        """See `auditor.core.books`."""
        return self._one_certificate("chip_id = ?", chip_id, newest=True)

    def newest_numbered(self, serial_number: str) -> CertificateState | None:
        """See `auditor.core.books`."""
        return self._one_certificate("serial_number = ?", serial_number, newest=True)

    def other_chip_of(self, issued: Issued, chip: int) -> CertificateState | None:
        """See `auditor.core.books`."""
        query = (
            f"SELECT {CERTIFICATE} FROM certificates WHERE attester = ? AND chip != ?"  # noqa: S608
            " ORDER BY idx LIMIT 1"
        )
        asked = (issued.attester_sha256, chip)
        row = self._db.execute(query, asked).fetchone()
        return None if row is None else CertificateState(*row)

    def add_certificate(self, index: int, issued: Issued, chip: int) -> None:
        """See `auditor.core.books`."""
        row = (
            index, issued.certificate_sha256, issued.certificate_serial, issued.spki_sha256, issued.challenge,
            issued.work_order, issued.number, issued.chip_id, issued.serial_number, mark(issued),
            issued.method, Basis.UNCHECKED.value, issued.attester_sha256, chip,
        )  # fmt: skip
        query = (
            "INSERT INTO certificates"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, ?, 1, ?, ?, '', ?, ?)"
        )
        self._db.execute(query, row)

    def stamped(self, certificate: CertificateState, index: int) -> None:
        """See `auditor.core.books`."""
        query = "UPDATE certificates SET stamped_index = ?, unchecked = 1 WHERE idx = ?"
        self._db.execute(query, (index, certificate.index))

    def revoked(self, certificate: CertificateState, index: int, superseded_by: bytes | None) -> None:
        """See `auditor.core.books`."""
        query = "UPDATE certificates SET revoked_index = ?, superseded_by = ?, unchecked = 1 WHERE idx = ?"
        self._db.execute(query, (index, superseded_by, certificate.index))

    def add_weak_key(self, index: int, certificate_sha256: bytes) -> None:
        """See `auditor.core.books`."""
        self._db.execute("INSERT OR IGNORE INTO weak_keys VALUES (?, ?)", (certificate_sha256, index))

    def weak_keys(self) -> list[tuple[int, CertificateState]]:
        """See `auditor.ports.State`."""
        columns = ", ".join(f"c.{name.strip()}" for name in CERTIFICATE.split(","))
        query = (
            f"SELECT w.idx, {columns} FROM weak_keys w JOIN certificates c ON c.sha256 = w.sha256"  # noqa: S608
            " WHERE c.revoked_index IS NULL ORDER BY w.idx, c.idx"
        )
        return [(row[0], CertificateState(*row[1:])) for row in self._db.execute(query)]

    def put_basis(self, index: int, basis: Basis, rests_on: str) -> None:
        """See `auditor.ports.State`."""
        query = "UPDATE certificates SET basis = ?, rests_on = ? WHERE idx = ?"
        self._db.execute(query, (basis.value, rests_on, index))

    def bases(self) -> dict[str, dict[Basis, int]]:
        """See `auditor.ports.State`."""
        found: dict[str, dict[Basis, int]] = {}
        query = "SELECT method, basis, count(*) FROM certificates GROUP BY method, basis ORDER BY method"
        for method, basis, count in self._db.execute(query):
            found.setdefault(method, {})[Basis(basis)] = count
        return found

    def chips_resting_on(self) -> dict[str, int]:
        """See `auditor.ports.State`."""
        query = "SELECT rests_on, count(DISTINCT chip_id) FROM certificates WHERE rests_on != '' GROUP BY 1"
        return dict(self._db.execute(query))

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
        query = f"SELECT {_INTENT} FROM intents WHERE work_order = ? AND number = ? ORDER BY idx DESC LIMIT 1"  # noqa: S608
        row = self._db.execute(query, (work_order, number)).fetchone()
        return None if row is None else _intent(row)

    def put_intent(self, intent: IntentState) -> None:
        """See `auditor.core.books`."""
        row = (
            intent.index, intent.work_order, intent.number, intent.chip_id, intent.serial_number,
            seconds_of(intent.since), intent.resolved,
        )  # fmt: skip
        self._db.execute("INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def open_intents(self) -> list[IntentState]:
        """See `auditor.ports.State`."""
        query = f"SELECT {_INTENT} FROM intents WHERE NOT resolved ORDER BY idx"  # noqa: S608 (a constant)
        return [_intent(row) for row in self._db.execute(query)]

    def missing_numbers(self, work_order: str, highest: int, limit: int) -> list[int]:
        """See `auditor.ports.State`."""
        missing: list[int] = []
        query = (
            "SELECT DISTINCT number FROM certificates WHERE work_order = ? AND number <= ? ORDER BY number"
        )
        expected = 1
        for (number,) in self._db.execute(query, (work_order, highest)):
            missing += range(expected, min(number, expected + limit - len(missing)))
            expected = number + 1
        return missing


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
