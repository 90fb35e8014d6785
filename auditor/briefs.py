"""What a record is judged by, put together for whoever judges it (`auditor.judging`).

briefs = Briefs(log, state, roots, size)
certificate = briefs.entry_of(record)
outcome = briefs.add(batch, record, certificate, doubt)   # None: the batch has it, and judging tells
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509

from auditor.core.books import Basis, CertificateState
from auditor.core.codes import Code
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.product import ProductRules
from auditor.core.record import Record
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.issuers import Issuers
from auditor.judging import Batch, Outcome, Terms
from auditor.ports import Log, RecordPage, State
from auditor.products import Products

MAX_EXCESS = 100_000  # records beyond those that the ledger knows: open intents, and what is just being made


@dataclass(slots=True)
class Briefs:
    """Of one verified ledger."""

    log: Log
    state: State
    roots: tuple[x509.Certificate, ...]
    issuers: Issuers = field(init=False)
    rules: dict[str, ProductRules | None] = field(default_factory=dict, init=False)  # by work order
    _products: Products = field(init=False)

    def __post_init__(self) -> None:
        self._products = Products(self.log)
        self.issuers = Issuers(self.log, self.state, self.roots)

    def entry_of(self, record: Record) -> CertificateState | None:
        """The `issued` entry that a record belongs to: the one it names, if that speaks of this board."""
        named = self.state.certificate_at(record.issued_index)
        if named is not None and (named.chip_id, named.serial_number) == (
            record.chip_id,
            record.serial_number,
        ):
            return named
        return self.state.certificate(sha256(record.certificate).digest())

    def add(
        self, batch: Batch, record: Record, certificate: CertificateState, doubt: Callable[[Finding], None]
    ) -> Outcome | None:
        """Adds a record to a batch, and returns None; or what came of it before it could be judged.

        Args:
            batch: is added to.
            record: of a certificate that is not empty.
            certificate: what the ledger has of it.
            doubt: is told what is off with the order's product file, once an order.

        Raises:
            NotFound: signerd has no chain of its issuer.
            Unreachable: signerd stopped answering.
        """
        rules = self._judge_by(batch, certificate.work_order, doubt)
        try:
            issuer = self.issuers.of(
                record.certificate, certificate.index, None if rules is None else rules.ca
            )
        except CheckFailed as error:
            found = finding_of(error, index=certificate.index, serial_number=certificate.serial_number)
            return Outcome(certificate.index, Basis.UNCHECKED, "", (), found)
        except Malformed as error:
            return malformed_answer(certificate, error)
        stamped = certificate.stamped_index
        try:
            issued = self.state.read_entry(certificate.index)
            stamp = None if stamped is None else self.state.read_entry(stamped)
        except Rejected as rejected:  # of this one alone: the others are judged all the same
            return Outcome(certificate.index, Basis.UNCHECKED, "", (), rejected.finding)
        batch.chains[issuer.sha256] = self.issuers.chains[issuer.sha256]
        intent = self.state.intent(certificate.work_order, certificate.number)
        since = None if intent is None else intent.since
        batch.add(record, certificate, issued, stamp, since, issuer.sha256)
        return None

    def learn(self, chain: Sequence[bytes], report: Callable[[Finding], None]) -> bool:
        """Takes an issuer's chain. False: it does not hold, which is reported."""
        try:
            self.issuers.learn(chain)
        except CheckFailed as error:
            report(finding_of(error))
            return False
        return True

    def rules_of(self, work_order: str, doubt: Callable[[Finding], None]) -> ProductRules | None:
        """The rules that the order's evidence is measured by. None where that is a finding of its own, which
        `doubt` is told the first time."""
        if work_order not in self.rules:
            self.rules[work_order] = None
            order = self.state.order(work_order)
            if order is not None:
                try:
                    self.rules[work_order] = self._products.of(order)
                except CheckFailed as error:
                    doubt(finding_of(error, index=order.opened_index))
        return self.rules[work_order]

    def _judge_by(
        self, batch: Batch, work_order: str, doubt: Callable[[Finding], None]
    ) -> ProductRules | None:
        rules = self.rules_of(work_order, doubt)
        order = self.state.order(work_order)
        if order is not None and work_order not in batch.orders:
            file = None if rules is None else self._products.file_of(order)
            batch.orders[work_order] = Terms(self.state.entry(order.opened_index), file)
        return rules


def pages_of(
    log: Log,
    most: int,
    after: int,
    report: Callable[[Finding], None],
    *,
    intents: bool = False,
    work_order: str = "",
) -> Iterator[tuple[int, Sequence[Record]]]:
    """Records page by page, ascending, at most so many. What is not so is a finding and ends them."""
    try:
        while True:
            page = log.records(after, intents=intents, work_order=work_order)
            most -= len(page.records)
            _check_page(page, after, most)
            if page.records:
                after = page.records[-1].record_id
                yield after, page.records
            if not page.more:
                return
    except (Malformed, NotFound) as error:
        report(Finding(Code.ANSWER_MALFORMED, f"records after {after}: {error}"))


def _check_page(page: RecordPage, after: int, left: int) -> None:
    """Raises Malformed unless the page goes on where the last one ended, and the end is still in sight."""
    if left < 0 or (page.more and not page.records):
        raise Malformed("records without end")
    for record in page.records:
        if record.record_id <= after:
            raise Malformed("record ids do not ascend")
        after = record.record_id


def malformed_answer(certificate: CertificateState, error: Malformed) -> Outcome:
    """Of a record that signerd does not hand over in its form."""
    found = Finding(Code.ANSWER_MALFORMED, f"record: {error}", certificate.index, certificate.serial_number)
    return Outcome(certificate.index, Basis.UNCHECKED, "", (), found)


def missing_record(certificate: CertificateState) -> Finding:
    """Of a certificate of the ledger that signerd has no record of."""
    return Finding(
        Code.RECORD_MISSING,
        "signerd has no record of this certificate",
        certificate.index,
        certificate.serial_number,
        certificate.certificate_sha256.hex(),
    )
