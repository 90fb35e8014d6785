"""Writes many boards straight into a stopped signerd's SQLite file: the rows and entries of the real store.

    with BulkWriter(database, origin=…, start_key=…, terms=…) as writer:
        writer.write(maker.board(number) for number in range(1, 10_001))    # one transaction

`tests/integration/signerd/test_bulk_writer.py` proves that tables, entries and root are those that the store
makes of the same boards. Checkpoint and tiles are made by the store that is opened next.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from harness.bulk_boards import CLAIMS, METHOD, BulkBoard, BulkTerms, Random, Stencil, sample_of
from signerd.adapters.commit_keys import StartKey
from signerd.adapters.store.boards.certified_chips import shown
from signerd.adapters.store.boards.intents import IntentKeys
from signerd.adapters.store.tables.rows import INTENT, row_of_intent, seconds
from signerd.core.anchors import Anchor, entry_form
from signerd.core.commits import Commit
from signerd.core.entry import ID_BYTES, Entry, Issued, Stamped, encode, serial_bytes
from signerd.core.evidence.claims import parse_claims
from signerd.core.leaf import DEVICE
from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.names import FIRST, Level
from signerd.ports import Grant, IntentRequest, Record, RecordState
from signerd.program import program_version

_COMPLETED = (
    "id", *INTENT, "certificate_der", "certificate_sha256", "issued_at", "issued_index", "stamp",
    "stamp_signature", "stamped_at", "stamped_index",
)  # fmt: skip
_GRANT = ("id", "session_sha256", "record_id", "challenge", "station", "csr_sha256")
_NUMBER = 8_642_097_531_864  # stands for the place's in a stencil


def request_of(board: BulkBoard, terms: BulkTerms) -> IntentRequest:
    """What the store is asked for this board."""
    return IntentRequest(
        order=terms.order,
        chip_id=board.place.chip_id,
        spki_sha256=board.spki_sha256,
        session_sha256=board.session_sha256,
        challenge=board.challenge,
        station=terms.station,
        csr_der=board.csr_der,
        method=METHOD,
        claims=CLAIMS,
        evidence=board.evidence,
        level=Level.KEY,
        measured={},
        attester=b"",
        certificate_serial=board.place.certificate_serial,
        moment=board.place.moment,
        anchors=(Anchor.personalized(board.place.chip_id),),
    )


def grant_of(board: BulkBoard, terms: BulkTerms, record_id: int) -> Grant:
    """The session that its certificate was handed out in."""
    csr = sha256(board.csr_der).digest()
    return Grant(board.session_sha256, record_id, board.challenge, terms.station, csr)


class BulkWriter:
    """One run. Nothing else may have the database open."""

    def __init__(
        self,
        database: Path,
        *,
        origin: str,
        start_key: StartKey,
        published: int,
        terms: BulkTerms,
        random: Random = os.urandom,
    ) -> None:
        """`published`: size of the tree that is signed."""
        self._terms, self._random = terms, random
        self._origin, self._start_key, self._published = origin, start_key, published
        self._intents = IntentKeys(start_key, origin, {})
        self._db = sqlite3.connect(database, isolation_level=None)
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA cache_size = -262144")  # KiB
        self._frontier = self._tree()
        self._stencils: dict[tuple[datetime, int], tuple[Stencil, Stencil]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def write(self, boards: Iterable[BulkBoard]) -> int:
        """Adds boards in one transaction, each with its stamp; how many entries. Their places follow those
        that are taken."""
        size, root = self._frontier.size, self._frontier.root()
        (epoch,) = self._db.execute("SELECT epoch FROM head").fetchone()
        rows = _Rows(*(self._next(table) for table in ("certified_chips", "records", "grants")))
        leaves = bytearray()
        index = size
        for board in boards:
            self._board(rows, board, index)
            index += 2
        for _, leaf, _ in rows.entries:
            leaves += leaf
            self._frontier.append(leaf)
        commit = Commit(self._start_key.start, epoch, self._published, bytes(leaves))
        mac = commit.mac(self._start_key.key, self._origin)
        self._db.execute("BEGIN IMMEDIATE")
        rows.insert(self._db)
        self._db.execute(
            "UPDATE orders SET places = places + ? WHERE work_order = ?",
            (len(rows.places), self._terms.order.work_order),
        )
        self._db.execute(
            "INSERT INTO commits (size_after, start, epoch, published, leaves, mac)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (index, commit.start, epoch, self._published, commit.leaves, mac),
        )
        moved = self._db.execute(
            "UPDATE head SET size = ?, root = ? WHERE id = 1 AND size = ? AND root = ?",
            (index, self._frontier.root(), size, root),
        ).rowcount
        if moved != 1:
            raise RuntimeError("the head is not where it was: something else writes")
        self._db.execute("COMMIT")
        return index - size

    def _tree(self) -> Frontier:
        frontier = Frontier()
        with closing(self._db.execute("SELECT leaf_hash FROM entries ORDER BY entry_index")) as leaves:
            for (leaf,) in leaves:
                frontier.append(leaf)
        return frontier

    def _next(self, table: str) -> int:
        (last,) = self._db.execute(f"SELECT ifnull(max(id), 0) FROM {table}").fetchone()
        return int(last) + 1

    def _board(self, rows: _Rows, board: BulkBoard, index: int) -> None:
        place, terms = board.place, self._terms
        chip, record_id = rows.chip + len(rows.chips), rows.record + len(rows.records)
        request = request_of(board, terms)
        record = _intent(request, board)
        row = row_of_intent(record, chip, None, self._intents.columns(record))
        digest = sha256(board.certificate_der).digest()
        at = seconds(place.moment)
        row |= {
            "id": record_id, "state": RecordState.STAMPED.value, "certificate_der": board.certificate_der,
            "certificate_sha256": digest, "issued_at": at, "issued_index": index, "stamp": board.stamp,
            "stamp_signature": board.stamp_signature, "stamped_at": at, "stamped_index": index + 1,
        }  # fmt: skip
        rows.chips.append((chip, place.chip_id, place.serial_number))
        rows.anchors += [(*anchor, chip) for anchor in shown(request)]
        rows.places.append((place.work_order, place.number, chip))
        rows.records.append(tuple(row[name] for name in _COMPLETED))
        grant = grant_of(board, terms, record_id)
        rows.grants.append(
            (rows.grant + len(rows.grants), grant.session_sha256, record_id, grant.challenge, grant.station,
             grant.csr_sha256)
        )  # fmt: skip
        for number, data in enumerate(self._entries(board, digest), index):
            rows.entries.append((number, leaf_hash(data), data))

    def _entries(self, board: BulkBoard, digest: bytes) -> tuple[bytes, bytes]:
        place = board.place
        of_issued, of_stamped = self._stencils_of(board)
        names = place.chip_id.encode(), place.serial_number.encode()
        certificate = digest.hex().encode()
        issued = of_issued.filled(
            self._random(ID_BYTES).hex().encode(),
            *_unique(board, certificate),
            *names,
            str(place.number).encode(),
        )
        stamped = of_stamped.filled(
            self._random(ID_BYTES).hex().encode(),
            certificate,
            sha256(board.stamp).hexdigest().encode(),
            *names,
        )
        return issued, stamped

    def _stencils_of(self, board: BulkBoard) -> tuple[Stencil, Stencil]:
        known = (board.place.moment, len(board.place.serial_number))
        if known not in self._stencils:
            self._stencils[known] = self._cut(board)
        return self._stencils[known]

    def _cut(self, board: BulkBoard) -> tuple[Stencil, Stencil]:
        """Of entries as signerd encodes them. Their time is the place's."""
        sample = replace(board, place=replace(sample_of(board.place), number=_NUMBER))
        ids = os.urandom(ID_BYTES), os.urandom(ID_BYTES)
        digest = sha256(board.certificate_der).digest()
        certificate, stamp = digest.hex().encode(), sha256(board.stamp).hexdigest().encode()
        names = sample.place.chip_id.encode(), sample.place.serial_number.encode()
        issued = encode(_issued(sample, digest, self._terms.station), ids[0])
        stamped = encode(_stamped(sample, digest, self._terms.station), ids[1])
        of_issued = Stencil(
            issued, ids[0].hex().encode(), *_unique(board, certificate), *names, str(_NUMBER).encode()
        )
        return of_issued, Stencil(stamped, ids[1].hex().encode(), certificate, stamp, *names)


