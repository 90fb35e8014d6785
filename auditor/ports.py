"""What the audit needs from the outside: the log that is audited, and the state that is kept between runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from auditor.core.anchors import Anchor
from auditor.core.books import Basis, Books, CertificateState, IntentState
from auditor.core.findings import Finding
from auditor.core.record import Record
from auditor.judging import Batch, Outcome
from birthmark.proof import Checkpoint, Frontier


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A page of records. `more`: others follow."""

    records: tuple[Record, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class RecordWithChain:
    """A record, and its issuers' DER from the sub-CA upward."""

    record: Record
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """A work order's terms and counts as signerd states them, for comparison with the ledger."""

    work_order: str
    product: str
    quantity: int
    level: str
    closed: bool
    opened_index: int
    issued: int
    stamped: int
    revoked: int
    open_intents: int
    bundle_sha256: bytes  # empty: it names no firmware bundle
    firmware: Mapping[str, tuple[str, bytes]]  # empty: stamps are not compared with one
    product_file: bytes  # TOML, of the revision that the order was opened with


class Log(Protocol):
    """signerd's `AuditService`, or tiles. Nothing that it returns is verified.

    Every method raises `Unreachable` where signerd does not answer, `Malformed` where an answer is not of the
    form of the API, `NotFound` where signerd says so.
    """

    has_records: (
        bool  # False: of published tiles, which have entries alone; the last three are not called then
    )

    def checkpoint(self) -> bytes:
        """The last published checkpoint."""
        ...

    def succession(self) -> bytes:
        """The newest succession of the log (`birthmark.proof.succession`); empty: it has none."""
        ...

    def consistency_proof(self, old_size: int, new_size: int) -> Sequence[bytes]:
        """RFC 6962 §2.1.2."""
        ...

    def inclusion_proof(self, index: int, size: int) -> Sequence[bytes]:
        """RFC 6962 §2.1.1."""
        ...

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Entries start…end-1, in order; fewer where signerd stops early, never more."""
        ...

    def records(self, after_record_id: int, *, intents: bool = False, work_order: str = "") -> RecordPage:
        """The next page of records: all, or intents alone, or of one order."""
        ...

    def record(self, certificate_sha256: bytes) -> RecordWithChain:
        """The record of one certificate."""
        ...

    def order(self, work_order: str) -> OrderTerms:
        """One work order."""
        ...


class Stage(Enum):
    """How far the last run came."""

    ENTRIES = "entries"  # broken off among the entries
    RECORDS = "records"  # all entries are in the books, not all records were looked at
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the last run stands: a tree that is proven to be a beginning of a signed checkpoint's.

    `checkpoint` is that one, and larger than the tree where the run was broken off among the entries.
    """

    checkpoint: Checkpoint
    frontier: Frontier
    tail: tuple[bytes, ...]  # leaf hashes of the last entries, which are no whole bundle yet
    record_id: int  # records up to here were looked at
    stage: Stage = Stage.WHOLE


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody's word on a finding. It stands as before; `signature` is an SSH signature over `statement`."""

    statement: bytes  # JSON (docs/formats.md, "Acknowledgements")
    signature: bytes  # without armor; empty: not signed
    at: datetime


@dataclass(frozen=True, slots=True)
class KeptFinding:
    """A finding, and when it was found first. `number` 0: it is not kept, and stands as long as its cause."""

    finding: Finding
    found_at: datetime
    number: int = 0
    acknowledged: tuple[Acknowledgement, ...] = ()


class State(Books, Protocol):
    """The books, and what a run keeps for the next one. A transaction is durable as a whole or not at all."""

    read_entry: Callable[
        [int], bytes
    ]  # how an entry is read anew that is not kept; raises Rejected if it differs

    def kept(self) -> Kept | None:
        """Where the last run stands; None before the first."""
        ...

    def keep(self, kept: Kept) -> None:
        """Sets where this run stands."""
        ...

    def passing(self) -> Checkpoint | None:
        """A checkpoint of an earlier run from whose entries nothing is kept any more: the log must still pass
        through it."""
        ...

    def passed(self) -> None:
        """It did."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written within becomes durable together at its end, or nothing if it raises."""
        ...

    def looked(self, now: datetime) -> None:
        """A run has come to its end: this is how new the log's last entry was known to be."""
        ...

    def begin_run(self) -> None:
        """Findings from here on are of a new run."""
        ...

    def forget(self, *, lost: bool = False) -> None:
        """Empties the books, to verify from scratch. The log must pass through the last checkpoint, and
        findings stay until `forget_findings`. `lost`: it need not, and they stay for good, as a part of the
        log that was verified is lost."""
        ...

    def forget_findings(self, *, records: bool) -> None:
        """Drops findings that no run found again since all was forgotten, if it was.

        Args:
            records: these were judged to the end too. Else what judging them may find stays, and is dropped
                by the first run that judges them and does not find it.
        """
        ...

    def add_entry(self, index: int, kind: str, data: bytes) -> None:
        """Keeps an entry, if it is of a type of which all are kept: those are few."""
        ...

    def add_bundles(self, first: int, hashes: Sequence[bytes]) -> None:
        """Keeps the hashes of bundles from this number on."""
        ...

    def bundle(self, number: int) -> bytes:
        """The hash of a whole bundle. Raises NotFound."""
        ...

    def entry(self, index: int) -> bytes:
        """An entry's bytes, kept or read anew. Raises NotFound, Rejected, Unreachable."""
        ...

    def entries(self, start: int = 0, kinds: Sequence[str] = ()) -> Iterator[tuple[int, bytes]]:
        """Kept entries of some types in order, or all entries, read anew."""
        ...

    def certificate_at(self, index: int) -> CertificateState | None:
        """The certificate that the entry of this index issued."""
        ...

    def certificates_of(self, *, serial_number: str = "", work_order: str = "") -> Iterator[CertificateState]:
        """Certificates of one board or of one order, or all, in the order of issuing."""
        ...

    def unchecked(self, after: int, limit: int) -> list[CertificateState]:
        """Certificates whose record was not checked since an entry last spoke of them, of entries after
        this."""
        ...

    def judged(self, index: int, basis: Basis, rests_on: str, round_: int) -> None:
        """Notes that the record of the certificate that entry `index` issued was looked at.

        Args:
            index: of the `issued` entry.
            basis: what its evidence rests on, as its record showed.
            rests_on: what its chip must have been counted under (`auditor.core.counting`), or empty.
            round_: of looking again, 0 or 1.
        """
        ...

    def unseen(self, below: int, round_: int, limit: int) -> list[CertificateState]:
        """Certificates of entries below this index whose record was not looked at in this round."""
        ...

    def bases(self) -> dict[str, dict[Basis, int]]:
        """Certificates by method and by what their evidence rests on."""
        ...

    def chips_resting_on(self, prefixes: tuple[str, ...]) -> dict[str, int]:
        """Distinct chips by what they must have been counted under, as records showed: names that begin
        so."""
        ...

    def derive_anchors(self, anchors: Sequence[Anchor], certificate: CertificateState) -> None:
        """Notes what the evidence of a certificate of form 1 proves, which its entry does not say."""
        ...

    def chips_that_are_one(self) -> list[tuple[int, int, Anchor]]:
        """Chips of entries of form 1 that prove to be a chip that came before: an entry of that one, one of
        theirs, and an anchor that both have."""
        ...

    def chips_new_again(self) -> list[tuple[int, int, Anchor]]:
        """Chips that form 2 began as new ones, and that the evidence of form 1 proves to be older: an entry
        of form 1, one of form 2, and an anchor that both have."""
        ...

    def weak_keys(self) -> list[tuple[int, CertificateState]]:
        """Certificates not revoked whose key shares a prime, each with the index of the entry saying so."""
        ...

    def missing_numbers(self, work_order: str, highest: int, limit: int) -> list[int]:
        """Place numbers from 1 to `highest` that no certificate has, at most `limit` of them."""
        ...

    def open_intents(self) -> list[IntentState]:
        """`intent_open` entries whose place has no certificate yet."""
        ...

    def orders(self) -> list[str]:
        """All work orders, in the order of opening."""
        ...

    def await_entry(self, certificate_sha256: bytes, claimed_index: int, serial_number: str) -> None:
        """Notes a certificate whose entry lies beyond the verified tree, as its record claims."""
        ...

    def awaited(self) -> list[tuple[bytes, int, str]]:
        """What was noted so, and has not been settled."""
        ...

    def settle(self, certificate_sha256: bytes) -> None:
        """Removes such a note."""
        ...

    def add_findings(self, findings: Sequence[Finding], now: datetime) -> list[Finding]:
        """Keeps findings; returns those that were not kept before."""
        ...

    def findings(self) -> list[KeptFinding]:
        """All findings that are kept, oldest first."""
        ...

    def acknowledge(self, number: int, acknowledgement: Acknowledgement) -> None:
        """Adds a word on a finding. Raises NotFound."""
        ...

    def look_again(self) -> Mapping[str, int]:
        """Where looking again stands (`auditor.again`); empty before the first time."""
        ...

    def keep_look_again(self, place: Mapping[str, int]) -> None:
        """Sets that."""
        ...


Progress = Callable[[str, int, int], None]
"""Phase, done, total; 0 where the total is not known."""


class Judges(Protocol):
    """Whoever judges batches of records (`auditor.judging`)."""

    count: int

    def submit(self, batch: Batch) -> Callable[[], list[Outcome]]:
        """Gives a batch. What is returned waits for its outcomes, in the order of its jobs. Raises
        WorkerEnded."""
        ...
