"""Writes the verified ledger as files: its entries as tiles, and each certificate, checked anew.

    outcome = Export(log, state, pinned, judges, ExportFolder(path), progress).run()

Entries come bundle by bundle and records page by page, whatever their number; a few pages are in memory.
`position.json` says up to which record certificates are written. Whatever it says, each certificate of the
ledger is compared with its file at the end, and one that is not there is asked for by itself. So a run that
is broken off goes on where it was, and ends with the files of one that was not.
"""

from __future__ import annotations

import json
import ssl
from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters.export_folder import ExportFolder
from auditor.adapters.export_tiles import export_tiles
from auditor.briefs import MAX_EXCESS, Briefs, malformed_answer, missing_record, pages_of
from auditor.core.books import CertificateState
from auditor.core.codes import Code
from auditor.core.findings import Finding
from auditor.core.log_keys import in_succession
from auditor.core.record import Record
from auditor.errors import CheckFailed, Malformed, NotFound
from auditor.judging import Batch, Outcome
from auditor.ports import Judges, Kept, Log, Progress, Stage, State
from auditor.reread import Reader
from auditor.verify import Pinned
from birthmark.proof import ProofError, open_succession
from birthmark.proof.succession import SUCCESSION_PATH
from birthmark.proof.tile import CHECKPOINT_PATH

POSITION = "position.json"
MAX_FINDINGS = 10_000  # shown of one run
_MAX_POSITION = 1 << 20  # bytes
_MAX_PEM = 65_536  # bytes, of a board's certificate
_WAITING = 2  # pages a judge that may wait
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"


@dataclass(slots=True)
class Exported:
    """What is in the folder now."""

    entries: int = 0
    certificates: int = 0
    findings: tuple[Finding, ...] = ()
    dropped: int = 0  # findings beyond MAX_FINDINGS


@dataclass(slots=True)
class _Page:
    """Records that were handed to the judges, each with what came of it before; None: they tell."""

    record_id: int
    jobs: list[tuple[CertificateState, bytes, Outcome | None]]
    later: Callable[[], list[Outcome]]