class _Rows:
    """Of one transaction; `chip`, `record` and `grant` are the first ids."""

    def __init__(self, chip: int, record: int, grant: int) -> None:
        self.chip, self.record, self.grant = chip, record, grant
        self.chips: list[tuple[Any, ...]] = []
        self.anchors: list[tuple[Any, ...]] = []
        self.places: list[tuple[Any, ...]] = []
        self.records: list[tuple[Any, ...]] = []
        self.grants: list[tuple[Any, ...]] = []
        self.entries: list[tuple[int, bytes, bytes]] = []

    def insert(self, db: sqlite3.Connection) -> None:
        """All of them, what is referred to first."""
        for table, columns, rows in (
            ("certified_chips", ("id", "chip_id", "serial_number"), self.chips),
            ("anchors", ("kind", "issuer", "value", "chip"), self.anchors),
            ("places", ("work_order", "number", "chip"), self.places),
            ("records", _COMPLETED, self.records),
            ("grants", _GRANT, self.grants),
            ("entries", ("entry_index", "leaf_hash", "data"), self.entries),
        ):
            marks = ", ".join("?" * len(columns))
            db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _intent(request: IntentRequest, board: BulkBoard) -> Record:
    return Record(
        record_id=0, place=board.place, state=RecordState.INTENT, challenge=request.challenge,
        station=request.station, spki_sha256=request.spki_sha256, csr_der=request.csr_der,
        method=request.method, claims=request.claims, evidence=request.evidence, level=request.level,
        measured=request.measured, attester=request.attester, anchors=request.anchors,
        settings=board.settings, tbs=board.tbs, certificate_der=b"", issued_at=None, issued_index=None,
        stamp=None, stamp_signature=None, stamped_at=None, stamped_index=None, revoked_at=None,
        revoked_index=None, superseded=False, issuer_id=request.issuer_id,
    )  # fmt: skip


