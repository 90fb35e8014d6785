"""Makes a production file from the verified state and the log that it was verified from.

    1  the entries that it is about are chosen
    2  they are read anew, each held against what was verified, and written; the root over them and over the
       hashes of all others must be the checkpoint's
    3  each record that the log's holder gives is held against the digests of its entry, and written
    4  what stands beside: issuers, products, CRLs, findings, the page, the manifest

Nothing that does not agree with the ledger is written. A record that does not is left out, and named.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters.report.archive_file import Writer, writing
from auditor.core import log_keys
from auditor.core.books import CertificateState
from auditor.core.certificate import Issuer
from auditor.core.codes import Code
from auditor.core.entry import AdministratorsEntry, parse_entry, reread_entry
from auditor.core.findings import Finding, Rejected, finding_of
from auditor.core.forms import time_text
from auditor.core.growth import BUNDLE, leaf_hashes
from auditor.core.record import Record
from auditor.core.report import form
from auditor.core.report.account import Account, Made, bound_in
from auditor.core.report.choice import EARLY, Concern, Window, is_approval, is_of_order, needle_of
from auditor.core.report.form import Manifest, RecordBytes, Subtree
from auditor.core.report.page import Page, page_text
from auditor.core.report.pruned_tree import Joined, Pruning
from auditor.core.report.readme import readme_text
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound
from auditor.issuers import Issuers
from auditor.ports import Kept, KeptFinding, Log, Progress, Stage, State
from auditor.products import Products
from auditor.program import version_text
from auditor.reread import Reader

_MAX_FINDINGS = 1_000  # about records, that are kept in words


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about: an order, or a time from `begin` on and before `end`.

    `whole`: all entries since the order was opened, also those of other orders. So it shows that none is left
    out. A report of a time always has all.
    """

    order: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Produced:
    """What was written."""

    sha256: bytes  # of the archive
    size: int  # bytes
    manifest: Manifest
    findings: tuple[Finding, ...]  # about records, while it was made
    open: int  # findings that are kept and not acknowledged, of those in the archive


