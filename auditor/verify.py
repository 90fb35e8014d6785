"""One run of the audit, in this order:

    1  the checkpoint: form, and the signature of a key that we know: the pinned one, or those that the log
       led to by the last run; if none of these has signed, 3 decides
    2  it continues the checkpoint that the last run kept (or the run begins from scratch)
    3  the entries, chunk by chunk: each chunk is proven to be of the checkpoint's tree, then its entries'
       form is checked, and that each follows from all before it; at the end the keys that sign by them
       (`auditor.core.log_keys`) must all have signed the checkpoint
    4  the records of all certificates that are new or were spoken of: chain, CSR, evidence (verified again by
       the order's product file), settings, stamp; places without gaps
    5  each work order as signerd states it (`auditor.terms`), and a share of what was verified before, again
       (`auditor.again`)

Each chunk of entries and each few thousand records are kept as soon as they are verified, with what was
found. A run that is broken off goes on from there. A chunk that is not proven is not kept, but its finding
is: what signerd showed is not the log. What is off in a genuine log is a finding too, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from auditor.again import SHARE, Again, look_again, round_of
from auditor.core.anchors import Anchor
from auditor.core.books import Basis, CertificateState, IntentState, OrderState, Totals
from auditor.core.codes import Code
from auditor.core.cosigners import Cosigners
from auditor.core.entry import LogSucceeded, reread_entry
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.growth import Growth
from auditor.core.history import Trust, ahead
from auditor.core.identities import Identities
from auditor.core.log_keys import check_signers, in_succession, signers
from auditor.core.successions import said_by
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.head import Head, check_continues, read_head
from auditor.ledger import CHUNK, LedgerRun
from auditor.ports import Judges, Kept, KeptFinding, Log, Progress, Stage, State
from auditor.records import RecordRun
from auditor.reread import Reader
from auditor.terms import look_at_orders
from auditor.went_on import check_went_on
from birthmark.proof import Checkpoint, ProofError, Succession, VerifierKey, log_name, open_succession

MAX_FINDINGS = 10_000  # kept of one run


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the auditor trusts: the log's key and the roots, and the names that go with them; and, where the
    company handed it over, its list of attestation keys."""

    log_key: VerifierKey
    roots: tuple[x509.Certificate, ...]
    trust: Trust
    identities: Identities | None = None
    cosigners: Cosigners = field(default_factory=Cosigners)  # of the checkpoint


@dataclass(frozen=True, slots=True)
class Alarm:
    """A certificate that is not revoked although entry `index` says that its key shares a prime with another:
    whoever computes that has both private keys. No lie of the log, and not kept: a revocation ends it."""

    index: int
    certificate: CertificateState


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run."""

    head: Checkpoint | None  # what was verified; None where the head was rejected
    start: int  # size that the run began from
    resumed: Stage  # how far the run before had come: WHOLE, if it was not broken off
    again: Again  # what was looked at again
    without_records: bool  # tiles have none: no certificate, evidence or stamp was looked at
    records: int  # checked in this run
    stamps: int
    awaited: int  # records whose entry lies beyond the verified tree
    totals: Totals
    bases: Mapping[str, Mapping[Basis, int]]  # certificates by method, and by what their evidence rests on
    alarms: tuple[Alarm, ...]
    one_chip: tuple[tuple[int, int, Anchor], ...]  # `State.chips_that_are_one`: no fault of signerd's of then
    orders: tuple[OrderState, ...]
    open_intents: tuple[IntentState, ...]
    new: tuple[Finding, ...]
    dropped: int  # findings beyond MAX_FINDINGS
    findings: tuple[KeptFinding, ...]  # all that are kept, and what stands as long as its cause does

    @property
    def clean(self) -> bool:
        """True if nothing was ever found."""
        return not self.findings

    @property
    def acknowledged(self) -> bool:
        """True if somebody gave a reason for each finding that there is. Of a run that verified nothing
        nobody can: what it did not look at is not known."""
        return self.head is not None and all(finding.acknowledged for finding in self.findings)


@contextmanager
def _doubted(shown: Head) -> Iterator[None]:
    """Of a head that nobody whom we know has signed, nothing else can be said: it may be anybody's."""
    try:
        yield
    except Rejected as rejected:
        raise rejected if shown.doubt is None else Rejected(shown.doubt) from rejected