def _unique(board: BulkBoard, certificate: bytes) -> Iterator[bytes]:
    """Hexadecimal values of an `issued` entry that no other board's has."""
    yield certificate
    yield serial_bytes(board.place.certificate_serial).hex().encode()
    yield board.spki_sha256.hex().encode()
    for data in (board.csr_der, board.evidence, board.settings):
        yield sha256(data).hexdigest().encode()
    yield board.challenge.hex().encode()


def _issued(board: BulkBoard, digest: bytes, station: str) -> Entry:
    place = board.place
    return Issued(
        time=place.moment, work_order=place.work_order, product=place.product, number=place.number,
        chip_id=place.chip_id, serial_number=place.serial_number,
        certificate_serial=serial_bytes(place.certificate_serial), certificate_sha256=digest,
        spki_sha256=board.spki_sha256, csr_sha256=sha256(board.csr_der).digest(),
        settings_sha256=sha256(board.settings).digest(), level=Level.KEY.label, method=METHOD,
        claims=parse_claims(CLAIMS), measured={}, attester_sha256=None,
        evidence_sha256=sha256(board.evidence).digest(), challenge=board.challenge, station=station,
        supersedes=None, anchors=entry_form((Anchor.personalized(place.chip_id),)), certificate_name=DEVICE,
        versions={"signerd": program_version(), "agent": None}, issuer=FIRST,
    )  # fmt: skip


def _stamped(board: BulkBoard, digest: bytes, station: str) -> Entry:
    place = board.place
    return Stamped(
        time=place.moment, work_order=place.work_order, chip_id=place.chip_id,
        serial_number=place.serial_number, certificate_sha256=digest,
        stamp_sha256=sha256(board.stamp).digest(), station=station,
    )  # fmt: skip
