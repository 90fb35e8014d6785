"""Questions about chips: on several orders, refused before they were certified, and against a list."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from auditor.adapters.marks import Kind, Marks, RunMissing
from auditor.adapters.questions.reading import Reading, Rows, moment_text
from auditor.core.questions.chip_list import MAX_LINE, listed
from auditor.core.questions.kinds import Kinds
from auditor.errors import ConfigError, Malformed

SEVERAL, REFUSED, NOT_CERTIFIED, NOT_LISTED = (
    "several_orders",
    "refused_before",
    "not_certified",
    "not_on_list",
)
MAX_NAMED = 16  # of each kind in one row
_CERTIFICATE = "idx, chip_id, serial_number, work_order, issued_at, kind"
_Row = tuple[Any, ...]


def noticed(reading: Reading, marks: Path, *, order: str, kinds: Kinds) -> Rows:
    """Both of what follows. `marks`: their directory."""
    yield from seen_again(reading, order=order, kinds=kinds)
    yield from refused_before(reading, marks, order=order, kinds=kinds)


def seen_again(reading: Reading, *, order: str, kinds: Kinds) -> Rows:
    """Chips, as objects, with certificates on more than one work order. With `order`: one of them is this.

    Raises:
        NotFound: the ledger has no such order.
    """
    wanted = reading.order(order) if order else 0
    query = (
        "SELECT DISTINCT chip FROM certificates INDEXED BY certificate_again"
        " WHERE chip IS NOT NULL ORDER BY chip"
    )
    for (chip,) in reading.rows(query, ()):
        orders, last, count, chosen = set[int](), None, 0, False
        for row in _of_chip(reading, chip):
            orders.add(row[3])
            last, count = row, count + 1
            chosen = chosen or reading.chosen(kinds, row[5])
        if last is not None and len(orders) > 1 and chosen and (not wanted or wanted in orders):
            yield _told(reading, SEVERAL, last) | {
                "work_orders": [reading.words.word(each) for each in sorted(orders)[:MAX_NAMED]],
                "certificates": count,
            }


def _of_chip(reading: Reading, chip: int) -> Iterator[_Row]:
    """The first certificate, then the later ones."""
    yield from reading.rows(f"SELECT {_CERTIFICATE} FROM certificates WHERE idx = ?", (chip,))  # noqa: S608
    later = (
        f"SELECT {_CERTIFICATE} FROM certificates INDEXED BY certificate_again"  # noqa: S608 (constants)
        " WHERE chip = ? AND chip IS NOT NULL ORDER BY idx"
    )
    yield from reading.rows(later, (chip,))


def refused_before(reading: Reading, directory: Path, *, order: str, kinds: Kinds) -> Rows:
    """Chips that were refused before their first certificate, under the name that it gives them. With
    `order`: this certificate is of it.

    Args:
        reading: of the state.
        directory: of the state, for its marks.
        order: empty: on any.
        kinds: certificates of these alone.

    Raises:
        NotFound: the ledger has no such order.
        ConfigError: the marks cannot be read.
    """
    wanted = reading.order(order) if order else 0
    marks = _marks(reading, directory)
    with closing(marks):
        query = "SELECT chip_id, idx, at, peer, code, count FROM refused_chips ORDER BY chip_id, idx"
        for chip_id, refusals in groupby(reading.rows(query, ()), key=lambda row: row[0]):
            certificate = _first_of(reading, marks, chip_id)
            if certificate is None or (wanted and certificate[3] != wanted):
                continue
            found = _refused(reading, refusals, certificate)
            if found is not None and reading.chosen(kinds, certificate[5]):
                yield found


def _refused(reading: Reading, refusals: Iterator[_Row], certificate: _Row) -> dict[str, Any] | None:
    """Those before the certificate; None where there are none."""
    codes, peers, count, first_at = set[int](), set[int](), 0, 0
    for _, index, at, peer, code, times in refusals:
        if index > certificate[0]:
            break
        first_at, count = first_at or at, count + times
        if len(codes) < MAX_NAMED:
            codes.add(code)
        if len(peers) < MAX_NAMED:
            peers.add(peer)
    if count == 0:
        return None
    return _told(reading, REFUSED, certificate) | {
        "refusals": count,
        "codes": sorted(reading.words.word(code) for code in codes),
        "refused_at": moment_text(first_at),
        "stations": sorted(reading.name(peer) or "" for peer in peers),
    }


def _first_of(reading: Reading, marks: Marks, chip_id: str) -> _Row | None:
    """The first certificate under this name. A mark is a question: another chip may share it."""
    query = f"SELECT {_CERTIFICATE} FROM certificates WHERE idx = ?"  # noqa: S608 (a constant)
    for index in marks.find(Kind.CHIP_ID, chip_id.encode()):
        row: _Row | None = reading.db.execute(query, (index,)).fetchone()
        if row is not None and row[1] == chip_id:
            return row
    return None


def _marks(reading: Reading, directory: Path) -> Marks:
    """As of the transaction that is read."""
    (secret,) = reading.db.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()
    names = [name for (name,) in reading.db.execute("SELECT name FROM runs ORDER BY place")]
    recent = [cells for (cells,) in reading.db.execute("SELECT cells FROM recent_marks ORDER BY id")]
    marks = Marks(directory, secret)
    try:
        marks.load(names, recent)
    except RunMissing as error:
        raise ConfigError(f"{error}. Where a `verify` goes on just now, ask again when it is over") from error
    return marks


def against(reading: Reading, file: Path, *, order: str, kinds: Kinds) -> Rows:
    """What a list of chips and the certificates do not have in common. The list lies in a database of its own
    meanwhile, on disk, however long it is.

    Args:
        reading: of the state.
        file: chip ids, one a line.
        order: certificates of this order alone; empty: of all.
        kinds: certificates of these alone.

    Raises:
        NotFound: the ledger has no such order.
        ConfigError: the list cannot be read, or is none.
    """
    where, values = ("WHERE work_order = ? ", (reading.order(order),)) if order else ("", ())
    with closing(sqlite3.connect("", isolation_level=None)) as names:  # a file that ends with the connection
        names.execute("PRAGMA journal_mode = OFF")
        names.execute("PRAGMA cache_size = -16384")  # KiB
        names.execute("BEGIN")
        names.execute(
            "CREATE TABLE listed"
            " (chip_id TEXT PRIMARY KEY, line INTEGER NOT NULL, certified INTEGER NOT NULL) WITHOUT ROWID"
        )
        _load(names, file)
        query = f"SELECT {_CERTIFICATE} FROM certificates {where}ORDER BY idx"  # noqa: S608 (constants)
        for row in reading.rows(query, values):
            if not reading.chosen(kinds, row[5]):
                continue
            marked = names.execute("UPDATE listed SET certified = 1 WHERE chip_id = ?", (row[1],))
            if marked.rowcount == 0:
                yield _told(reading, NOT_LISTED, row)
        left = "SELECT chip_id, line FROM listed WHERE NOT certified ORDER BY line"
        for chip_id, line in names.execute(left):
            yield _empty(NOT_CERTIFIED, chip_id) | {"line": line}


def _load(names: sqlite3.Connection, file: Path) -> None:
    """Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            for number, chip_id in listed(iter(lambda: opened.readline(MAX_LINE), b"")):
                added = names.execute("INSERT OR IGNORE INTO listed VALUES (?, ?, 0)", (chip_id, number))
                if added.rowcount == 0:
                    raise ConfigError(f"{file} is no list of chips: line {number} stands there twice")
    except OSError as error:
        raise ConfigError(f"cannot read the list of chips {file}: {error.strerror}") from error
    except Malformed as error:
        raise ConfigError(f"{file} is no list of chips: {error}") from error


def _empty(why: str, chip_id: str) -> dict[str, Any]:
    """All columns."""
    return {
        "why": why, "chip_id": chip_id, "serial_number": None, "work_order": None, "issued_at": None,
        "issued_entry": None, "work_orders": None, "certificates": None, "refusals": None, "codes": None,
        "refused_at": None, "stations": None, "line": None,
    }  # fmt: skip


def _told(reading: Reading, why: str, row: _Row) -> dict[str, Any]:
    return _empty(why, row[1]) | {
        "serial_number": row[2],
        "work_order": reading.name(row[3]),
        "issued_at": moment_text(row[4]),
        "issued_entry": row[0],
    }
