"""Checks certificate records against the verified ledger, in both directions.

Records come page by page. What one is judged by is put together here; the judging itself, signatures and
evidence, is the `Judges`' part and may go on elsewhere meanwhile. Outcomes are taken in the order of the
records, so what is found does not depend on who judged. Every few pages what was judged is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from cryptography import x509

from auditor.briefs import MAX_EXCESS, Briefs, malformed_answer, missing_record, pages_of
from auditor.core.books import Basis, CertificateState
from auditor.core.codes import Code
from auditor.core.counting import known
from auditor.core.findings import Finding
from auditor.core.identities import Identities
from auditor.core.record import Record, RecordState
from auditor.errors import Malformed, NotFound, Unreachable
from auditor.judging import Batch, Outcome
from auditor.ports import Judges, Log, Progress, Stage, State

MAX_MISSING = 1_000  # place numbers looked into of one order
MAX_SHOWN = 20  # of them in a finding
COMMIT = 4_000  # records a transaction, at most
_WAITING = 2  # batches a judge that may wait
_PAGE = 500  # certificates that are asked for one by one, a batch

_Later = Callable[[], list[Outcome]]


@dataclass(slots=True)
class _Page:
    """Records that were handed to the judges. `steps` puts together what is done once they answer: an outcome
    of this process, or None where it is the judges' next one."""

    record_id: int
    batch: Batch
    steps: list[Outcome | Callable[[], None] | None] = field(default_factory=list)
    later: _Later | None = None


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
    commit: Callable[[Callable[[], None]], None]  # what it is given is durable as a whole or not at all
    judges: Judges
    round: int  # of looking again, 0 or 1
    records: int = 0
    stamps: int = 0
    awaited: int = 0
    _briefs: Briefs = field(init=False)
    _waiting: deque[_Page] = field(default_factory=deque, init=False)
    _done: list[_Page] = field(default_factory=list, init=False)
    _stands: int = field(default=0, init=False)  # record id up to which all was judged
    _advancing: bool = field(default=False, init=False)  # else these records were judged before

    def __post_init__(self) -> None:
        self._briefs = Briefs(self.log, self.state, self.roots)

    def run(self, after_record_id: int) -> bool:
        """Checks all that is due, records from this id on. False: no issuer is known, so nothing can be.
        Raises Rejected, Unreachable: what was judged before is kept."""
        self._stands, self._advancing = after_record_id, True
        knows = self._knows_issuer()
        if knows:
            noted = self.state.awaited()
            try:
                self._new(after_record_id)
                self._touched()
            except Unreachable:
                self.settle_all()  # what came before the line broke
                raise
            self.commit(lambda: self._at_the_end(noted))
        self.awaited = len(self.state.awaited())
        self.commit(lambda: self._keep(Stage.WHOLE))
        return knows

    def again(self, pages: Iterator[tuple[int, Sequence[Record]]]) -> None:
        """Judges records that were judged before: pages, each with the record id that it ends with."""
        for _, records in pages:
            page = _Page(self._stands, Batch(self.size))
            for record in records:
                self._prepare(page, record, missing_too=False)
            self._submit(page)
        self.settle_all()

    def asked_one_by_one(self, certificates: Sequence[CertificateState]) -> None:
        """Judges the records of these certificates; one that is missing is a finding."""
        page = _Page(self._stands, Batch(self.size))
        for certificate in certificates:
            self._ask(page, certificate)
        self._submit(page)

    def _at_the_end(self, noted: list[tuple[bytes, int, str]]) -> None:
        self._settle(noted)
        self._numbers()
        self._counts()
        self._new_again()

    def _knows_issuer(self) -> bool:
        """Fetches the chain with the first certificate that is due. False: nothing can be checked now."""
        after = -1
        while due := self.state.unchecked(after, 1):
            try:
                chain = self.log.record(due[0].certificate_sha256).chain
            except NotFound:
                self.commit(lambda: self._missing(due[0]))
                after = due[0].index
                continue
            except Malformed as error:
                self.report(Finding(Code.ANSWER_MALFORMED, f"the chain: {error}"))
                return False
            return self._briefs.learn(chain, self.report)
        return True  # no certificate is due: new records, if any, are of certificates yet to be logged

    def pages(
        self, after: int, *, intents: bool = False, work_order: str = ""
    ) -> Iterator[tuple[int, Sequence[Record]]]:
        """See `pages_of`: as many as the ledger knows, and some more."""
        most = self.state.totals.certificates + MAX_EXCESS
        return pages_of(self.log, most, after, self.report, intents=intents, work_order=work_order)

    def _new(self, after_record_id: int) -> None:
        for record_id, records in self.pages(after_record_id):
            page = _Page(record_id, Batch(self.size))
            for record in records:
                self._prepare(page, record, missing_too=True)
            self._submit(page)
        self.settle_all()

    def _touched(self) -> None:
        """Certificates that no new record spoke of: older ones that were stamped or revoked since, and
        those whose record is missing."""
        after = -1
        while due := self.state.unchecked(after, _PAGE):
            after = due[-1].index
            self.asked_one_by_one(due)
        self.settle_all()

    def _ask(self, page: _Page, certificate: CertificateState) -> None:
        try:
            record = self.log.record(certificate.certificate_sha256).record
        except NotFound:
            page.steps.append(lambda: self._missing(certificate))
        except Malformed as error:
            page.steps.append(malformed_answer(certificate, error))
        else:
            self._job(page, record, certificate)

    def _prepare(self, page: _Page, record: Record, *, missing_too: bool) -> None:
        if record.state is RecordState.INTENT and not record.certificate:
            return
        certificate = self._briefs.entry_of(record)
        if certificate is not None:
            self._job(page, record, certificate)
            return
        digest = sha256(record.certificate).digest()
        if record.issued_index < self.size:
            page.steps.append(lambda: self._unlogged(digest, record.issued_index, record.serial_number))
        elif missing_too:
            page.steps.append(
                lambda: self.state.await_entry(digest, record.issued_index, record.serial_number)
            )

    def _job(self, page: _Page, record: Record, certificate: CertificateState) -> None:
        """Puts together what a record is judged by."""
        self.records += 1

        def doubt(found: Finding) -> None:
            page.steps.append(lambda: self.report(found))

        try:
            page.steps.append(self._briefs.add(page.batch, record, certificate, doubt))
        except NotFound:
            page.steps.append(lambda: self._missing(certificate))

    def _submit(self, page: _Page) -> None:
        if page.steps:
            page.later = self.judges.submit(page.batch) if page.batch.jobs else list
        self._waiting.append(page)
        while len(self._waiting) > _WAITING * self.judges.count:
            self._take()

    def settle_all(self) -> None:
        """Takes all outcomes that are still to come, and keeps them."""
        while self._waiting:
            self._take()
        self._write()

    def _take(self) -> None:
        """The outcomes of the page that waits longest."""
        page = self._waiting.popleft()
        outcomes = iter([] if page.later is None else page.later())
        page.steps = [next(outcomes) if step is None else step for step in page.steps]
        self._done.append(page)
        if sum(len(done.steps) for done in self._done) >= COMMIT:
            self._write()
        self.progress("records", self.records, max(self.records, self.state.totals.certificates))

    def _write(self) -> None:
        """Keeps what was judged, and how far that is. A crash before leaves it to be judged again."""
        done, self._done = self._done, []
        if done:
            self._stands = done[-1].record_id
            self.commit(lambda: self._enter(done))

    def _enter(self, done: list[_Page]) -> None:
        for page in done:
            for step in page.steps:
                if isinstance(step, Outcome):
                    self._enter_outcome(step)
                elif step is not None:
                    step()
        if self._advancing:
            self._keep(Stage.RECORDS)

    def _enter_outcome(self, outcome: Outcome) -> None:
        self.stamps += outcome.stamped
        if outcome.finding is not None:
            self.report(outcome.finding)
        if outcome.anchors:
            certificate = self.state.certificate_at(outcome.index)
            if certificate is not None:
                self.state.derive_anchors(outcome.anchors, certificate)
        self.state.judged(outcome.index, outcome.basis, outcome.rests_on, self.round)

    def _keep(self, stage: Stage) -> None:
        kept = self.state.kept()
        if kept is not None:
            self.state.keep(replace(kept, record_id=self._stands, stage=stage))

    def _counts(self) -> None:
        """Counts that the entries alone do not tell: of the evidence's hash, or of a chain that is not there;
        and the chips of an order whose product wants each on its list."""
        totals = self.state.totals
        for name, chips in self.state.chips_resting_on(("psa-iak-", "tpm2 ")).items():
            if chips > known(totals.known, name):
                detail = f"more chips than were personalized or imported: {name}"
                expected = f"at most {known(totals.known, name)}"
                self.report(Finding(Code.CHIPS_UNCOUNTED, detail, None, None, expected, str(chips)))
        for work_order, rules in self._briefs.rules.items():
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
        for record in self._each(0, intents=True):
            gaps.get(record.work_order, set()).discard(record.number)
        for name in [name for name, numbers in gaps.items() if numbers]:
            for record in self._each(0, work_order=name):
                if record.state is RecordState.INTENT or record.issued_index >= self.size:
                    gaps[name].discard(record.number)
        for name, numbers in gaps.items():
            if numbers:
                detail = f"work order {name}: places that have neither certificate nor intent"
                shown = ", ".join(str(number) for number in sorted(numbers)[:MAX_SHOWN])
                self.report(Finding(Code.NUMBER, detail, found=shown))

    def _each(self, after: int, *, intents: bool = False, work_order: str = "") -> Iterator[Record]:
        for _, records in self.pages(after, intents=intents, work_order=work_order):
            yield from records

    def _missing(self, certificate: CertificateState) -> None:
        self.report(missing_record(certificate))
        self.state.judged(certificate.index, Basis.UNCHECKED, "", self.round)

    def _unlogged(self, digest: bytes, claimed: int, serial_number: str) -> None:
        detail = f"a certificate that is not in the ledger; its record names entry {claimed}"
        self.report(Finding(Code.RECORD_UNLOGGED, detail, None, serial_number, "", digest.hex()))
