"""The question about stations: certificates, stamps, refusals and yield, by station and day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from auditor.adapters.questions.reading import Reading, Rows, moment_text
from auditor.adapters.tallies import DAY
from auditor.core.questions.kinds import Kinds
from auditor.core.questions.outliers import Share, is_outlier
from auditor.core.questions.periods import Period

_STATION = "/station/"
_NONE = Share()
_HELD = 10_000  # days of stations in memory


@dataclass(frozen=True, slots=True)
class _Days:
    """One day of a station, or all days together. `settled`: certificates of days before the newest one."""

    station: str | None  # None: callers that are not registered
    day: int | None  # since 1970; None: all together
    issued: int = 0
    stamped: int = 0  # of these certificates
    revoked: int = 0  # of these certificates
    stamps: int = 0  # that it delivered, of whichever certificates
    refused: int = 0
    settled: Share = _NONE  # without a stamp, of those that had a day's time for it

    @property
    def refusals(self) -> Share:
        """Of all calls for a certificate or a stamp that were answered."""
        return Share(self.refused, self.refused + self.issued + self.stamps)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is counted. `order` and `station` empty: of all. `total`: all days of a station together."""

    period: Period
    kinds: Kinds
    station: str = ""
    order: str = ""
    total: bool = False
    outliers: bool = False  # these alone


def stations(reading: Reading, asked: Asked) -> Rows:
    """Rows by name of the station and by day. What is usual is counted first: where there are more days than
    `_HELD`, all are read a second time.

    Raises:
        NotFound: the ledger has no such order or station.
    """
    everyone, refusals, held = Share(), Share(), list[_Days]()
    for number, days in enumerate(_days(reading, asked)):
        everyone, refusals = everyone + days.settled, refusals + days.refusals
        if number <= _HELD:
            held.append(days)
    for days in held if len(held) <= _HELD else _days(reading, asked):
        odd = [
            name
            for name, one, all_ in (("yield", days.settled, everyone), ("refusals", days.refusals, refusals))
            if is_outlier(one, all_)
        ]
        if odd or not asked.outliers:
            yield _row(days, odd, refusals_told=asked.kinds.all)


def _row(days: _Days, odd: list[str], *, refusals_told: bool) -> dict[str, Any]:
    return {
        "station": days.station,
        "day": None if days.day is None else moment_text(days.day * DAY)[:10],
        "certificates": days.issued,
        "stamped": days.stamped,
        "yield": None if days.issued == 0 else round(days.stamped / days.issued, 4),
        "revoked": days.revoked,
        "stamps": days.stamps,
        "refusals": days.refused if refusals_told else None,
        "outlier": odd,
    }


def _days(reading: Reading, asked: Asked) -> Iterator[_Days]:
    order = reading.order(asked.order) if asked.order else 0
    if asked.station:
        numbers: list[tuple[str | None, int]] = [(asked.station, reading.station(asked.station))]
    else:
        numbers = sorted(_callers(reading), key=lambda each: (each[0] is None, each[0] or ""))
    for name, number in numbers:
        total = _Days(name, None)
        for days in _of_station(reading, asked, name, number, order):
            total = _sum(total, days)
            if not asked.total:
                yield days
        if asked.total and total != _Days(name, None):
            yield total


def _callers(reading: Reading) -> Iterator[tuple[str | None, int]]:
    """Each station, and whoever is none: by skipping from one to the next in each table's own order."""
    found: set[int] = set()
    for table, column in (("tallies", "station"), ("refusals", "peer")):
        query = f"SELECT min({column}) FROM {table} WHERE {column} > ?"  # noqa: S608 (constants)
        last: int | None = -1
        while last is not None:
            (last,) = reading.db.execute(query, (last,)).fetchone()
            found |= set() if last is None else {last}
    for number in found:
        name = reading.name(number)
        if name is None or _STATION in name:
            yield name, number


def _of_station(reading: Reading, asked: Asked, name: str | None, number: int, order: int) -> Iterator[_Days]:
    """By day. Of one station there are as many days as it worked."""
    found: dict[int, _Days] = {}
    newest = reading.newest_at // DAY
    first, end = asked.period.start // DAY, -(-asked.period.end // DAY)
    where, values = "day >= ? AND day < ?", [number, first, end]
    if order:
        where, values = f"{where} AND work_order = ?", [*values, order]
    group = "day" if asked.kinds.all else "day, kind"
    query = (
        "SELECT day, kind, sum(issued), sum(stamped), sum(revoked), sum(stamps) FROM tallies"  # noqa: S608
        f" WHERE station = ? AND {where} GROUP BY {group}"
    )
    for day, kind, issued, stamped, revoked, stamps in reading.rows(query, values):
        if not reading.chosen(asked.kinds, kind):
            continue
        settled = Share(issued - stamped, issued) if day < newest else Share()
        more = _Days(name, day, issued, stamped, revoked, stamps, 0, settled)
        found[day] = _sum(found.get(day, _Days(name, day)), more)
    if asked.kinds.all:  # a refusal says nothing of evidence
        refused = f"SELECT day, count FROM refusals WHERE peer = ? AND {where}"  # noqa: S608 (constants)
        for day, count in reading.rows(refused, values):
            found[day] = _sum(found.get(day, _Days(name, day)), _Days(name, day, refused=count))
    for day in sorted(found):
        yield found[day]


def _sum(one: _Days, other: _Days) -> _Days:
    return replace(
        one,
        issued=one.issued + other.issued,
        stamped=one.stamped + other.stamped,
        revoked=one.revoked + other.revoked,
        stamps=one.stamps + other.stamps,
        refused=one.refused + other.refused,
        settled=one.settled + other.settled,
    )
