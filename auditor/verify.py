"""One run of the audit, in this order:

    1  the checkpoint: form, and the signature of a key that we know: the pinned one, or those that the log
       led to by the last run; if none of these has signed, 3 decides
    2  it continues the checkpoint that the last run kept (or the run begins from scratch)
    3  the entries: hashed into the kept tree, they must give the checkpoint's root, and the keys that sign by
       them (`auditor.core.log_keys`) must all have signed it
    4  each entry's form, and that it follows from all before it
    5  the records of all certificates that are new or were spoken of: chain, CSR, evidence (verified again by
       the order's product file), settings, stamp
    6  places without gaps
    7  what was verified is kept, and every finding

A failure of 1 to 3 keeps nothing but its finding: what signerd showed is not the log. From 4 on the log is
genuine and its content is off: the run goes on, keeps the checkpoint, and keeps all findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from auditor.core.anchors import Anchor
from auditor.core.books import Basis, CertificateState, IntentState, OrderState, Totals
from auditor.core.findings import Finding, Rejected
from auditor.core.history import Trust, ahead
from auditor.core.identities import Identities
from auditor.core.log_keys import check_signers, in_succession, signers
from auditor.head import Head, check_continues, read_head
from auditor.ledger import LedgerRun
from auditor.ports import Kept, KeptFinding, Log, Progress, State
from auditor.records import RecordRun
from birthmark.proof import Checkpoint, Frontier, VerifierKey

MAX_FINDINGS = 10_000  # kept of one run


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the auditor trusts: the log's key and the roots, and the names that go with them; and, where the
    company handed it over, its list of attestation keys."""

    log_key: VerifierKey
    roots: tuple[x509.Certificate, ...]
    trust: Trust
    identities: Identities | None = None


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
        self, log: Log, state: State, pinned: Pinned, *, clock: Callable[[], datetime], progress: Progress
    ) -> None:
        self._log = log
        self._state = state
        self._pinned = pinned
        self._clock = clock
        self._progress = progress

    def run(self, *, from_scratch: bool = False) -> Report:
        """Verifies all that is new; from scratch, all there is.

        Raises:
            Unreachable: signerd stopped answering. What was kept before is kept still.
            ConfigError: the state cannot be written.
        """
        try:
            return self._run(from_scratch=from_scratch)
        except Rejected as rejected:
            with self._state.transaction():
                new = self._state.add_findings([rejected.finding], self._clock())
            return self._report(None, self._start(), None, new, 0)

    def _run(self, *, from_scratch: bool) -> Report:
        found: list[Finding] = []
        with self._state.transaction():
            kept = self._state.kept()
            shown = read_head(self._log, self._known_keys(kept))
            head = shown.checkpoint
            if kept is not None:
                with _doubted(shown):
                    check_continues(self._log, head, kept.checkpoint)
            start, record_id = Frontier(), 0
            if from_scratch:
                self._state.forget()
            elif kept is not None:
                start, record_id = kept.frontier, kept.record_id
            ledger = LedgerRun(self._log, self._state, self._pinned.trust, self._progress, found.append)
            with _doubted(shown):
                frontier = ledger.read(head, start, kept.checkpoint if kept is not None else None)
                self._check_signed(shown)
            records = RecordRun(
                self._log,
                self._state,
                self._pinned.roots,
                self._pinned.identities,
                head.size,
                self._progress,
                found.append,
            )
            record_id = records.run(record_id)
            self._state.keep(Kept(head, frontier, record_id))
            new = self._state.add_findings(found[:MAX_FINDINGS], self._clock())
        return self._report(head, start.size, records, new, max(0, len(found) - MAX_FINDINGS))

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

    def _start(self) -> int:
        kept = self._state.kept()
        return 0 if kept is None else kept.checkpoint.size

    def _report(
        self, head: Checkpoint | None, start: int, run: RecordRun | None, new: list[Finding], dropped: int
    ) -> Report:
        standing = [] if head is None else [found for found in [ahead(self._state, self._clock())] if found]
        kept = [*self._state.findings(), *(KeptFinding(found, self._clock()) for found in standing)]
        states = (self._state.order(name) for name in self._state.orders())
        return Report(
            head=head,
            start=start,
            records=0 if run is None else run.records,
            stamps=0 if run is None else run.stamps,
            awaited=0 if run is None else run.awaited,
            totals=self._state.totals,
            bases=self._state.bases(),
            alarms=tuple(Alarm(index, certificate) for index, certificate in self._state.weak_keys()),
            one_chip=tuple(self._state.chips_that_are_one()),
            orders=tuple(order for order in states if order is not None),
            open_intents=tuple(self._state.open_intents()),
            new=(*new, *standing),
            dropped=dropped,
            findings=tuple(kept),
        )