class Audit:
    """An audit of one log with one kept state."""

    def __init__(
        self,
        log: Log,
        state: State,
        pinned: Pinned,
        *,
        clock: Callable[[], datetime],
        progress: Progress,
        judges: Judges,
        share: float = SHARE,
        chunk: int = CHUNK,
    ) -> None:
        self._log = log
        self._state = state
        self._pinned = pinned
        self._clock = clock
        self._progress = progress
        self._judges = judges
        self._share = share
        self._chunk = chunk
        self._found: list[Finding] = []
        self._new: list[Finding] = []
        self._dropped = 0

    def run(self, *, from_scratch: bool = False) -> Report:
        """Verifies all that is new; from scratch, all there is.

        Raises:
            Unreachable: signerd stopped answering. What was verified before is kept.
            WorkerEnded: a worker process ended. The same.
            ConfigError: the state cannot be written.
        """
        self._found, self._new, self._dropped = [], [], 0
        before = self._state.kept()
        reader = Reader(self._log, self._state)
        self._state.read_entry = reader.entry
        try:
            return self._run(before, reader, from_scratch=from_scratch)
        except Rejected as rejected:
            self._found = [rejected.finding]
            self._commit(lambda: None)
            return self._report(None, before, None, Again())

    def _run(self, before: Kept | None, reader: Reader, *, from_scratch: bool) -> Report:
        shown = read_head(self._log, self._known_keys(before))
        head = shown.checkpoint
        known = self._state.passing() if before is None else before.checkpoint
        earlier_ones = [] if before is None else [before.checkpoint]
        earlier_ones += [each for each in [self._state.passing()] if each is not None]
        succession = self._succession(head, self._known_keys(before), earlier_ones)
        lost = succession is not None and any(map(succession.is_lost, earlier_ones))
        if succession is not None and lost:
            size = self._went_on(succession, earlier_ones, reader.growth)
            check_went_on(self._log, self._state, head, size, reader.growth)
            known, earlier_ones = None, [each for each in earlier_ones if not succession.is_lost(each)]
        with _doubted(shown):
            for earlier in earlier_ones:
                check_continues(self._log, head, earlier)
        start = Growth.empty() if from_scratch or lost else reader.growth
        # Of a head that none of the known keys has signed, only its last entries say who has.
        whole = self._state.transaction() if shown.doubt is not None else nullcontext()
        with _doubted(shown), whole:
            ledger = LedgerRun(
                self._log,
                self._state,
                reader,
                self._pinned.trust,
                self._progress,
                self._found.append,
                self._commit if shown.doubt is None else self._enter,
                self._chunk,
            )
            ledger.read(
                head,
                start,
                known,
                lambda: self._begin(from_scratch=from_scratch, lost=lost),
                lambda: self._check_signed(shown),
            )
        records = self._records(head)
        kept = self._state.kept()
        again = Again()
        old = 0 if from_scratch or lost or before is None else before.frontier.size
        judged = self._log.has_records and records.run(0 if kept is None else kept.record_id)
        if not self._log.has_records:
            again = self._look_again(reader, None, old)
        elif judged:
            again = self._look_again(reader, self._records(head), old)
        if self._log.has_records and self._share > 0:  # each is a count over its boards for signerd
            look_at_orders(self._log, self._state, self._found.append)
        self._commit(lambda: self._end(records=judged))
        return self._report(head, None if from_scratch or lost else before, records, again)

    def _end(self, *, records: bool) -> None:
        self._state.forget_findings(records=records)
        self._state.looked(self._clock())

    def _look_again(self, reader: Reader, records: RecordRun | None, old: int) -> Again:
        return look_again(self._state, reader, records, self._share, old, self._commit, self._found.append)

    def _succession(
        self, head: Checkpoint, known: Sequence[VerifierKey], kept: Sequence[Checkpoint]
    ) -> Succession | None:
        """What the head's log goes on from, if it is a later one than was verified. Where it lost a part of
        that, it is read anew. Raises Rejected: it is not proven, or says less than was verified."""
        if head.origin == known[0].name:
            return None
        try:
            # With the pinned key beside those that the log led to: its name may be the successor's.
            keys, cas = [*known, self._pinned.log_key], self._pinned.trust.operations_cas
            succession = open_succession(self._log.succession(), keys, cas)
            succession.demand_heads(head)
            for each in kept:
                succession.demand_known(each)
            for earlier in self._followed():
                succession.demand_continues(earlier)
        except (ProofError, Malformed, NotFound) as error:
            detail = f"the log's name is another one, and no successor is proven: {error}"
            found = Finding(Code.SUCCESSION_HISTORY, detail, None, None, known[0].name, head.origin)
            raise Rejected(found) from error
        return succession

    def _followed(self) -> Iterator[Succession]:
        """Successions that the kept log has."""
        for _, data in self._state.entries(kinds=(LogSucceeded.type,)):
            entry = reread_entry(data)
            if isinstance(entry, LogSucceeded):
                yield said_by(entry, self._pinned.trust.origin)

    @staticmethod
    def _went_on(succession: Succession, kept: Sequence[Checkpoint], growth: Growth) -> int:
        """How many of the entries that were verified the successor says to have."""
        numbers = {log_name(each.origin)[1] for each in kept}
        return min(growth.size, *(succession.predecessors[number - 1].continued for number in numbers))

    def _begin(self, *, from_scratch: bool, lost: bool) -> None:
        if from_scratch or lost:
            self._state.forget(lost=lost)
        self._state.begin_run()

    def _records(self, head: Checkpoint) -> RecordRun:
        return RecordRun(
            self._log,
            self._state,
            self._pinned.roots,
            self._pinned.identities,
            head.size,
            self._progress,
            self._found.append,
            self._commit,
            self._judges,
            round_of(self._state),
        )

    def _commit(self, write: Callable[[], None]) -> None:
        """One transaction, with what was found by then."""
        with self._state.transaction():
            self._enter(write)

    def _enter(self, write: Callable[[], None]) -> None:
        write()
        room = max(0, MAX_FINDINGS - len(self._new))
        self._new += self._state.add_findings(self._found[:room], self._clock())
        self._dropped += len(self._found[room:])
        self._found.clear()

    def _known_keys(self, kept: Kept | None) -> list[VerifierKey]:
        """Whose signature is expected: of the keys that the kept log led to, where that is from ours."""
        if kept is None or not in_succession(self._state, self._pinned.trust.vkey):
            return [self._pinned.log_key]
        return signers(self._state, kept.checkpoint.size)

    def _check_signed(self, shown: Head) -> None:
        """By the entries up to this head, all have signed it who must. Raises Rejected."""
        if in_succession(self._state, self._pinned.trust.vkey):
            check_signers(shown.checkpoint, signers(self._state, shown.checkpoint.size))
        elif shown.doubt is not None:
            raise Rejected(shown.doubt)

    def _standing(self, head: Checkpoint) -> Iterator[Finding]:
        """What is found as long as its cause stands, and not kept: cosignatures may come late."""
        future = ahead(self._state, self._clock())
        if future is not None:
            yield future
        try:
            self._pinned.cosigners.demand(head)
        except CheckFailed as error:
            yield finding_of(error)

    def _report(
        self, head: Checkpoint | None, before: Kept | None, run: RecordRun | None, again: Again
    ) -> Report:
        standing = [] if head is None else list(self._standing(head))
        kept = [*self._state.findings(), *(KeptFinding(found, self._clock()) for found in standing)]
        states = (self._state.order(name) for name in self._state.orders())
        return Report(
            head=head,
            start=0 if before is None else before.frontier.size,
            without_records=not self._log.has_records,
            resumed=Stage.WHOLE if before is None else before.stage,
            again=again,
            records=0 if run is None else run.records,
            stamps=0 if run is None else run.stamps,
            awaited=0 if run is None else run.awaited,
            totals=self._state.totals,
            bases=self._state.bases(),
            alarms=tuple(Alarm(index, certificate) for index, certificate in self._state.weak_keys()),
            one_chip=tuple(self._state.chips_that_are_one()),
            orders=tuple(order for order in states if order is not None),
            open_intents=tuple(self._state.open_intents()),
            new=(*self._new, *standing),
            dropped=self._dropped,
            findings=tuple(kept),
        )