@dataclass(slots=True)
class Making:
    """One report. `crls`: DER, as the company published them."""

    log: Log
    state: State
    roots: Sequence[x509.Certificate]
    subject: Subject
    crls: Sequence[bytes]
    progress: Progress
    _kept: Kept = field(init=False)
    _reader: Reader = field(init=False)
    _account: Account = field(init=False)
    _found: list[Finding] = field(default_factory=list, init=False)
    _without: list[int] = field(default_factory=list, init=False)
    _issuer: Issuer | None = field(default=None, init=False)  # of the record that came last
    _chains: dict[bytes, None] = field(default_factory=dict, init=False)  # certificates, DER, each once

    def __post_init__(self) -> None:
        kept = self.state.kept()
        if kept is None:
            raise NotFound("nothing was verified yet: run `verify` first")
        if kept.stage is Stage.ENTRIES:
            raise ConfigError("the last `verify` was broken off: run it again, then make the report")
        self._kept = kept
        self._reader = Reader(self.log, self.state)

    def write(self, path: Path) -> Produced:
        """Writes the archive.

        Raises:
            NotFound: the verified ledger has no such order.
            ConfigError: it cannot be written, or a CRL is not of this ledger.
            CheckFailed, Rejected: what signerd hands over now is not what was verified.
            Unreachable: signerd stopped answering.
        """
        chosen, whole = self._chosen()
        with writing(path) as archive:
            manifest, unexplained = self._files(archive, chosen, whole)
        digest, size = _digest_of(path)
        return Produced(digest, size, manifest, tuple(self._found), unexplained)

    # Which entries

    def _chosen(self) -> tuple[array[int], tuple[int, int] | None]:
        """Indexes of the entries, rising; and the range in which none is left out."""
        subject = self.subject
        if subject.order is not None:
            return self._chosen_of_order(subject.order)
        if subject.begin is None or subject.end is None:
            raise ConfigError("a report is about an order or a time: give --order, or --from and --to")
        self._account = Account.of_period(subject.begin, subject.end)
        return self._chosen_of_period(Window(subject.begin, subject.end))

    def _chosen_of_order(self, name: str) -> tuple[array[int], tuple[int, int] | None]:
        order = self.state.order(name)
        if order is None:
            raise NotFound(f"the verified ledger has no work order {name}; `verify` reads what is new")
        self._account = Account.of_order(name)
        concern = Concern(frozenset({order.terms.product}), order.terms.stations)
        begin, size = order.opened_index, self._kept.frontier.size
        early = {index for index in self._early(concern) if index < begin or not self.subject.whole}
        if self.subject.whole:
            return array("Q", [*sorted(early), *range(begin, size)]), (begin, size)
        needle, wanted = needle_of(name), {sha256(crl).hexdigest().encode() for crl in self.crls}
        approved = False
        for index, data in self._scan(begin, "choosing"):
            if is_of_order(data, needle) or any(digest in data for digest in wanted):
                early.add(index)
                if approved:
                    early.add(index - 1)
            approved = is_approval(data)
        return array("Q", sorted(early)), None

    def _chosen_of_period(self, window: Window) -> tuple[array[int], tuple[int, int]]:
        size = self._kept.frontier.size
        first, last = size, -1  # the first entry that is not from before, and the last one of the time
        concerned: set[int] = set()
        for index, data in self._scan(0, "choosing"):
            near = window.near(data)
            if near >= 0:
                first = min(first, index)
            if near == 0:
                last = index
        # With one entry before and one after: so it shows that none between is left out.
        begin, end = max(0, first - 1), min(size, max(last, first - 1) + 2)
        orders = set()
        for _, data in self._scan(begin, "choosing", end):
            board = self._named_by(data)
            if board is not None and not window.near(data):
                concerned |= {board.index, board.stamped_index or 0, board.revoked_index or 0}
                orders.add(board.work_order)
        terms = [order for name in orders if (order := self.state.order(name)) is not None]
        chosen = set(self._early(Concern(None, None))) | concerned | {order.opened_index for order in terms}
        return array("Q", sorted(chosen | set(range(begin, end)))), (begin, end)

    def _named_by(self, data: bytes) -> CertificateState | None:
        """The certificate that an entry is about; None: it is about none, or cannot be read."""
        if b'"certificate_sha256"' not in data:
            return None
        try:
            digest = getattr(parse_entry(data), "certificate_sha256", None)
        except CheckFailed:
            return None
        return None if digest is None else self.state.certificate(digest)

    def _early(self, concern: Concern) -> Iterator[int]:
        """Entries that a report has whatever its time, each with its approval."""
        approvals = {index for index, _ in self.state.entries(kinds=("action_approved",))}
        for index, data in self.state.entries(kinds=EARLY):
            entry = parse_entry(data)
            if concern.has(entry):
                yield index
                if isinstance(entry, AdministratorsEntry) and index - 1 in approvals:
                    yield index - 1

    def _scan(self, begin: int, phase: str, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Entries from an index on, each held against what was verified."""
        stop = self._kept.frontier.size if end is None else end
        for number in range(begin // BUNDLE, -(-stop // BUNDLE)):
            self.progress(phase, number * BUNDLE, stop)
            for index, data in enumerate(self._reader.fetch(number), number * BUNDLE):
                if begin <= index < stop:
                    yield index, data

    # The files

    def _files(
        self, archive: Writer, chosen: array[int], whole: tuple[int, int] | None
    ) -> tuple[Manifest, int]:
        keys = [key.text() for key in log_keys.signers(self.state, self._kept.frontier.size)]
        archive.add(form.README, [readme_text(self.subject.order).encode()])
        archive.add(form.CHECKPOINT, [self._kept.checkpoint.note])
        archive.add(form.VKEY, ["".join(f"{key}\n" for key in keys).encode()])
        pruning = Pruning()
        archive.add(form.ENTRIES, self._entries(chosen, pruning))
        archive.add(form.SUBTREES, map(form.subtree_line, pruning.end()))
        self._account.end()
        for problem in self._account.problems:
            self._note(Finding(Code.ORDER_HISTORY, problem))
        archive.add(form.RECORDS, self._records())
        archive.add(form.ISSUERS, [_pem(certificate) for certificate in self._chains])
        self._products(archive)
        self._crls(archive)
        findings = [item for item in self.state.findings() if self._concerns(item, chosen)]
        archive.add(form.FINDINGS, map(_finding_line, findings))
        manifest = self._manifest(archive, whole)
        words = [(item.finding, [said.statement for said in item.acknowledged]) for item in findings]
        page = page_text(Page(self._account, manifest, words, self._found, keys))
        archive.add(form.PAGE, [page.encode()])
        manifest = self._manifest(archive, whole)
        archive.add(form.MANIFEST, [manifest.data()])
        return manifest, sum(not item.acknowledged for item in findings)

    def _manifest(self, archive: Writer, whole: tuple[int, int] | None) -> Manifest:
        head, subject, opened = self._kept.checkpoint, self.subject, self._account.opened
        last = self.state.totals.last_time
        return Manifest(
            deployment="" if opened is None else opened.deployment,
            origin=head.origin,
            tree_size=head.size,
            root=head.root,
            as_of="" if last is None else time_text(last),
            order=subject.order,
            begin=None if subject.begin is None else time_text(subject.begin),
            end=None if subject.end is None else time_text(subject.end),
            whole=whole,
            records=self.log.has_records,
            without_record=tuple(self._without),
            counts=self._account.counts(),
            made_by=version_text(),
            files=tuple(archive.digests),
        )

    def _entries(self, chosen: array[int], pruning: Pruning) -> Iterator[bytes]:
        """Lines of the chosen entries. What is between them goes to `pruning`."""
        growth, joined, at = self._reader.growth, Joined(), 0
        entries: Sequence[bytes] = ()
        for number in range(-(-growth.size // BUNDLE)):
            first, end = number * BUNDLE, min((number + 1) * BUNDLE, growth.size)
            if at == len(chosen) or chosen[at] >= end:
                if number < growth.bundles:
                    pruning.hide(Subtree(first, BUNDLE, self.state.bundle(number)))
                    joined.add(first, BUNDLE, self.state.bundle(number))
                    continue
                leaves = growth.tail
            else:
                self.progress("entries", first, growth.size)
                entries = self._reader.fetch(number)
                leaves = leaf_hashes(entries)
            for index, leaf in enumerate(leaves, first):
                joined.add(index, 1, leaf)
                if at == len(chosen) or chosen[at] != index:
                    pruning.hide(Subtree(index, 1, leaf))
                    continue
                pruning.show(index)
                at += 1
                data = entries[index - first]
                self._account.take(index, reread_entry(data))
                yield form.entry_line(index, data)
        if joined.root() != self._kept.checkpoint.root:
            raise Rejected(
                Finding(Code.NOT_INCLUDED, "the entries do not lead to the kept checkpoint's root")
            )

    def _records(self) -> Iterator[bytes]:
        """Lines of the records, in the order of their `issued` entries. They come in another one, and wait in
        a file of their own."""
        if not self.log.has_records:
            return
        issuers, products = Issuers(self.log, self.state, self.roots), Products(self.log)
        places: dict[int, tuple[int, int]] = {}
        with tempfile.TemporaryFile() as waiting:
            for order in sorted({board.order for _, board in self._account.concerned()}):
                self._of_order(order, waiting, places, issuers, products)
            for _, board in self._account.concerned():
                place = places.get(board.index)
                if place is None:
                    self._without.append(board.index)
                    self._note(
                        Finding(Code.RECORD_MISSING, "no record that agrees with the entry", board.index)
                    )
                    continue
                waiting.seek(place[0])
                yield waiting.read(place[1])

    def _of_order(
        self,
        order: str,
        waiting: IO[bytes],
        places: dict[int, tuple[int, int]],
        issuers: Issuers,
        products: Products,
    ) -> None:
        terms = self.state.order(order)
        ca = None
        try:
            ca = None if terms is None else products.of(terms).ca
        except CheckFailed as error:
            self._note(finding_of(error, index=None if terms is None else terms.opened_index))
        after, more, done = 0, True, 0
        while more:
            page = self.log.records(after, work_order=order)
            for record in page.records:
                if record.record_id <= after:
                    raise Malformed("signerd's records do not rise")
                after = record.record_id
                board = self._board(record)
                if board is None or board.index in places:
                    continue
                line = self._line(record, board, issuers, ca)
                if line is not None:
                    places[board.index] = waiting.tell(), len(line)
                    waiting.write(line)
            more = page.more and bool(page.records)
            done += len(page.records)
            self.progress("records", done, len(self._account.boards))

    def _board(self, record: Record) -> Made | None:
        board = self._account.boards.get(sha256(record.certificate).digest()) if record.certificate else None
        return board if board is not None and board.concerned else None

    def _line(self, record: Record, board: Made, issuers: Issuers, ca: str | None) -> bytes | None:
        """None: it does not agree with the ledger."""
        stamp = (record.stamp, record.stamp_signature) if board.stamped is not None else (b"", b"")
        parts = RecordBytes(
            board.index, record.attester, record.certificate, record.claims, record.csr, record.evidence,
            record.settings, *stamp,
        )  # fmt: skip
        if bound_in(parts) != board.bound:
            self._note(
                Finding(Code.RECORD_DIFFERS, "the record is not the one that its entry names", board.index)
            )
            return None
        if board.stamped is not None and sha256(parts.stamp).digest() != board.stamp_sha256:
            self._note(
                Finding(Code.STAMP_DIFFERS, "the stamp is not the one that its entry names", board.index)
            )
            return None
        try:
            issuer = issuers.of(record.certificate, board.index, ca)
        except (CheckFailed, NotFound, Malformed) as error:
            self._note(Finding(Code.CERTIFICATE_CHAIN, str(error), board.index))
            return None
        if issuer is not self._issuer:  # of most records it is the one of the record before
            self._issuer = issuer
            self._chains.update(dict.fromkeys(issuers.chains[issuer.sha256]))
        line = form.record_line(parts)
        return line if len(line) <= form.MAX_RECORD_LINE else None

    def _note(self, finding: Finding) -> None:
        if len(self._found) < _MAX_FINDINGS:
            self._found.append(finding)

    def _products(self, archive: Writer) -> None:
        """The file of each order's product."""
        if not self.log.has_records:
            return
        products, files = Products(self.log), dict[bytes, bytes]()
        for name in self._account.orders:
            order = self.state.order(name)
            if order is None or order.terms.product_sha256 in files:
                continue
            try:
                products.of(order)
                files[order.terms.product_sha256] = products.file_of(order)
            except CheckFailed as error:
                self._note(finding_of(error, index=order.opened_index))
        for digest in sorted(files):
            archive.add(form.product_name(digest), [files[digest]])

    def _crls(self, archive: Writer) -> None:
        """Those that the log has, and no other."""
        for digest, crl in sorted({sha256(crl).digest(): crl for crl in self.crls}.items()):
            if digest not in self._account.crls:
                raise ConfigError(
                    f"no `crl_issued` entry of the report names the CRL with SHA-256 {digest.hex()}. Give a"
                    " CRL that signerd made since the order was opened, in DER"
                )
            archive.add(form.crl_name(digest), [crl])

    def _concerns(self, item: KeptFinding, chosen: array[int]) -> bool:
        """A finding of an entry of the report, or of none: of the log as a whole."""
        index = item.finding.index
        if index is None:
            return True
        at = bisect_left(chosen, index)
        return at < len(chosen) and chosen[at] == index


def _pem(certificate: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


def _finding_line(item: KeptFinding) -> bytes:
    finding = item.finding
    value = {
        "code": finding.code.value,
        "kind": finding.code.title,
        "entry": finding.index,
        "serial_number": finding.serial_number,
        "detail": finding.detail,
        "expected": finding.expected,
        "found": finding.found,
        "found_at": time_text(item.found_at),
        "acknowledged": [
            {
                "statement": b64encode(said.statement).decode(),
                "signature": b64encode(said.signature).decode(),
            }
            for said in item.acknowledged
        ],
    }
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _digest_of(path: Path) -> tuple[bytes, int]:
    digest, size = sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return digest.digest(), size
