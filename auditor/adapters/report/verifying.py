"""Verifies a production file with nothing but itself, the log's key, and perhaps the boards' root.

    1  the zip has the one form, and each file has the SHA-256 of the manifest
    2  the checkpoint is signed by the key that was given, or by this key as that of a successor of the log,
       which an operations CA has signed
    3  entries and subtrees lead to the checkpoint's root
    4  the entries fit together, none is left out as far as that can be told, and the sums are the manifest's
    5  issuers lead to a root of the ledger, or to the one that was given
    6  each record is judged by its entries as `verify` does: certificate, CSR, evidence, settings, stamp

What breaks 1 to 3 ends the verification: nothing after it would mean anything. All else is collected.
Memory grows by less than a kilobyte a board, and not with evidence and certificates.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters.report.archive_file import Archive
from auditor.core.books import CertificateState
from auditor.core.certificate import Issuer, issued_by, load_certificate, verify_issuer
from auditor.core.clock import SKEW
from auditor.core.codes import Code
from auditor.core.cosigners import Cosigners
from auditor.core.csr import X509_ERRORS
from auditor.core.entry import Entry, Issued, parse_entry, reread_entry
from auditor.core.forms import time, time_text
from auditor.core.growth import leaf_hashes
from auditor.core.issuers import KINDS, Known, replay
from auditor.core.proofs import translated
from auditor.core.record import Record, RecordState
from auditor.core.report import form
from auditor.core.report.account import MAX_PROBLEMS, Account, Made
from auditor.core.report.choice import Window
from auditor.core.report.form import Manifest, RecordBytes
from auditor.core.report.pruned_tree import Joined
from auditor.core.successions import said_by, words_of
from auditor.errors import CheckFailed, Malformed
from auditor.judging import Batch, Outcome, Terms
from auditor.ports import Judges, Progress
from birthmark import proof

_BATCH = 250  # records
_MAX_ABOVE = 5  # certificates of a chain, the root included


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the reader holds of its own."""

    log_keys: Sequence[proof.VerifierKey]  # one of them must have signed
    cosigners: Cosigners  # witnesses that have to have cosigned
    roots: Sequence[x509.Certificate]  # none: the root that the ledger names
    operations_cas: Sequence[x509.Certificate] = ()  # who may sign a successor of the log


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an archive shows. It holds if there is no problem."""

    sha256: bytes  # of the archive
    manifest: Manifest
    account: Account
    cosigned: tuple[str, ...]  # names of witnesses
    evidence: Counter[str]  # certificates by what their evidence rests on
    problems: tuple[str, ...]
    notes: tuple[str, ...]  # what is open, or not shown
    open_findings: int  # of the auditor who made it, and not acknowledged


def verify_archive(path: Path, trusted: Trusted, judges: Judges, progress: Progress) -> Verdict:
    """Verifies the archive in this file.

    Raises:
        ConfigError: it cannot be read.
        Malformed: it is no production file, or was altered.
        CheckFailed: the checkpoint is not signed by the key, or cosigned by too few witnesses.
    """
    with Archive.open(path) as archive:
        return verify_opened(archive, trusted, judges, progress)


def verify_opened(archive: Archive, trusted: Trusted, judges: Judges, progress: Progress) -> Verdict:
    """The same of one whose form holds already. Raises Malformed, CheckFailed."""
    return _Verifying(archive, trusted, judges, progress).run()


@dataclass(slots=True)
class _Verifying:
    archive: Archive
    trusted: Trusted
    judges: Judges
    progress: Progress
    manifest: Manifest = field(init=False)
    account: Account = field(init=False)
    indexes: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("Q"))  # of their lines
    issuer_entries: list[tuple[int, Entry]] = field(default_factory=list)
    evidence: Counter[str] = field(default_factory=Counter)
    waiting: deque[Callable[[], list[Outcome]]] = field(default_factory=deque)

    def run(self) -> Verdict:
        self.manifest = form.parse_manifest(self.archive.read(form.MANIFEST))
        self._check_digests()
        with translated():
            checkpoint = self._open_checkpoint(self.archive.read(form.CHECKPOINT))
            self.trusted.cosigners.demand(checkpoint)
            cosigned = proof.cosignatures(checkpoint, self.trusted.cosigners.witnesses)
        said = (self.manifest.origin, self.manifest.tree_size, self.manifest.root)
        if said != (checkpoint.origin, checkpoint.size, checkpoint.root):
            raise Malformed("the manifest is not of this checkpoint")
        self.account = self._empty_account()
        self._read_entries(checkpoint)
        self.account.end()
        self._check_succession(checkpoint)
        self._check_whole()
        self._check_manifest()
        if dict(self.manifest.counts) != self.account.counts():
            self.account.problem("the manifest counts otherwise than the entries do")
        products = self._products()
        chains = self._chains()
        self._check_crls()
        self._check_records(products, chains)
        unexplained = self._open_findings()
        return Verdict(
            self.archive.sha256,
            self.manifest,
            self.account,
            tuple(item.witness.name for item in cosigned),
            self.evidence,
            tuple(self.account.problems),
            tuple(self._notes()),
            unexplained,
        )

    def _open_checkpoint(self, note: bytes) -> proof.Checkpoint:
        """Signed by a key that was given. A later name of its log is taken where its succession can be
        verified, which the entries show (`_check_succession`). Raises ProofError, CheckFailed."""
        origin = note.partition(b"\n")[0].decode("utf-8", "replace")
        keys, (log, number) = self.trusted.log_keys, proof.log_name(origin)
        own = {proof.log_name(key.name) for key in keys}
        if origin in {key.name for key in keys} or {name for name, _ in own} != {log}:
            return proof.open_checkpoint(note, keys)
        if number < max(before for _, before in own):
            raise CheckFailed(
                Code.ROLLBACK,
                f"it is of {origin}, the log of before: later entries of it may be lost, and it shows none of"
                " its successor. Give the verifier key of this name",
            )
        if not self.trusted.operations_cas:
            raise CheckFailed(
                Code.LOG_SUCCEEDED,
                f"it is of {origin}: the log lost its end, and goes on under this name. Take its verifier key"
                " from the company, or verify with the settings (-c), which name the operations CA",
            )
        return proof.open_checkpoint(note, [proof.VerifierKey(origin, key.public_key) for key in keys])

    def _check_succession(self, checkpoint: proof.Checkpoint) -> None:
        """The entries say why the log has its name. Who follows under a key of before, demands that an
        operations CA said so."""
        log, number = proof.log_name(checkpoint.origin)
        shown = self.account.successions
        if number == 1 and not shown:
            return
        index, entry = shown[-1] if shown else (0, None)
        if entry is None or entry.number != number or index - entry.continued not in (0, 1):
            self.account.problem(f"the entry that the name {checkpoint.origin} follows from is not there")
            return
        if checkpoint.origin in {key.name for key in self.trusted.log_keys}:
            return
        try:
            said_by(entry, log).demand_signed(self.trusted.operations_cas)
        except proof.ProofError as error:
            self.account.problem(f"entry {index}: {error}")

    def _check_manifest(self) -> None:
        """What the manifest says beside its sums."""
        account, opened = self.account, self.account.opened
        if opened is not None and opened.deployment != self.manifest.deployment:
            account.problem("the manifest names another deployment than the log does")
        if account.last is None:
            return
        said = time(self.manifest.as_of)
        if said < account.last or (self._shows_last() and said > account.last + SKEW):
            account.problem(f"the manifest is as of {self.manifest.as_of}, and its newest entry is not")

    def _shows_last(self) -> bool:
        return bool(self.indexes) and self.indexes[-1] == self.manifest.tree_size - 1

    def _check_digests(self) -> None:
        found, said = self.archive.digests[:-1], list(self.manifest.files)
        if found == said:
            return
        names = [item.name for item, other in zip(found, said, strict=False) if item != other]
        raise Malformed(f"{(names or ['the list of files'])[0]} is not what the manifest says of it")

    def _empty_account(self) -> Account:
        manifest = self.manifest
        if manifest.order is not None:
            return Account.of_order(manifest.order)
        window = self._window()
        return Account.of_period(window.begin, window.end)

    def _window(self) -> Window:
        return Window(time(self.manifest.begin), time(self.manifest.end))

    # Entries

    def _read_entries(self, checkpoint: proof.Checkpoint) -> None:
        """Each entry is of the tree: with the subtrees it leads to the signed root. Raises CheckFailed,
        Malformed."""
        joined = Joined()
        subtrees = self._subtrees()
        subtree = next(subtrees, None)
        offset = 0
        lines = form.lines(self.archive.chunks(form.ENTRIES), form.MAX_ENTRY_LINE, form.ENTRIES)
        for line in lines:
            index, data = form.parse_entry_line(line)
            while subtree is not None and subtree.first < index:
                joined.add(subtree.first, subtree.count, subtree.hash)
                subtree = next(subtrees, None)
            joined.add(index, 1, leaf_hashes([data])[0])
            entry = parse_entry(data)
            self.account.take(index, entry)
            if entry.type in KINDS:
                self.issuer_entries.append((index, entry))
            self.indexes.append(index)
            self.offsets.append(offset)
            offset += len(line)
            if len(self.indexes) % 10_000 == 0:
                self.progress("entries", len(self.indexes), 0)
        while subtree is not None:
            joined.add(subtree.first, subtree.count, subtree.hash)
            subtree = next(subtrees, None)
        if (joined.size, joined.root()) != (checkpoint.size, checkpoint.root):
            raise Malformed(
                "the entries are not those of the checkpoint's tree: one was changed, added or left out"
            )

    def _subtrees(self) -> Iterator[form.Subtree]:
        chunks = self.archive.chunks(form.SUBTREES)
        return map(form.parse_subtree_line, form.lines(chunks, form.MAX_SUBTREE_LINE, form.SUBTREES))

    def _entry(self, index: int) -> bytes:
        """The bytes of an entry that came before. Raises Malformed: it did not."""
        at = bisect_left(self.indexes, index)
        if at == len(self.indexes) or self.indexes[at] != index:
            raise Malformed(f"entry {index} is not there")
        begin = self.offsets[at]
        line = self.archive.part(form.ENTRIES, begin, form.MAX_ENTRY_LINE).partition(b"\n")[0]
        return form.parse_entry_line(line + b"\n")[1]

    def _check_whole(self) -> None:
        manifest, whole = self.manifest, self.manifest.whole
        if whole is None:
            if manifest.order is None:
                self.account.problem("the manifest does not say which entries are of that time")
            return
        begin, end = whole
        there = bisect_left(self.indexes, end) - bisect_left(self.indexes, begin)
        if not begin <= end <= manifest.tree_size or there != end - begin:
            self.account.problem(f"entries are left out between {begin} and {end}")
            return
        if manifest.order is not None:
            seen = self.account.orders.get(manifest.order)
            if seen is not None and (seen.index, manifest.tree_size) != whole:
                self.account.problem("not all entries since the order was opened are there")
            return
        window = self._window()
        if begin == end:
            self.account.problem("the manifest does not say which entries are of that time")
            return
        if begin > 0 and window.near(self._entry(begin)) != -1:
            self.account.problem("entries of that time are left out at its beginning")
        if end < manifest.tree_size and window.near(self._entry(end - 1)) != 1:
            self.account.problem("entries of that time are left out at its end")

    # What stands beside

    def _products(self) -> dict[bytes, bytes]:
        files = {}
        for name in self.archive.names("products/"):
            data = self.archive.read(name)
            digest = sha256(data).digest()
            if form.product_name(digest) != name:
                self.account.problem(f"{name} is another file than its name says")
            files[digest] = data
        for name, seen in self.account.orders.items():
            if self.manifest.records and seen.terms.product_sha256 not in files:
                self.account.problem(f"the product file of order {name} is not there")
        return files

    def _chains(self) -> dict[bytes, tuple[bytes, ...]]:
        """Of each issuer of the ledger, by the SHA-256 of its certificate: up to the root, the last."""
        bundle = self._bundle()
        pinned = {sha256(root.public_bytes(Encoding.DER)).digest() for root in self.trusted.roots}
        chains: dict[bytes, tuple[bytes, ...]] = {}
        for digest, root_digest in self.account.issuers.items():
            certificate, root = bundle.get(digest), bundle.get(root_digest)
            if certificate is None:
                continue  # it has issued nothing that the report is about
            if root is None or (pinned and root_digest not in pinned):
                self.account.problem(f"an issuer's root is not the one that was given: {root_digest.hex()}")
                continue
            chain = [certificate]
            while chain[-1].issuer != root.subject and len(chain) < _MAX_ABOVE:
                above = next((each for each in bundle.values() if each.subject == chain[-1].issuer), None)
                if above is None:
                    break
                chain.append(above)
            ders = tuple(each.public_bytes(Encoding.DER) for each in chain)
            try:
                verify_issuer(ders, root)
            except CheckFailed as error:
                self.account.problem(f"an issuer: {error}")
                continue
            chains[digest] = (*ders, root.public_bytes(Encoding.DER))
        return chains

    def _bundle(self) -> dict[bytes, x509.Certificate]:
        data = self.archive.read(form.ISSUERS)
        if not data:
            return {}
        try:
            certificates = x509.load_pem_x509_certificates(data)
            ders = [each.public_bytes(Encoding.DER) for each in certificates]
        except ValueError as error:
            raise Malformed(f"{form.ISSUERS} cannot be read") from error
        return {sha256(each).digest(): load_certificate(each) for each in ders}

    def _check_crls(self) -> None:
        issuers = list(self._bundle().values())
        for name in self.archive.names("crls/"):
            data = self.archive.read(name)
            digest = sha256(data).digest()
            if form.crl_name(digest) != name or digest not in self.account.crls:
                self.account.problem(f"{name} is no CRL of the ledger")
            elif not _signed_by_one(data, issuers):
                self.account.problem(f"{name} is signed by no issuer of the archive")

    def _open_findings(self) -> int:
        """How many of the auditor's findings nobody gave a reason for."""
        count = 0
        chunks = self.archive.chunks(form.FINDINGS)
        for line in form.lines(chunks, form.max_size(form.FINDINGS), form.FINDINGS):
            count += not form.parse_finding_line(line)
        return count

    # Records

    def _check_records(self, products: dict[bytes, bytes], chains: dict[bytes, tuple[bytes, ...]]) -> None:
        missing = set(self.manifest.without_record)
        expected = (board for _, board in self.account.concerned() if board.index not in missing)
        if missing:
            self.account.problem(f"{len(missing)} certificates are named as having no record that holds")
        chunks = self.archive.chunks(form.RECORDS)
        known = replay(self.issuer_entries)
        issuers = {digest: verify_issuer(chain[:-1], _root(chain)) for digest, chain in chains.items()}
        batch, done = Batch(self.manifest.tree_size), 0
        for line in form.lines(chunks, form.MAX_RECORD_LINE + 1, form.RECORDS):
            parts = form.parse_record_line(line)
            board = next(expected, None)
            if board is None or board.index != parts.index:
                wanted = "no entry" if board is None else f"entry {board.index}"
                self.account.problem(
                    f"a record is left out, or one too many: {wanted} comes next, and the record is of"
                    f" {parts.index}"
                )
                return
            issuer = self._issuer_of(parts, board, known, issuers)
            if issuer is None:
                self.account.problem(
                    f"entry {board.index}: its certificate is of no issuer that was active then"
                )
                continue
            self._add(batch, parts, board, products, chains, issuer)
            done += 1
            if len(batch.jobs) == _BATCH:
                self._submit(batch)
                batch = Batch(self.manifest.tree_size)
                self.progress("records", done, len(self.account.boards))
        self._submit(batch)
        while self.waiting:
            self._settle()
        left = next(expected, None)
        if left is not None and self.manifest.records:
            self.account.problem(f"the record of entry {left.index} is left out")

    def _issuer_of(
        self, parts: RecordBytes, board: Made, known: Known, issuers: dict[bytes, Issuer]
    ) -> bytes | None:
        active = [one.certificate_sha256 for one in known.values() if one.active_at(board.index)]
        active = [digest for digest in active if digest in issuers]
        if len(active) == 1:
            return active[0]
        try:
            certificate = load_certificate(parts.certificate)
        except Malformed:
            return None
        return next((digest for digest in active if issued_by(certificate, issuers[digest])), None)

    def _add(
        self,
        batch: Batch,
        parts: RecordBytes,
        board: Made,
        products: dict[bytes, bytes],
        chains: dict[bytes, tuple[bytes, ...]],
        issuer: bytes,
    ) -> None:
        issued = self._entry(board.index)
        entry = reread_entry(issued)
        if not isinstance(entry, Issued):
            raise Malformed(
                f"entry {board.index} is no longer what it was: the file changes while it is read"
            )
        stamped = None if board.stamped is None else self._entry(board.stamped)
        if board.order not in batch.orders:
            seen = self.account.orders[board.order]
            batch.orders[board.order] = Terms(
                self._entry(seen.index), products.get(seen.terms.product_sha256)
            )
        batch.chains[issuer] = chains[issuer]
        state = CertificateState(
            board.index, entry.certificate_sha256, entry.work_order, entry.number, entry.chip_id,
            entry.serial_number, board.stamped, board.revoked, "", entry.method, board.index,
        )  # fmt: skip
        since = self.account.intents.get((entry.work_order, entry.number))
        batch.add(_record(parts, entry, board), state, issued, stamped, since, issuer)

    def _submit(self, batch: Batch) -> None:
        if not batch.jobs:
            return
        self.waiting.append(self.judges.submit(batch))
        if len(self.waiting) > 2 * self.judges.count:
            self._settle()

    def _settle(self) -> None:
        for outcome in self.waiting.popleft()():
            self.evidence[outcome.basis.value] += 1
            if outcome.finding is not None:
                found = outcome.finding
                self.account.problem(
                    f"entry {found.index}, board {found.serial_number}: {found.code.value} {found.detail}"
                )

    def _notes(self) -> Iterator[str]:
        account, counts = self.account, self.account.counts()
        yield (
            "report.html, README.txt and findings.jsonl are the word of whoever made the file: nothing of the"
            " log signs them. The sums here are those of the entries"
        )
        log, _ = proof.log_name(self.manifest.origin)
        for index, entry in account.successions:
            yield words_of(index, entry, log)
        if account.last is not None and not self._shows_last():
            yield (
                f"the newest entry shown is of {time_text(account.last)}: that there is none after as_of is"
                " the word of whoever made the file"
            )
        if not self.trusted.roots and self.manifest.records:
            yield "no root was given: the certificates lead to the root that the ledger names"
        if account.unsaid:
            yield f"{account.unsaid} problems beyond the first {MAX_PROBLEMS}"
        if counts["without_stamp"]:
            yield f"{counts['without_stamp']} certificates are neither stamped nor revoked"
        if not self.manifest.records:
            yield "it was made from tiles: no certificate, evidence or stamp is in it"
        if self.manifest.order is not None and self.manifest.whole is None:
            for seen in account.orders.values():
                if len(seen.places) < seen.terms.quantity:
                    yield (
                        f"{len(seen.places)} of {seen.terms.quantity} places have a board: whether later ones"
                        " were left out is not shown, and a report with --whole shows it"
                    )
            yield (
                "whether stamps, revocations or further certificates of a board were left out is not shown: a"
                " report with --whole shows it"
            )


