"""The boards' part of the books in SQLite: certificates, and what tells one from another.

What must be unique stands in `Marks`, which answer "perhaps in this entry". Each such answer is held against
the row, or against the entry itself, before it counts. So two values that share a mark by chance cost the
look at an entry, and are never taken for one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from auditor.adapters.marks import Kind, Marks
from auditor.adapters.tallies import Tallies
from auditor.adapters.words import Words
from auditor.core.anchors import Anchor
from auditor.core.books import Basis, CertificateState
from auditor.core.counting import mark
from auditor.core.entry import Issued, RefusedCall, Stamped, reread_entry
from auditor.core.issuance import shown_anchors
from auditor.errors import CheckFailed, ConfigError

_COLUMNS = (
    "idx, sha256, work_order, number, chip_id, serial_number, chip, anchored, issued_at, station, kind,"
    " stamped_index, stamped_at, stamped_by, revoked_index, basis, unchecked, round"
)
_NAMES = tuple(name.strip() for name in _COLUMNS.split(","))
_RELATED = 16
_CACHED = 4_096  # entries of boards, as values
_Row = list[Any]
_IDX, _SHA256, _ORDER, _NUMBER, _CHIP_ID, _SERIAL, _CHIP, _ANCHORED = range(8)
_ISSUED_AT, _STATION, _KIND, _STAMPED, _STAMPED_AT, _STAMPED_BY, _REVOKED, _BASIS, _UNCHECKED = range(8, 17)


class CertificateBooks:
    """The part of `auditor.core.books.Books` that is about boards."""

    def __init__(self, connection: sqlite3.Connection, marks: Marks) -> None:
        self._db = connection
        self._marks = marks
        self._words = Words(connection)
        self.read_entry: Callable[[int], bytes] = _no_source
        self._tallies = Tallies(connection)
        self._new: dict[int, _Row] = {}  # rows of this transaction, not written yet
        self._judged: list[tuple[int, int, int]] = []
        self._entries: dict[int, Issued] = {}
        self._free: tuple[Sequence[Anchor], list[Anchor]] = (
            (),
            [],
        )  # anchors asked for last, and owned by none

    # One transaction

    def write_rows(self) -> None:
        """Everything that is still in memory."""
        places = ", ".join("?" * len(_NAMES))
        self._db.executemany(f"INSERT INTO certificates VALUES ({places})", self._new.values())  # noqa: S608
        self._new.clear()
        query = "UPDATE certificates SET basis = ?, unchecked = 0, round = ? WHERE idx = ?"
        self._db.executemany(query, self._judged)
        self._judged.clear()
        self._tallies.write()

    def forget_rows(self) -> None:
        """Everything that is in memory alone."""
        self._new.clear()
        self._judged.clear()
        self._entries.clear()
        self._words.forget()
        self._tallies.forget()
        self._free = ((), [])

    # Looking up

    def add_id(self, entry_id: bytes, index: int) -> int | None:
        """See `auditor.core.books`."""
        return self._add_member(Kind.ENTRY, "id", entry_id, index)

    def add_run(self, run: bytes, index: int) -> int | None:
        """See `auditor.core.books`."""
        return self._add_member(Kind.RUN, "run", run, index)

    def _add_member(self, kind: Kind, member: str, value: bytes, index: int) -> int | None:
        """The index of the entry whose member says this value already. Where none does, it is noted."""
        for earlier in self._marks.find(kind, value):
            if json.loads(self.read_entry(earlier)).get(member) == value.hex():
                return earlier
        self._marks.add(kind, value, index)
        return None

    def issued(self, index: int) -> Issued:
        """See `auditor.core.books`. Raises ConfigError: the state is damaged."""
        entry = self._entries.get(index)
        if entry is None:
            try:
                found = reread_entry(self.read_entry(index))
            except CheckFailed as error:
                raise _damaged() from error
            if not isinstance(found, Issued):
                raise _damaged()
            entry = found
            self._remember(index, entry)
        return entry

    def _remember(self, index: int, entry: Issued) -> None:
        if len(self._entries) >= _CACHED:
            del self._entries[next(iter(self._entries))]
        self._entries[index] = entry

    def _row(self, index: int) -> _Row | None:
        row = self._new.get(index)
        if row is not None:
            return row
        query = f"SELECT {_COLUMNS} FROM certificates WHERE idx = ?"  # noqa: S608 (a constant)
        found = self._db.execute(query, (index,)).fetchone()
        return None if found is None else list(found)

    def _state(self, row: Sequence[Any]) -> CertificateState:
        kind = self._words.value(row[_KIND])
        chip = row[_IDX] if row[_CHIP] is None else row[_CHIP]
        return CertificateState(
            row[_IDX], row[_SHA256], self._words.word(row[_ORDER]), row[_NUMBER], row[_CHIP_ID], row[_SERIAL],
            row[_STAMPED], row[_REVOKED], kind["counted"], kind["method"], chip,
        )  # fmt: skip

    def _rows(self, kind: Kind, value: bytes, holds: Callable[[_Row], bool]) -> Iterator[_Row]:
        """The rows that have this value, newest first."""
        for index in reversed(self._marks.find(kind, value)):
            row = self._row(index)
            if row is not None and holds(row):
                yield row

    def _by_entry(self, kind: Kind, value: bytes, holds: Callable[[Issued], bool]) -> Iterator[_Row]:
        return self._rows(kind, value, lambda row: holds(self.issued(row[_IDX])))

    def related(self, issued: Issued, chip: int) -> list[CertificateState]:
        """See `auditor.core.books`."""
        order = issued.work_order
        found: dict[int, _Row] = {}
        place = _place(issued.work_order, issued.number)
        for rows in (
            self._of_chip(chip),
            self._rows(
                Kind.SERIAL_NUMBER, issued.serial_number.encode(), _has(_SERIAL, issued.serial_number)
            ),
            self._rows(
                Kind.PLACE,
                place,
                lambda row: row[_NUMBER] == issued.number and self._words.word(row[_ORDER]) == order,
            ),
            self._by_entry(Kind.KEY, issued.spki_sha256, lambda one: one.spki_sha256 == issued.spki_sha256),
            self._rows(Kind.CERTIFICATE, issued.certificate_sha256, _has(_SHA256, issued.certificate_sha256)),
            self._by_entry(
                Kind.SERIAL,
                issued.certificate_serial,
                lambda one: one.certificate_serial == issued.certificate_serial,
            ),
            self._by_entry(Kind.CHALLENGE, issued.challenge, lambda one: one.challenge == issued.challenge),
        ):
            for count, row in enumerate(rows, 1):
                found[row[_IDX]] = row
                if count == _RELATED:
                    break
        return [self._state(found[index]) for index in sorted(found, reverse=True)[:_RELATED]]

    def _of_chip(self, chip: int) -> Iterator[_Row]:
        yield from self._rows(Kind.CHIP, _number(chip), lambda row: row[_CHIP] == chip)
        first = self._row(chip)
        if first is not None and first[_CHIP] is None:
            yield first

    def certificate(self, certificate_sha256: bytes) -> CertificateState | None:
        """See `auditor.core.books`."""
        rows = list(self._rows(Kind.CERTIFICATE, certificate_sha256, _has(_SHA256, certificate_sha256)))
        return self._state(rows[-1]) if rows else None

    def certificate_at(self, index: int) -> CertificateState | None:
        """See `auditor.ports.State`."""
        row = self._row(index) if index < 2**63 else None
        return None if row is None else self._state(row)

    def certificates_of(self, *, serial_number: str = "", work_order: str = "") -> Iterator[CertificateState]:
        """See `auditor.ports.State`."""
        if serial_number:
            rows = self._rows(Kind.SERIAL_NUMBER, serial_number.encode(), _has(_SERIAL, serial_number))
            for row in sorted(rows, key=lambda each: int(each[_IDX])):
                yield self._state(row)
            return
        order = self._words.known(work_order) if work_order else 0
        where = "work_order = ?" if work_order else "? = 0"
        query = f"SELECT {_COLUMNS} FROM certificates WHERE {where} ORDER BY idx"  # noqa: S608
        for found in self._db.execute(query, (order,)):
            yield self._state(found)

    def newest_named(self, chip_id: str) -> CertificateState | None:
        """See `auditor.core.books`."""
        rows = self._rows(Kind.CHIP_ID, chip_id.encode(), _has(_CHIP_ID, chip_id))
        row = next(rows, None)
        return None if row is None else self._state(row)

    def newest_numbered(self, serial_number: str) -> CertificateState | None:
        """See `auditor.core.books`."""
        rows = self._rows(Kind.SERIAL_NUMBER, serial_number.encode(), _has(_SERIAL, serial_number))
        row = next(rows, None)
        return None if row is None else self._state(row)

    def other_chip_of(self, issued: Issued, chip: int) -> CertificateState | None:
        """See `auditor.core.books`."""
        attester = issued.attester_sha256 or b""
        for index in self._marks.find(Kind.ATTESTER, attester):
            row = self._row(index)
            if row is None or (index if row[_CHIP] is None else row[_CHIP]) == chip:
                continue
            if self.issued(index).attester_sha256 == attester:
                return self._state(row)
        return None

    def attested_by(self, attester_sha256: bytes) -> Iterator[CertificateState]:
        """Certificates whose evidence this attestation key signed, newest first, as their entries say, which
        are read anew. Raises Rejected, Unreachable."""
        rows = self._by_entry(
            Kind.ATTESTER, attester_sha256, lambda one: one.attester_sha256 == attester_sha256
        )
        for row in rows:
            yield self._state(row)

    # Chips

    def owners(self, anchors: Sequence[Anchor]) -> dict[int, int]:
        """See `auditor.core.books`."""
        found: dict[int, int] = {}
        free: list[Anchor] = []
        for one in anchors:
            owner = self._owner(one)
            if owner is None:
                free.append(one)
            else:
                found.setdefault(*owner)
        self._free = (anchors, free)
        return found

    def _owner(self, anchor: Anchor) -> tuple[int, int] | None:
        """Its chip, and the index of the entry that said so."""
        for index in self._marks.find(Kind.ANCHOR, _anchor(anchor)):
            row = self._row(index)  # none: the mark is met by chance, by an entry of another type
            if row is not None and anchor in shown_anchors(self.issued(index)):
                return index if row[_CHIP] is None else row[_CHIP], index
        return None

    def add_anchors(self, anchors: Sequence[Anchor], chip: int, index: int) -> None:  # noqa: ARG002
        """See `auditor.core.books`. The certificate of this index was added before."""
        asked, free = self._free
        if asked != anchors:
            free = [one for one in anchors if self._owner(one) is None]
        self._free = ((), [])
        for one in free:
            self._marks.add(Kind.ANCHOR, _anchor(one), index)
        if free:
            self._new[index][_ANCHORED] = 1

    def has_anchors(self, chip: int) -> bool:
        """See `auditor.core.books`."""
        return any(row[_ANCHORED] for row in self._of_chip(chip))

    def derive_anchors(self, anchors: Sequence[Anchor], certificate: CertificateState) -> None:
        """See `auditor.ports.State`."""
        rows = [(one.kind, one.issuer, one.value, certificate.chip, certificate.index) for one in anchors]
        self._db.executemany("INSERT OR IGNORE INTO derived_anchors VALUES (?, ?, ?, ?, ?)", rows)

    def _derived(self) -> Iterator[tuple[Anchor, int, int, list[tuple[int, int]]]]:
        """Anchors that evidence of form 1 proves: with chip, entry, and all chips and entries that have
        them."""
        query = "SELECT kind, issuer, value, chip, idx FROM derived_anchors"
        known: dict[Anchor, list[tuple[int, int]]] = {}
        for *parts, chip, index in self._db.execute(query):
            known.setdefault(Anchor(*parts), []).append((chip, index))
        for anchor, had in known.items():
            owner = self._owner(anchor)
            everyone = had if owner is None else [*had, owner]
            for chip, index in had:
                yield anchor, chip, index, everyone

    def chips_that_are_one(self) -> list[tuple[int, int, Anchor]]:
        """See `auditor.ports.State`."""
        found: dict[int, tuple[int, int, Anchor]] = {}
        for anchor, chip, index, everyone in self._derived():
            earlier = [other for owner, other in everyone if owner < chip]
            if earlier:
                found[chip] = min(found.get(chip, (2**63, 0, anchor)), (min(earlier), index, anchor))
        return sorted(found.values(), key=lambda each: each[1])

    def chips_new_again(self) -> list[tuple[int, int, Anchor]]:
        """See `auditor.ports.State`."""
        of_form_1 = {chip for (chip,) in self._db.execute("SELECT DISTINCT chip FROM derived_anchors")}
        found: dict[int, tuple[int, int, Anchor]] = {}
        for anchor, _, index, _everyone in self._derived():
            owner = self._owner(anchor)
            if owner is not None and owner[0] not in of_form_1:
                found[owner[0]] = min(found.get(owner[0], (2**63, 0, anchor)), (index, owner[1], anchor))
        return sorted(found.values(), key=lambda each: each[1])

    # Writing

    def add_certificate(self, index: int, issued: Issued, chip: int) -> None:
        """See `auditor.core.books`."""
        values = {
            "counted": mark(issued), "method": issued.method, "level": issued.level,
            "product": issued.product, "name": issued.certificate_name, "measured": dict(issued.measured),
            "firmware": issued.claims.versions, "locks": dict(issued.claims.security_state),
        }  # fmt: skip
        word = self._words.number
        self._new[index] = [
            index, issued.certificate_sha256, word(issued.work_order), issued.number, issued.chip_id,
            issued.serial_number, None if chip == index else chip, 0, int(issued.time.timestamp()),
            word(issued.station), word(json.dumps(values, sort_keys=True)),
            None, None, None, None, 0, 1, 0,
        ]  # fmt: skip
        self._count(self._new[index], "issued")
        self._remember(index, issued)
        add = self._marks.add
        add(Kind.CERTIFICATE, issued.certificate_sha256, index)
        add(Kind.SERIAL, issued.certificate_serial, index)
        add(Kind.KEY, issued.spki_sha256, index)
        add(Kind.CHALLENGE, issued.challenge, index)
        add(Kind.PLACE, _place(issued.work_order, issued.number), index)
        add(Kind.CHIP_ID, issued.chip_id.encode(), index)
        add(Kind.SERIAL_NUMBER, issued.serial_number.encode(), index)
        if chip != index:
            add(Kind.CHIP, _number(chip), index)
        if issued.attester_sha256 is not None:
            add(Kind.ATTESTER, issued.attester_sha256, index)

    def stamped(self, certificate: CertificateState, index: int, entry: Stamped) -> None:
        """See `auditor.core.books`."""
        row = self._new.get(certificate.index)
        said = (index, int(entry.time.timestamp()), self._words.number(entry.station))
        issued = self._known_row(certificate.index)
        self._count(issued, "stamped")
        self._tallies.add(said[2], said[1], issued[_ORDER], issued[_KIND], "stamps")
        if row is not None:
            row[_STAMPED], row[_STAMPED_AT], row[_STAMPED_BY] = said
            return
        query = (
            "UPDATE certificates SET stamped_index = ?, stamped_at = ?, stamped_by = ?, unchecked = 1"
            " WHERE idx = ?"
        )
        self._db.execute(query, (*said, certificate.index))

    def revoked(self, certificate: CertificateState, index: int) -> None:
        """See `auditor.core.books`."""
        row = self._new.get(certificate.index)
        self._count(self._known_row(certificate.index), "revoked")
        if row is not None:
            row[_REVOKED] = index
            return
        query = "UPDATE certificates SET revoked_index = ?, unchecked = 1 WHERE idx = ?"
        self._db.execute(query, (index, certificate.index))

    def _known_row(self, index: int) -> _Row:
        row = self._row(index)
        if row is None:
            raise _damaged()
        return row

    def _count(self, row: _Row, what: str) -> None:
        """Under the station that asked for the certificate, and its day."""
        self._tallies.add(row[_STATION], row[_ISSUED_AT], row[_ORDER], row[_KIND], what)

    def add_refusal(self, index: int, entry: RefusedCall) -> None:
        """See `auditor.core.books`."""
        word, at = self._words.number, int(entry.time.timestamp())
        peer = 0 if entry.peer is None else word(entry.peer)
        order = 0 if entry.work_order is None else word(entry.work_order)
        code = word(entry.code)
        self._tallies.refuse(peer, at, order, code, entry.count)
        if entry.chip_id is not None:
            row = (entry.chip_id, index, at, peer, order, code, entry.count)
            self._db.execute("INSERT INTO refused_chips VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    # Records

    def unchecked(self, after: int, limit: int) -> list[CertificateState]:
        """See `auditor.ports.State`."""
        self.write_rows()
        query = f"SELECT {_COLUMNS} FROM certificates WHERE unchecked = 1 AND idx > ? ORDER BY idx LIMIT ?"  # noqa: S608
        return [self._state(row) for row in self._db.execute(query, (after, limit))]

    def judged(self, index: int, basis: Basis, rests_on: str, round_: int) -> None:
        """See `auditor.ports.State`."""
        self._judged.append((self._words.number(f"{basis.value} {rests_on}"), round_, index))

    def unseen(self, below: int, round_: int, limit: int) -> list[CertificateState]:
        """See `auditor.ports.State`."""
        self.write_rows()
        query = f"SELECT {_COLUMNS} FROM certificates WHERE idx < ? AND round != ? ORDER BY idx LIMIT ?"  # noqa: S608
        return [self._state(row) for row in self._db.execute(query, (below, round_, limit))]

    def bases(self) -> dict[str, dict[Basis, int]]:
        """See `auditor.ports.State`."""
        found: dict[str, dict[Basis, int]] = {}
        for kind, number, count in self._db.execute(
            "SELECT kind, basis, count(*) FROM certificates GROUP BY kind, basis"
        ):
            method = self._words.value(kind)["method"]
            basis = self._basis(number)[0]
            counts = found.setdefault(method, {})
            counts[basis] = counts.get(basis, 0) + count
        return dict(sorted(found.items()))

    def _basis(self, number: int) -> tuple[Basis, str]:
        if number == 0:
            return Basis.UNCHECKED, ""
        basis, _, rests_on = self._words.word(number).partition(" ")
        return Basis(basis), rests_on

    def chips_resting_on(self, prefixes: tuple[str, ...]) -> dict[str, int]:
        """See `auditor.ports.State`."""
        found: dict[str, int] = {}
        numbers = self._db.execute("SELECT DISTINCT basis FROM certificates WHERE basis != 0").fetchall()
        by_name: dict[str, list[int]] = {}
        for (number,) in numbers:
            rests_on = self._basis(number)[1]
            if rests_on.startswith(prefixes):
                by_name.setdefault(rests_on, []).append(number)
        for name, those in by_name.items():
            marks = ", ".join("?" * len(those))
            query = f"SELECT count(DISTINCT chip_id) FROM certificates WHERE basis IN ({marks})"  # noqa: S608
            (found[name],) = self._db.execute(query, those).fetchone()
        return found

    def missing_numbers(self, work_order: str, highest: int, limit: int) -> list[int]:
        """See `auditor.ports.State`."""
        missing: list[int] = []
        query = (
            "SELECT DISTINCT number FROM certificates WHERE work_order = ? AND number <= ? ORDER BY number"
        )
        expected = 1
        for (number,) in self._db.execute(query, (self._words.known(work_order), highest)):
            missing += range(expected, min(number, expected + limit - len(missing)))
            expected = number + 1
        return missing

    def add_weak_key(self, index: int, certificate_sha256: bytes) -> None:
        """See `auditor.core.books`."""
        self._db.execute("INSERT OR IGNORE INTO weak_keys VALUES (?, ?)", (certificate_sha256, index))

    def weak_keys(self) -> list[tuple[int, CertificateState]]:
        """See `auditor.ports.State`."""
        found = []
        for digest, index in self._db.execute("SELECT sha256, idx FROM weak_keys ORDER BY idx"):
            rows: Iterable[_Row] = self._rows(Kind.CERTIFICATE, digest, _has(_SHA256, digest))
            found += [(index, self._state(row)) for row in rows if row[_REVOKED] is None]
        return sorted(found, key=lambda each: (each[0], each[1].index))


def _has(column: int, value: object) -> Callable[[_Row], bool]:
    return lambda row: row[column] == value


def _place(work_order: str, number: int) -> bytes:
    return f"{work_order} {number}".encode()


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _anchor(anchor: Anchor) -> bytes:
    return f"{anchor.kind}\n{anchor.issuer}\n{anchor.value}".encode()


def _damaged() -> ConfigError:
    return ConfigError("the state is damaged: move it away and verify anew")


def _no_source(index: int) -> bytes:
    raise ConfigError(f"entry {index} is not kept: say where the log is, with --config or --source")