class Export:
    """One run. `folder`: of an earlier export of this log, or empty."""

    def __init__(
        self,
        log: Log,
        state: State,
        pinned: Pinned,
        judges: Judges,
        folder: ExportFolder,
        progress: Progress,
    ) -> None:
        self._log, self._state, self._pinned = log, state, pinned
        self._judges, self._folder, self._progress = judges, folder, progress
        self._found: list[Finding] = []
        self._dropped = 0

    def run(self) -> Exported:
        """Writes what is not there yet.

        Raises:
            NotFound: nothing was verified yet, or not to its end.
            ConfigError: a file cannot be written.
            Unreachable: signerd stopped answering. The next run goes on.
        """
        kept = self._state.kept()
        if kept is None:
            raise NotFound("nothing was verified yet: run `verify` first")
        if kept.stage is Stage.ENTRIES:
            raise NotFound("the last run was broken off among the entries: run `verify` again first")
        reader = Reader(self._log, self._state)
        self._state.read_entry = reader.entry
        done = Exported()
        done.entries = export_tiles(reader, self._state, self._folder, self._report, self._progress)
        roots = b"".join(root.public_bytes(Encoding.PEM) for root in self._pinned.roots)
        self._folder.put("root.pem", roots)
        if self._log.has_records:
            done.certificates = self._certificates(kept)
        self._succession(kept)
        # The last one: whoever reads the tiles begins with it, and finds all that it speaks of.
        self._folder.put(CHECKPOINT_PATH, kept.checkpoint.note)
        done.findings, done.dropped = tuple(self._found), self._dropped
        return done

    def _report(self, finding: Finding) -> None:
        if len(self._found) < MAX_FINDINGS:
            self._found.append(finding)
        else:
            self._dropped += 1

    def _succession(self, kept: Kept) -> None:
        """What proves that a successor's log goes on from the one that readers may have pinned."""
        if kept.checkpoint.origin == self._pinned.log_key.name or not in_succession(
            self._state, self._pinned.trust.vkey
        ):
            return
        try:
            data = self._log.succession()
            known, cas = [self._pinned.log_key], self._pinned.trust.operations_cas
            open_succession(data, known, cas).demand_heads(kept.checkpoint)
        except (ProofError, Malformed, NotFound) as error:
            detail = f"no succession is proven of the log that was verified: {error}"
            self._report(Finding(Code.SUCCESSION_HISTORY, detail, found=kept.checkpoint.origin))
        else:
            self._folder.put(SUCCESSION_PATH, data)

    # Certificates

    def _certificates(self, kept: Kept) -> int:
        briefs = Briefs(self._log, self._state, self._pinned.roots)
        for work_order in self._state.orders():
            briefs.rules_of(work_order, self._report)
        self._stream(briefs, kept, self._position(briefs, kept))
        count = self._compare(briefs, kept)
        above = {der: None for *chain, _root in briefs.issuers.chains.values() for der in chain}
        self._folder.put("chain.pem", b"".join(map(_pem, above)))
        return count

    def _position(self, briefs: Briefs, kept: Kept) -> int:
        """Where an earlier run stood. A chain in it is believed as signerd's is."""
        data = self._folder.read(POSITION, _MAX_POSITION)
        try:
            value = json.loads(data or b"{}")
            if value["origin"] != kept.checkpoint.origin or value["first"] != self._first_hash():
                return 0
            for chain in value["chains"]:
                briefs.issuers.learn([bytes.fromhex(der) for der in chain])
            record_id: int = value["record_id"]
        except (ValueError, KeyError, TypeError, CheckFailed, Malformed):
            return 0
        return record_id if isinstance(record_id, int) and 0 <= record_id < 2**63 else 0

    def _first_hash(self) -> str:
        """Which log it is, also where another one bears its name."""
        return sha256(self._state.entry(0)).hexdigest()

    def _note_position(self, briefs: Briefs, kept: Kept, record_id: int) -> None:
        chains = [[der.hex() for der in chain[:-1]] for chain in briefs.issuers.chains.values()]
        value = {
            "origin": kept.checkpoint.origin,
            "first": self._first_hash(),
            "record_id": record_id,
            "chains": chains,
        }
        # A crash before: the page before is written again, with the same bytes. A power cut after, which may
        # take certificates that stand before the position: they are missed when all are compared.
        self._folder.put(POSITION, json.dumps(value).encode())

    def _stream(self, briefs: Briefs, kept: Kept, after: int) -> None:
        """Certificates of all records from a position on that hold. What does not hold is told by
        `_compare`, in this run and in each later one."""
        waiting: deque[_Page] = deque()
        most = self._state.totals.certificates + MAX_EXCESS
        done, total = 0, self._state.totals.certificates
        for record_id, records in pages_of(self._log, most, after, self._report):
            waiting.append(self._page(briefs, kept.frontier.size, record_id, records))
            done += len(records)
            while len(waiting) > _WAITING * self._judges.count:
                self._take(briefs, kept, waiting.popleft())
                self._progress("certificates", min(done, total), total)
        while waiting:
            self._take(briefs, kept, waiting.popleft())

    def _page(self, briefs: Briefs, size: int, record_id: int, records: Sequence[Record]) -> _Page:
        batch = Batch(size)
        jobs = []
        for record in records:
            certificate = briefs.entry_of(record) if record.certificate else None
            if certificate is None or briefs.rules.get(certificate.work_order) is None:
                continue
            try:
                outcome = briefs.add(batch, record, certificate, self._report)
            except NotFound:
                continue
            jobs.append((certificate, record.certificate, outcome))
        return _Page(record_id, jobs, self._judges.submit(batch) if batch.jobs else list)

    def _take(self, briefs: Briefs, kept: Kept, page: _Page) -> None:
        judged = iter(page.later())
        for certificate, der, known in page.jobs:
            outcome = known or next(judged)
            if outcome.finding is None:
                self._folder.put(_file_of(certificate), _pem(der))
        self._note_position(briefs, kept, page.record_id)

    def _compare(self, briefs: Briefs, kept: Kept) -> int:
        """Each certificate of the ledger with its file; returns how many boards have one that holds."""
        boards = done = 0
        for certificate in self._state.certificates_of():
            done += 1
            self._progress("files", done, self._state.totals.certificates)
            if briefs.rules.get(certificate.work_order) is None:
                continue  # its order is a finding
            found = _digest(self._folder.read(_file_of(certificate), _MAX_PEM))
            if found == certificate.certificate_sha256:
                boards += 1
                continue
            newest = self._state.newest_numbered(certificate.serial_number)
            if newest is None or newest.index != certificate.index:
                continue  # a later one of its board comes by
            earlier = self._state.certificates_of(serial_number=certificate.serial_number)
            had = found in {each.certificate_sha256 for each in earlier}
            written = self._alone(briefs, certificate, kept.frontier.size)
            boards += written and not had
            if not written and not had:
                self._folder.remove(_file_of(certificate))
        return boards

    def _alone(self, briefs: Briefs, certificate: CertificateState, size: int) -> bool:
        """Asks for one certificate; False: it does not hold, and is reported."""
        batch = Batch(size)
        try:
            record = self._log.record(certificate.certificate_sha256).record
            outcome = briefs.add(batch, record, certificate, self._report)
        except NotFound:
            self._report(missing_record(certificate))
            return False
        except Malformed as error:
            outcome = malformed_answer(certificate, error)
        if outcome is None:
            (outcome,) = self._judges.submit(batch)()
        if outcome.finding is not None:
            self._report(outcome.finding)
            return False
        self._folder.put(_file_of(certificate), _pem(record.certificate))
        return True


def _file_of(certificate: CertificateState) -> str:
    """A colon is no part of a file's name on Windows. Entries have no other character that is none."""
    return f"certificates/{certificate.serial_number.replace(':', '_')}.pem"


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode("ascii")


def _digest(data: bytes | None) -> bytes | None:
    """SHA-256 of the certificate in a file; None where the file is not just as it would be written."""
    if data is None or not data.startswith(_BEGIN) or not data.endswith(_END):
        return None
    try:
        der = a2b_base64(data[len(_BEGIN) : -len(_END)])
    except BinasciiError:
        return None
    return sha256(der).digest() if _pem(der) == data else None
