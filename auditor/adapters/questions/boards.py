"""Questions about boards: `missing`, and `doubt`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.adapters.questions.reading import Reading, Rows, moment_text
from auditor.adapters.schema import LATE
from auditor.core.questions.kinds import Kinds, firmware_of
from auditor.core.questions.periods import Period

_BOARD = (
    "idx, serial_number, chip_id, work_order, number, station, issued_at, kind,"
    " stamped_index, stamped_at, stamped_by, revoked_index"
)
_OPEN = "stamped_index IS NULL AND revoked_index IS NULL"
# As the index has it (`auditor.adapters.schema`): stamps that the search by the certificate's time misses.
_LATE = f"(stamped_by != station OR stamped_at > issued_at + {LATE} OR stamped_at < issued_at)"
_Row = tuple[Any, ...]


def missing(reading: Reading, *, order: str, station: str, older_than_s: int, kinds: Kinds) -> Rows:
    """Certificates that are neither stamped nor revoked, oldest first.

    Args:
        reading: of which `as_of` was asked.
        order: of this work order alone; empty: of all.
        station: that asked for the certificate; empty: of all.
        older_than_s: at the last run's end, at least so old; seconds.
        kinds: of these alone.

    Raises:
        NotFound: the ledger has no such order or station.
    """
    index, where, values = (
        "certificate_missing",
        [_OPEN, "issued_at <= ?"],
        [reading.looked_at - older_than_s],
    )
    if station:
        index = "certificate_missing_station"
        where.append("station = ?")
        values.append(reading.station(station))
    if order:
        index = "certificate_missing_order"
        where.append("work_order = ?")
        values.append(reading.order(order))
    query = (
        f"SELECT {_BOARD} FROM certificates INDEXED BY {index} WHERE {' AND '.join(where)}"  # noqa: S608
        " ORDER BY issued_at"
    )
    for row in reading.rows(query, values):
        if reading.chosen(kinds, row[7]):
            age_h = round((reading.looked_at - row[6]) / 3_600, 1)
            yield _board(reading, row) | {"age_h": age_h} | _kind(reading, row)


def doubt(reading: Reading, *, station: str, period: Period, kinds: Kinds) -> Rows:
    """Certificates that a station asked for within the period, and those whose stamp it delivered then.

    Raises:
        NotFound: the ledger has no such station.
    """
    number = reading.station(station)
    for row in _handled(reading, number, period):
        if reading.chosen(kinds, row[7]):
            yield _doubted(reading, row, number, period) | _kind(reading, row)


def _handled(reading: Reading, station: int, period: Period) -> Iterator[_Row]:
    """By the certificate's time, from `LATE` before the period on; then the stamps that this misses."""
    query = (
        f"SELECT {_BOARD} FROM certificates INDEXED BY certificate_station"  # noqa: S608 (constants)
        " WHERE station = ? AND issued_at >= ? AND issued_at < ? ORDER BY issued_at"
    )
    for row in reading.rows(query, (station, period.start - LATE, period.end)):
        if period.holds(row[6]) or _stamped_within(row, station, period):
            yield row
    late = (
        f"SELECT {_BOARD} FROM certificates INDEXED BY certificate_late"  # noqa: S608 (constants)
        f" WHERE {_LATE} AND stamped_by = ? AND stamped_at >= ? AND stamped_at < ? ORDER BY stamped_at"
    )
    for row in reading.rows(late, (station, period.start, period.end)):
        if not (row[5] == station and period.start - LATE <= row[6] < period.end):
            yield row


def _stamped_within(row: _Row, station: int, period: Period) -> bool:
    return row[10] == station and period.holds(row[9])


def _doubted(reading: Reading, row: _Row, station: int, period: Period) -> dict[str, Any]:
    did = []
    if row[5] == station and period.holds(row[6]):
        did.append("certificate")
    if _stamped_within(row, station, period):
        did.append("stamp")
    state = "issued" if row[8] is None else "stamped"
    return _board(reading, row) | {
        "handled": did,
        "state": state if row[11] is None else "revoked",
        "to_do": "none" if row[11] is not None else ("recall" if state == "stamped" else "hold"),
        "stamped_at": None if row[9] is None else moment_text(row[9]),
        "stamped_by": None if row[10] is None else reading.name(row[10]),
        "stamped_entry": row[8],
        "revoked_entry": row[11],
    }


def _board(reading: Reading, row: _Row) -> dict[str, Any]:
    return {
        "serial_number": row[1],
        "chip_id": row[2],
        "work_order": reading.name(row[3]),
        "number": row[4],
        "station": reading.name(row[5]),
        "issued_at": moment_text(row[6]),
        "issued_entry": row[0],
    }


def _kind(reading: Reading, row: _Row) -> dict[str, Any]:
    kind = reading.words.value(row[7])
    return {
        "product": kind["product"],
        "level": kind["level"],
        "method": kind["method"],
        "firmware": firmware_of(kind),
    }