def _record(parts: RecordBytes, entry: Issued, board: Made) -> Record:
    """As signerd would hand it over, with what the ledger says in place of signerd's word."""
    state = RecordState.ISSUED if board.stamped is None else RecordState.STAMPED
    return Record(
        record_id=board.index,
        work_order=entry.work_order,
        product=entry.product,
        chip_id=entry.chip_id,
        serial_number=entry.serial_number,
        number=entry.number,
        state=state if board.revoked is None else RecordState.REVOKED,
        certificate=parts.certificate,
        csr=parts.csr,
        method=entry.method,
        claims=parts.claims,
        evidence=parts.evidence,
        level=entry.level,
        challenge=entry.challenge,
        station=entry.station,
        issued_at=entry.time,
        issued_index=board.index,
        stamp=parts.stamp,
        stamp_signature=parts.stamp_signature,
        stamped_index=board.stamped or 0,
        revoked_index=board.revoked or 0,
        settings=parts.settings,
        measured=entry.measured,
        attester=parts.attester,
    )


def _root(chain: Sequence[bytes]) -> x509.Certificate:
    return x509.load_der_x509_certificate(chain[-1])


def _signed_by_one(crl: bytes, issuers: Sequence[x509.Certificate]) -> bool:
    try:
        read = x509.load_der_x509_crl(crl)
    except ValueError:
        return False
    return any(_is_signed(read, issuer) for issuer in issuers)


def _is_signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        key = issuer.public_key()
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and crl.is_signature_valid(key)
    except X509_ERRORS:
        return False
