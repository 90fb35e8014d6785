"""Checks certificate records against the verified ledger, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509

from auditor.core.books import Basis, CertificateState
from auditor.core.codes import Code
from auditor.core.counting import known
from auditor.core.findings import Finding, finding_of
from auditor.core.identities import Identities
from auditor.core.product import ProductRules
from auditor.core.record import AppraisalPolicy, Record, RecordState, check_record
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.facts import facts_of
from auditor.issuers import Issuers
from auditor.ports import Log, Progress, RecordPage, State
from auditor.products import Products

MAX_EXCESS = 100_000  # records beyond those that the ledger knows: open intents, and what is just being made
MAX_MISSING = 1_000  # place numbers looked into of one order
MAX_SHOWN = 20  # of them in a finding
# What is found when the evidence itself does not hold, or not for what the ledger says.
_FALSE = frozenset({Code.EVIDENCE, Code.EVIDENCE_FALSE, Code.EVIDENCE_LEVEL, Code.ATTESTER})


@dataclass(slots=True)
class RecordRun:
    """One pass over the records that are new or that entries spoke of since they were checked."""

    log: Log
    state: State
    roots: tuple[x509.Certificate, ...]
    identities: Identities | None  # the company's own list, where there is one
    size: int  # of the verified tree
    progress: Progress
    report: Callable[[Finding], None]
    records: int = 0
    stamps: int = 0
    awaited: int = 0
    _issuers: Issuers = field(init=False)
    _products: Products = field(init=False)
    _rules: dict[str, ProductRules | None] = field(default_factory=dict, init=False)  # by work order

    def __post_init__(self) -> None:
        self._products = Products(self.log)
        self._issuers = Issuers(self.log, self.state, self.roots)

    def run(self, after_record_id: int) -> int:
        """Checks all that is due; returns the record id to go on from. Raises Unreachable."""
        if not self._knows_issuer():
            return after_record_id
        noted = self.state.awaited()
        after_record_id = self._new(after_record_id)
        self._touched()
        self._settle(noted)
        self._numbers()
        self._counts()
        self._new_again()
        self.awaited = len(self.state.awaited())
        return after_record_id

    def _knows_issuer(self) -> bool:
        """Fetches the chain with the first certificate that is due. False: nothing can be checked now."""
        while due := self.state.unchecked(1):
            try:
                chain = self.log.record(due[0].certificate_sha256).chain
            except NotFound:
                self._missing(due[0])
                continue
            except Malformed as error:
                self.report(Finding(Code.ANSWER_MALFORMED, f"the chain: {error}"))
                return False
            return self._learn(chain)
        return True  # no certificate is due: new records, if any, are of certificates yet to be logged

    def _learn(self, chain: Sequence[bytes]) -> bool:
        try:
            self._issuers.learn(chain)
        except CheckFailed as error:
            self.report(finding_of(error))
            return False
        return True

    def _pages(self, after: int, *, intents: bool = False, work_order: str = "") -> Iterator[Record]:
        """Records page by page, ascending, bounded. What is not so is a finding and ends them."""
        left = self.state.totals.certificates + MAX_EXCESS
        try:
            while True:
                page = self.log.records(after, intents=intents, work_order=work_order)
                left -= len(page.records)
                _check_page(page, after, left)
                for record in page.records:
                    after = record.record_id
                    yield record
                if not page.more:
                    return
        except (Malformed, NotFound) as error:
            self.report(Finding(Code.ANSWER_MALFORMED, f"records after {after}: {error}"))

    def _new(self, after_record_id: int) -> int:
        total = self.state.totals.certificates
        for record in self._pages(after_record_id):
            after_record_id = record.record_id
            if record.state is RecordState.INTENT and not record.certificate:
                continue
            certificate = self._entry_of(record)
            if certificate is not None:
                self._check(record, certificate)
            elif record.issued_index >= self.size:
                digest = sha256(record.certificate).digest()
                self.state.await_entry(digest, record.issued_index, record.serial_number)
            else:
                self._unlogged(sha256(record.certificate).digest(), record.issued_index, record.serial_number)
            self.progress("records", self.records, total)
        return after_record_id

    def _touched(self) -> None:
        """Certificates that no new record spoke of: older ones that were stamped or revoked since, and
        those whose record is missing."""
        while due := self.state.unchecked(500):
            for certificate in due:
                try:
                    record = self.log.record(certificate.certificate_sha256).record
                except NotFound:
                    self._missing(certificate)
                except Malformed as error:
                    self._answer(certificate, error)
                else:
                    self._check(record, certificate)
                self.progress("records", self.records, self.state.totals.certificates)

    def _entry_of(self, record: Record) -> CertificateState | None:
        """The `issued` entry that a record belongs to: the one it names, if that speaks of this board."""
        named = self.state.certificate_at(record.issued_index)
        if named is not None and (named.chip_id, named.serial_number) == (
            record.chip_id,
            record.serial_number,
        ):
            return named
        return self.state.certificate(sha256(record.certificate).digest())

    def _check(self, record: Record, certificate: CertificateState) -> None:
        self.records += 1
        self.state.checked(certificate.index)
        policy = AppraisalPolicy(self._product(certificate.work_order), self.identities)
        basis, rests_on = Basis.UNCHECKED, ""
        try:
            facts = facts_of(self.state, certificate, self.size)
            ca = None if policy.product is None else policy.product.ca
            issuer = self._issuers.of(record.certificate, certificate.index, ca)
            checked = check_record(record, facts, issuer, policy)
            basis, rests_on = checked.basis, checked.rests_on
            self.stamps += bool(record.stamp)
            if facts.issued.anchors is None:
                self.state.derive_anchors(checked.anchors, certificate)
        except CheckFailed as error:
            basis = Basis.FALSE if error.code in _FALSE else basis
            self.report(finding_of(error, index=certificate.index, serial_number=certificate.serial_number))
        except NotFound:
            self._missing(certificate)
        except Malformed as error:
            self._answer(certificate, error)
        self.state.put_basis(certificate.index, basis, rests_on)

    def _product(self, work_order: str) -> ProductRules | None:
        """The rules that the order's evidence is measured by. None where that is a finding of its own."""
        if work_order not in self._rules:
            self._rules[work_order] = None
            order = self.state.order(work_order)
            if order is not None:
                try:
                    self._rules[work_order] = self._products.of(order)
                except CheckFailed as error:
                    self.report(finding_of(error, index=order.opened_index))
        return self._rules[work_order]

    def _counts(self) -> None:
        """Counts that the entries alone do not tell: of the evidence's hash, or of a chain that is not there;
        and the chips of an order whose product wants each on its list."""
        totals = self.state.totals
        for name, chips in self.state.chips_resting_on().items():
            if name.startswith(("psa-iak-", "tpm2 ")) and chips > known(totals.known, name):
                detail = f"more chips than were personalized or imported: {name}"
                expected = f"at most {known(totals.known, name)}"
                self.report(Finding(Code.CHIPS_UNCOUNTED, detail, None, None, expected, str(chips)))
        for work_order, rules in self._rules.items():
            order = self.state.order(work_order)
            if rules is None or order is None or not rules.listed or order.places <= order.imported:
                continue
            detail = f"work order {work_order}: more chips than stand on its list"
            expected = f"at most {order.imported}"
            self.report(Finding(Code.CHIPS_UNCOUNTED, detail, None, None, expected, str(order.places)))

    def _new_again(self) -> None:
        """Chips of form 2 that had a certificate in form 1, whose entries do not say their anchors: signerd
        has known since, and began them as new ones all the same."""
        for earlier, index, anchor in self.state.chips_new_again():
            certificate = self.state.certificate_at(index)
            serial_number = None if certificate is None else certificate.serial_number
            detail = f"its chip has the certificate of entry {earlier}, as the evidence of both proves"
            self.report(Finding(Code.CHIP_TWICE, detail, index, serial_number, found=str(anchor)))

    def _settle(self, noted: list[tuple[bytes, int, str]]) -> None:
        """Certificates whose entry was still to come at the last run: by now it must be there."""
        for digest, claimed, serial_number in noted:
            self.state.settle(digest)
            if self.state.certificate(digest) is None:
                self._unlogged(digest, claimed, serial_number)

    def _numbers(self) -> None:
        """Places without gaps: each number below the highest has a certificate, or an open intent."""
        gaps: dict[str, set[int]] = {}
        for name in self.state.orders():
            order = self.state.order(name)
            if order is not None and order.highest > order.places:
                gaps[name] = set(self.state.missing_numbers(name, order.highest, MAX_MISSING))
        if not gaps:
            return
        for record in self._pages(0, intents=True):
            gaps.get(record.work_order, set()).discard(record.number)
        for name in [name for name, numbers in gaps.items() if numbers]:
            for record in self._pages(0, work_order=name):
                if record.state is RecordState.INTENT or record.issued_index >= self.size:
                    gaps[name].discard(record.number)
        for name, numbers in gaps.items():
            if numbers:
                detail = f"work order {name}: places that have neither certificate nor intent"
                shown = ", ".join(str(number) for number in sorted(numbers)[:MAX_SHOWN])
                self.report(Finding(Code.NUMBER, detail, found=shown))

    def _missing(self, certificate: CertificateState) -> None:
        self.state.checked(certificate.index)
        self.report(
            Finding(
                Code.RECORD_MISSING,
                "signerd has no record of this certificate",
                certificate.index,
                certificate.serial_number,
                certificate.certificate_sha256.hex(),
            )
        )

    def _unlogged(self, digest: bytes, claimed: int, serial_number: str) -> None:
        detail = f"a certificate that is not in the ledger; its record names entry {claimed}"
        self.report(Finding(Code.RECORD_UNLOGGED, detail, None, serial_number, "", digest.hex()))

    def _answer(self, certificate: CertificateState, error: Malformed) -> None:
        self.state.checked(certificate.index)
        detail = f"record: {error}"
        self.report(Finding(Code.ANSWER_MALFORMED, detail, certificate.index, certificate.serial_number))


def _check_page(page: RecordPage, after: int, left: int) -> None:
    """Raises Malformed unless the page goes on where the last one ended, and the end is still in sight."""
    if left < 0 or (page.more and not page.records):
        raise Malformed("records without end")
    for record in page.records:
        if record.record_id <= after:
            raise Malformed("record ids do not ascend")
        after = record.record_id
