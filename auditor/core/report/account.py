"""What the entries of a production file add up to: boards, days, stations, and what does not fit together.

    account = Account.of_order("WO-1")
    for index, entry in entries:
        account.take(index, entry)
    account.end()
    account.problems, account.boards, account.counts()

The same sums are made when an archive is written and when it is verified. Nothing here asks whether an entry
is in the log: `pruned_tree` shows that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count, islice

from auditor.core import cbor
from auditor.core.entry import (
    LEVELS,
    ClockAccepted,
    CrlIssued,
    Entry,
    IntentOpen,
    Issued,
    IssuerAdded,
    LogOpened,
    LogSucceeded,
    OrderClosed,
    OrderOpened,
    RefusedCall,
    Revoked,
    Stamped,
)
from auditor.core.forms import time_text
from auditor.core.report.form import RecordBytes

MAX_PROBLEMS = 100  # that are kept in words; of more there is a number
_SHOWN = 10  # places that are left out, in words
NOBODY = "(no station)"  # of a refusal of somebody unknown
_NONE = sha256(b"").digest()
ANYTIME = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(slots=True)
class Made:
    """A certificate, by its entries."""

    index: int  # of its `issued` entry
    order: str
    number: int  # place in the order
    station: str
    concerned: bool  # the report is about it
    bound: bytes  # SHA-256 over the digests of what the entry has digests of (`bound_by`)
    stamped: int | None = None
    revoked: int | None = None
    superseded: bool = False  # revoked, and another certificate took its place
    stamp_sha256: bytes = b""  # of the stamp


def bound_by(issued: Issued) -> bytes:
    """Of the record that an `issued` entry speaks of, as `bound_in`."""
    claims = cbor.encode(
        [
            {name: list(value) for name, value in issued.claims.firmware.items()},
            dict(issued.claims.security_state),
        ]
    )
    attester = _NONE if issued.attester_sha256 is None else issued.attester_sha256
    parts = (attester, issued.certificate_sha256, sha256(claims).digest(), issued.csr_sha256)
    return sha256(b"".join((*parts, issued.evidence_sha256, issued.settings_sha256))).digest()


def bound_in(record: RecordBytes) -> bytes:
    """SHA-256 over the SHA-256 of attester, certificate, claims, CSR, evidence and settings."""
    parts = (record.attester, record.certificate, record.claims, record.csr, record.evidence, record.settings)
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


@dataclass(slots=True)
class OrderSeen:
    """A work order, as far as the archive has its entries."""

    index: int
    terms: OrderOpened
    closed: datetime | None = None
    places: dict[int, str] = field(default_factory=dict)  # by number: the chip


@dataclass(slots=True)
class Account:
    """See the module. Made by `of_order` or `of_period`."""

    order: str | None
    window: tuple[datetime, datetime]  # entries from the first moment on and before the second are summed
    boards: dict[bytes, Made] = field(default_factory=dict)  # by the SHA-256 of the certificate, as they came
    orders: dict[str, OrderSeen] = field(default_factory=dict)
    opened: LogOpened | None = None
    issuers: dict[bytes, bytes] = field(
        default_factory=dict
    )  # SHA-256 of an issuer's certificate: of its root
    crls: set[bytes] = field(default_factory=set)  # SHA-256 of those that the log has
    successions: list[tuple[int, LogSucceeded]] = field(default_factory=list)  # with their indexes
    intents: dict[tuple[str, int], datetime] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unsaid: int = 0  # problems beyond those
    # Boards by day, station, and `made`, `stamped`, `scrapped` or `refused`.
    cells: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)  # by station and code
    levels: Counter[tuple[str, str]] = field(default_factory=Counter)  # certificates by level and method
    last: datetime | None = None  # the latest time of an entry since a clock was accepted last
    # Places whose certificate was revoked without a successor, and where that was counted.
    _scrapped: dict[tuple[str, int], tuple[str, str, str]] = field(default_factory=dict)

    @classmethod
    def of_order(cls, order: str) -> Account:
        """Of one work order. Entries of other orders are passed over."""
        return cls(order, ANYTIME)

    @classmethod
    def of_period(cls, begin: datetime, end: datetime) -> Account:
        """Of all orders, in this time."""
        return cls(None, (begin, end))

    def problem(self, text: str) -> None:
        """Notes that something does not fit."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)
        else:
            self.unsaid += 1

    def take(self, index: int, entry: Entry) -> None:
        """The next entry."""
        if self.last is None or entry.time > self.last or isinstance(entry, ClockAccepted):
            self.last = entry.time
        named = getattr(entry, "work_order", None)
        if self.order is not None and named is not None and named != self.order:
            return
        take: Callable[[int, Entry], None] | None = getattr(self, f"_take_{entry.type}", None)
        if take is not None:
            take(index, entry)

    def end(self) -> None:
        """All entries came."""
        if self.opened is None:
            self.problem("entry 0, which opens the log, is not there")
        if self.order is not None and self.order not in self.orders:
            self.problem(f"the entry that opens order {self.order} is not there")
        for name, seen in self.orders.items():
            if len(seen.places) > seen.terms.quantity:
                self.problem(
                    f"order {name} is for {seen.terms.quantity} boards, and {len(seen.places)} were made"
                )
            if self.order is None:
                continue
            missing = max(seen.places, default=0) - len(seen.places)
            if missing:
                # However high the number of a place is: these are found among the first ones.
                numbers = (number for number in count(1) if number not in seen.places)
                shown = ", ".join(map(str, islice(numbers, min(missing, _SHOWN))))
                shown += " …" if missing > _SHOWN else ""
                self.problem(f"boards are left out: places {shown} of order {name}")

    def concerned(self) -> Iterator[tuple[bytes, Made]]:
        """Certificates that the report is about, in the order of issuing."""
        return ((digest, board) for digest, board in self.boards.items() if board.concerned)

    def counts(self) -> dict[str, int]:
        """Sums over the whole report."""
        boards = [board for _, board in self.concerned()]
        summed: Counter[str] = Counter()
        for (_, _, what), counted in self.cells.items():
            summed[what] += counted
        valid = [board for board in boards if board.revoked is None]
        return {
            "ordered": sum(seen.terms.quantity for seen in self.orders.values()),
            "certificates": len(boards),
            "boards": len({(board.order, board.number) for board in boards}),
            "made": summed["made"],
            "stamped": summed["stamped"],
            "scrapped": summed["scrapped"],
            "refused": summed["refused"],
            "valid": len(valid),
            "without_stamp": sum(board.stamped is None for board in valid),
        }

    def missing_stamps(self) -> Iterator[Made]:
        """Certificates that are neither stamped nor revoked."""
        return (board for _, board in self.concerned() if board.stamped is None and board.revoked is None)

    # One type of entry each, by its name

    def _take_log_opened(self, index: int, entry: LogOpened) -> None:
        if index == 0:
            self.opened = entry
            self.issuers[entry.issuer_sha256] = entry.root_sha256

    def _take_log_succeeded(self, index: int, entry: LogSucceeded) -> None:
        self.successions.append((index, entry))

    def _take_issuer_added(self, _index: int, entry: IssuerAdded) -> None:
        self.issuers[entry.certificate_sha256] = entry.root_sha256

    def _take_crl_issued(self, _index: int, entry: CrlIssued) -> None:
        self.crls.add(entry.crl_sha256)

    def _take_order_opened(self, index: int, entry: OrderOpened) -> None:
        if entry.work_order in self.orders:
            self.problem(f"entry {index} opens order {entry.work_order} a second time")
            return
        self.orders[entry.work_order] = OrderSeen(index, entry)

    def _take_order_closed(self, _index: int, entry: OrderClosed) -> None:
        seen = self.orders.get(entry.work_order)
        if seen is not None:
            seen.closed = entry.time

    def _take_intent_open(self, _index: int, entry: IntentOpen) -> None:
        self.intents[entry.work_order, entry.number] = entry.since

    def _take_issued(self, index: int, entry: Issued) -> None:
        seen = self.orders.get(entry.work_order)
        if entry.certificate_sha256 in self.boards:
            self.problem(f"entry {index} issues a certificate a second time")
            return
        first = seen is None or entry.number not in seen.places
        within = self._counts(entry)
        again = self._scrapped.pop((entry.work_order, entry.number), None)
        if again is not None:
            self.cells[again] -= 1  # it got a certificate again, and is no scrap
        if seen is not None:
            self._check_terms(index, entry, seen)
        elif within:
            self.problem(
                f"entry {index} is of order {entry.work_order}, whose opening is not there before it"
            )
        board = Made(index, entry.work_order, entry.number, entry.station, within, bound_by(entry))
        self.boards[entry.certificate_sha256] = board
        if within:
            if first:
                self.cells[_day(entry.time), entry.station, "made"] += 1
            self.levels[entry.level, entry.method] += 1

    def _check_terms(self, index: int, entry: Issued, seen: OrderSeen) -> None:
        terms = seen.terms
        if seen.places.setdefault(entry.number, entry.chip_id) != entry.chip_id:
            self.problem(f"entry {index}: place {entry.number} is another chip's")
        if entry.product != terms.product or entry.station not in terms.stations:
            self.problem(f"entry {index}: product or station are not those of order {terms.work_order}")
        if LEVELS.index(entry.level) < LEVELS.index(terms.level):
            self.problem(f"entry {index}: its level of evidence is below that of order {terms.work_order}")

    def _take_stamped(self, index: int, entry: Stamped) -> None:
        board = self._of(index, entry)
        if board is None:
            return
        if board.stamped is not None or board.revoked is not None:
            self.problem(f"entry {index} stamps a certificate that is stamped or revoked")
        board.stamped, board.stamp_sha256 = index, entry.stamp_sha256
        if self._counts(entry):
            board.concerned = True
            self.cells[_day(entry.time), entry.station, "stamped"] += 1

    def _take_revoked(self, index: int, entry: Revoked) -> None:
        board = self._of(index, entry)
        if board is None:
            return
        if board.revoked is not None:
            self.problem(f"entry {index} revokes a certificate that is revoked")
        board.revoked, board.superseded = index, entry.superseded_by is not None
        if self._counts(entry):
            board.concerned = True
            if not board.superseded:
                cell = (_day(entry.time), board.station, "scrapped")
                self._scrapped[board.order, board.number] = cell
                self.cells[cell] += 1

    def _of(self, index: int, entry: Stamped | Revoked) -> Made | None:
        board = self.boards.get(entry.certificate_sha256)
        if board is None and self._counts(entry):
            self.problem(f"entry {index} is about a certificate whose `issued` entry is not there")
        return board

    def _take_refused(self, _index: int, entry: RefusedCall) -> None:
        if self._counts(entry) and (self.order is None or entry.work_order == self.order):
            station = entry.peer or NOBODY
            self.cells[_day(entry.time), station, "refused"] += entry.count
            self.refusals[station, entry.code] += entry.count

    def _counts(self, entry: Entry) -> bool:
        return self.window[0] <= entry.time < self.window[1]


def _day(moment: datetime) -> str:
    return time_text(moment)[:10]
