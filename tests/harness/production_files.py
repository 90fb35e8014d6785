"""Production files of paper logs, and doctored ones: whoever doctors one makes its manifest fit again."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from auditor.adapters.report.making import Making, Produced, Subject
from auditor.adapters.report.verifying import Trusted, Verdict, verify_archive
from auditor.adapters.workers import Workers
from auditor.core.cosigners import Cosigners
from auditor.core.proofs import parse_vkey
from auditor.core.report import form
from birthmark.proof import leaf_hash
from harness.audit_bench import Bench, bench, opened
from harness.paper_certificates import Authority, der, pem
from harness.paper_log import DEPLOYMENT, ORDER, PaperLog, vkey

Files = dict[str, bytes]


def no_progress(_phase: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def four_boards() -> PaperLog:
    """An order of four, closed: three stamped, one of them revoked, one without a stamp; and a refusal."""
    log = opened()
    boards = [log.issue(number) for number in (1, 2)]
    log.stamp(boards[0])
    log.open_order("WO-2")
    log.issue(1, work_order="WO-2")
    boards += [log.issue(number) for number in (3, 4)]
    log.stamp(boards[1])
    log.append(
        "refused",
        peer=boards[0].record.station,
        call="SignCsr",
        code="evidence_rejected",
        count=1,
        work_order=ORDER,
        chip_id="chip-9",
        csr_sha256=None,
    )
    log.stamp(boards[2])
    log.revoke(boards[2])
    log.close_order()
    return log


def made(made_with: Bench, path: Path, subject: Subject, crls: Sequence[bytes] = ()) -> Produced:
    """A report from a bench that has verified."""
    state, log = made_with.state, made_with.grpc_log
    roots = [made_with.log.root.certificate]
    return Making(log, state, roots, subject, crls, no_progress).write(path)


def production_file(log: PaperLog, directory: Path, subject: Subject | None = None) -> Path:
    """The archive of an order of this log, which an auditor verified before."""
    path = directory / "order.zip"
    with bench(log, directory / "state") as verified:
        assert verified.verify().clean
        made(verified, path, subject or Subject(order=ORDER))
    return path


def trusted(log: PaperLog) -> Trusted:
    """What a reader of this log's archives holds."""
    return Trusted([parse_vkey(vkey(log.log_key))], Cosigners(), [log.root.certificate])


def verdict(path: Path, trust: Trusted) -> Verdict:
    """As `report --verify` finds it."""
    with Workers(1, None) as judges:
        return verify_archive(path, trust, judges, no_progress)


def files_of(path: Path) -> Files:
    """The files of an archive, in their order."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: Files, *, method: int = zipfile.ZIP_STORED) -> Path:
    """An archive of these files, in the form that a production file has."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, method
            archive.writestr(info, data)
    return path


def fitted(files: Files) -> Files:
    """With a manifest that has the files' sizes and digests."""
    manifest = json.loads(files[form.MANIFEST])
    manifest["files"] = [
        {"name": name, "size": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in files.items()
        if name != form.MANIFEST
    ]
    return files | {form.MANIFEST: _canonical(manifest)}


def with_manifest(files: Files, **changes: object) -> Files:
    """Members of the manifest changed."""
    return files | {form.MANIFEST: _canonical(json.loads(files[form.MANIFEST]) | changes)}


def without_entries(files: Files, dropped: Callable[[dict[str, object]], bool]) -> Files:
    """Entries left out, so that the tree still fits: their leaf hashes stand among the subtrees."""
    kept, hidden = [], []
    for line in files[form.ENTRIES].splitlines(keepends=True):
        index, data = form.parse_entry_line(line)
        if dropped(json.loads(data)):
            hidden.append(form.Subtree(index, 1, leaf_hash(data)))
        else:
            kept.append(line)
    subtrees = [form.parse_subtree_line(line) for line in files[form.SUBTREES].splitlines(keepends=True)]
    subtrees = sorted([*subtrees, *hidden], key=lambda each: each.first)
    changed = {
        form.ENTRIES: b"".join(kept),
        form.SUBTREES: b"".join(map(form.subtree_line, subtrees)),
    }
    return files | changed


def with_record(files: Files, number: int, **parts: bytes) -> Files:
    """Parts of one record changed."""
    lines = files[form.RECORDS].splitlines(keepends=True)
    value = json.loads(lines[number]) | {
        name: base64.b64encode(part).decode() for name, part in parts.items()
    }
    lines[number] = _canonical(value)
    return files | {form.RECORDS: b"".join(lines)}


def _canonical(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return text.encode() + b"\n"


def six_days(boards: int = 96) -> PaperLog:
    """An order of three stations over six days, with what happens on a line: refusals, boards that were
    scrapped, some without a stamp."""
    log = PaperLog(now=datetime(2026, 11, 2, 7, tzinfo=UTC))
    stations = [f"birthmark://{DEPLOYMENT}/station/plant1/pc{number}" for number in (1, 2, 3)]
    log.open_log()
    for station in stations:
        log.add_station(station)
    log.add_product()
    log.personalize(2 * boards)
    log.open_order(quantity=boards + 4, stations=stations)
    for number in range(1, boards + 1):
        if number % (boards // 6) == 0:
            log.now += timedelta(hours=22)
        station = stations[number * number % 3 if number % 5 else 2]
        board = log.issue(number, station=station)
        if number % 11 == 4:
            log.append(
                "refused", peer=station, call="SignCsr", code="evidence_rejected", count=1, work_order=ORDER,
                chip_id=f"chip-{number}", csr_sha256=None,
            )  # fmt: skip
        if number % 23 != 9:
            log.stamp(board)
        if number % 31 == 30:
            log.revoke(board)
    return log


def of_a_rogue_issuer(directory: Path) -> tuple[PaperLog, Path]:
    """Who has the log's key and a board's: the log names an issuer that the board has certified, and the
    archive has all certificates from there up to the genuine root."""
    log = opened()
    genuine = log.issue(1)
    leaf = x509.load_der_x509_certificate(genuine.record.certificate_der)
    board = Authority(leaf, genuine.key)
    rogue = log.add_issuer("rogue", root=board, root_sha256=sha256(der(log.root.certificate)).hexdigest())
    log.change_issuer("issuer_activated", "rogue", rogue)
    record = log.issue(2, authority=rogue).record
    with bench(log, directory / "state") as verified:
        verified.verify()
        made(verified, directory / "honest.zip", Subject(order=ORDER))
    files = files_of(directory / "honest.zip")
    line = form.record_line(
        form.RecordBytes(
            record.issued_index, record.attester_spki, record.certificate_der, record.evidence.claims,
            record.csr_der, record.evidence.evidence, record.settings, b"", b"",
        )
    )  # fmt: skip
    files[form.RECORDS] += line
    files[form.ISSUERS] += pem(rogue.certificate) + pem(leaf)
    files = with_manifest(files | {form.FINDINGS: b""}, without_record=[])
    return log, pack(directory / "rogue.zip", fitted(files))
