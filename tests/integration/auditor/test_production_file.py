"""The production file: what is in it, that it is the same each time, and that it verifies."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.adapters.report.making import Making, Subject
from auditor.adapters.report.verifying import Trusted
from auditor.adapters.tile_log import TileLog
from auditor.core.acknowledgement import statement
from auditor.core.cosigners import Cosigners
from auditor.core.proofs import parse_vkey
from auditor.core.report import form
from auditor.errors import CheckFailed, ConfigError, NotFound
from auditor.ports import Acknowledgement
from birthmark.proof import SignatureType, VerifierKey
from birthmark.proof.note import cosigned_message, signature_line
from harness.audit_bench import bench
from harness.paper_certificates import Authority, der
from harness.paper_log import ORDER, PaperLog, vkey
from harness.paper_tiles import files_of as tiles_of
from harness.paper_tiles import write_tiles
from harness.production_files import (
    files_of,
    fitted,
    four_boards,
    made,
    no_progress,
    pack,
    production_file,
    trusted,
    verdict,
)


@dataclass(frozen=True)
class Made:
    """An archive and its log."""

    log: PaperLog
    path: Path


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Made:
    log = four_boards()
    return Made(log, production_file(log, tmp_path_factory.mktemp("order")))


def test_an_honest_archive_holds(order: Made) -> None:
    found = verdict(order.path, trusted(order.log))
    assert found.problems == ()
    assert found.account.counts() == {
        "ordered": 4, "certificates": 4, "boards": 4, "made": 4, "stamped": 3, "scrapped": 1, "refused": 1,
        "valid": 3, "without_stamp": 1,
    }  # fmt: skip
    assert dict(found.evidence) == {"mac": 4}
    assert found.sha256 == sha256(order.path.read_bytes()).digest()
    assert [note.partition(":")[0] for note in found.notes] == [
        "report.html, README.txt and findings.jsonl are the word of whoever made the file",
        "1 certificates are neither stamped nor revoked",
        "whether stamps, revocations or further certificates of a board were left out is not shown",
    ]


def test_it_has_the_orders_entries_and_no_others(order: Made) -> None:
    files = files_of(order.path)
    lines = files[form.ENTRIES].splitlines(keepends=True)
    entries = dict(map(form.parse_entry_line, lines))
    assert all(order.log.entries[index] == data for index, data in entries.items())
    orders = {json.loads(data).get("work_order") for data in entries.values()}
    assert orders == {None, ORDER}
    types = [json.loads(data)["type"] for data in entries.values()]
    assert types[:4] == ["log_opened", "station_added", "product_added", "chips_personalized"]
    assert [types.count(kind) for kind in ("issued", "stamped", "revoked", "refused", "order_closed")] == [
        4, 3, 1, 1, 1,
    ]  # fmt: skip
    assert list(files)[-1] == form.MANIFEST
    product = sha256(order.log.product_toml.encode()).digest()
    assert files[form.product_name(product)] == order.log.product_toml.encode()


def test_the_same_state_gives_the_same_bytes(order: Made, tmp_path: Path) -> None:
    assert production_file(order.log, tmp_path).read_bytes() == order.path.read_bytes()


def test_another_key_or_another_root_is_refused(order: Made) -> None:
    own = trusted(order.log)
    other = PaperLog()
    with pytest.raises(CheckFailed, match="signed by none of the keys"):
        verdict(order.path, replace(own, log_keys=trusted(other).log_keys))
    found = verdict(order.path, replace(own, roots=[other.root.certificate]))
    assert "an issuer's root is not the one that was given" in found.problems[0]


def test_a_whole_file_shows_that_nothing_was_left_out(order: Made, tmp_path: Path) -> None:
    path = production_file(order.log, tmp_path, Subject(order=ORDER, whole=True))
    found = verdict(path, trusted(order.log))
    assert found.problems == ()
    assert found.manifest.whole == (4, len(order.log.entries))
    assert found.account.counts() == verdict(order.path, trusted(order.log)).account.counts()
    assert [note.partition(":")[0] for note in found.notes] == [
        "report.html, README.txt and findings.jsonl are the word of whoever made the file",
        "1 certificates are neither stamped nor revoked",
    ]


def test_a_time_instead_of_an_order(order: Made, tmp_path: Path) -> None:
    day = Subject(begin=datetime(2026, 11, 1, tzinfo=UTC), end=datetime(2026, 11, 2, tzinfo=UTC))
    found = verdict(production_file(order.log, tmp_path, day), trusted(order.log))
    assert found.problems == ()
    assert found.account.counts()["boards"] == 5
    assert found.manifest.whole == (0, len(order.log.entries))
    night = Subject(begin=datetime(2026, 11, 2, tzinfo=UTC), end=datetime(2026, 11, 3, tzinfo=UTC))
    empty = verdict(production_file(order.log, tmp_path, night), trusted(order.log))
    assert empty.problems == ()
    assert empty.account.counts()["boards"] == 0


def test_a_crl_of_the_ledger_and_one_that_is_none(tmp_path: Path) -> None:
    log = four_boards()
    crl = crl_of(log.issuer)
    log.append(
        "crl_issued",
        crl_number=1,
        crl_sha256=sha256(crl).hexdigest(),
        next_update="2026-12-01T00:00:00Z",
        count=1,
    )
    with bench(log, tmp_path / "state") as verified:
        assert verified.verify().clean
        made(verified, tmp_path / "crl.zip", Subject(order=ORDER), [crl])
        with pytest.raises(ConfigError, match="no `crl_issued` entry"):
            made(verified, tmp_path / "other.zip", Subject(order=ORDER), [b"another"])
        assert sorted(file.name for file in tmp_path.iterdir()) == ["crl.zip", "state"]
    files = files_of(tmp_path / "crl.zip")
    assert files[form.crl_name(sha256(crl).digest())] == crl
    assert verdict(tmp_path / "crl.zip", trusted(log)).problems == ()


def crl_of(authority: Authority) -> bytes:
    """An empty one."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(datetime(2026, 11, 1, tzinfo=UTC))
    builder = builder.next_update(datetime(2026, 12, 1, tzinfo=UTC))
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_crl_that_another_signed(tmp_path: Path) -> None:
    log = four_boards()
    crl = crl_of(PaperLog().issuer)
    digest = sha256(crl).hexdigest()
    log.append("crl_issued", crl_number=1, crl_sha256=digest, next_update="2026-12-01T00:00:00Z", count=1)
    with bench(log, tmp_path / "state") as verified:
        assert verified.verify().clean
        made(verified, tmp_path / "crl.zip", Subject(order=ORDER), [crl])
    name = form.crl_name(bytes.fromhex(digest))
    assert verdict(tmp_path / "crl.zip", trusted(log)).problems == (
        f"{name} is signed by no issuer of the archive",
    )


def test_a_record_that_is_not_that_of_the_ledger_is_left_out_and_named(tmp_path: Path) -> None:
    log = four_boards()
    with bench(log, tmp_path / "state") as verified:
        assert verified.verify().clean
        log.records[1].settings += b"\0"
        produced = made(verified, tmp_path / "order.zip", Subject(order=ORDER))
    assert [item.code.name for item in produced.findings] == ["RECORD_DIFFERS", "RECORD_MISSING"]
    assert produced.manifest.without_record == (log.records[1].issued_index,)
    found = verdict(tmp_path / "order.zip", trusted(log))
    assert found.problems == ("1 certificates are named as having no record that holds",)


def test_without_an_order_or_a_run_there_is_no_file(order: Made, tmp_path: Path) -> None:
    with bench(order.log, tmp_path / "state") as verified:
        with pytest.raises(NotFound, match="run `verify` first"):
            made(verified, tmp_path / "order.zip", Subject(order=ORDER))
        verified.verify()
        with pytest.raises(NotFound, match="no work order WO-9"):
            made(verified, tmp_path / "order.zip", Subject(order="WO-9"))
    assert not (tmp_path / "order.zip").exists()


def test_a_report_that_breaks_off_leaves_the_one_of_before(order: Made, tmp_path: Path) -> None:
    path = tmp_path / "order.zip"
    left = tmp_path / "order.zip.part"  # of a report whose process was killed
    left.write_bytes(bytes(1 << 20))
    with bench(order.log, tmp_path / "state") as verified:
        verified.verify()
        made(verified, path, Subject(order=ORDER))
        assert not left.exists()
        before = path.read_bytes()
        order.log.records[0].evidence.evidence, kept = b"x", order.log.records[0].evidence.evidence
        order.log.fail_at_entry = 0
        try:
            with pytest.raises(Exception, match="unavailable"):
                made(verified, path, Subject(order=ORDER))
        finally:
            order.log.fail_at_entry = None
            order.log.records[0].evidence.evidence = kept
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["order.zip", "state"]


def test_a_report_whose_process_is_killed_before_its_end_leaves_the_one_of_before(
    order: Made, tmp_path: Path
) -> None:
    path = tmp_path / "order.zip"
    path.write_bytes(b"the one of before")
    code = (
        "import os, sys; from pathlib import Path; from auditor.adapters.report import archive_file as a\n"
        "a.os.fsync = lambda _: os._exit(9)\n"
        "with a.writing(Path(sys.argv[1])) as archive: archive.add('README.txt', [b'new'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == 9
    assert path.read_bytes() == b"the one of before"
    with bench(order.log, tmp_path / "state") as verified:
        verified.verify()
        made(verified, path, Subject(order=ORDER))
    assert verdict(path, trusted(order.log)).problems == ()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["order.zip", "state"]


def test_findings_stand_in_it_and_so_does_their_acknowledgement(tmp_path: Path) -> None:
    log = four_boards()
    honest = log.records[0].settings
    with bench(log, tmp_path / "state") as verified:
        log.records[0].settings = honest + b"\0"
        assert [item.code.name for item in verified.verify().new] == ["SETTINGS"]
        log.records[0].settings = honest
        produced = made(verified, tmp_path / "open.zip", Subject(order=ORDER))
        assert (produced.open, produced.findings) == (1, ())
        (kept,) = verified.state.findings()
        said = statement(
            kept.finding, kept.found_at, origin="paper.example/line", reason="a flipped bit, ticket <812>",
            by="carol", key="", at=kept.found_at,
        )  # fmt: skip
        with verified.state.transaction():
            verified.state.acknowledge(kept.number, Acknowledgement(said, b"", kept.found_at))
        assert made(verified, tmp_path / "said.zip", Subject(order=ORDER)).open == 0
    for name, count in (("open.zip", 1), ("said.zip", 0)):
        found = verdict(tmp_path / name, trusted(log))
        assert (found.problems, found.open_findings) == ((), count)
    pages = [files_of(tmp_path / name)[form.PAGE].decode() for name in ("open.zip", "said.zip")]
    assert "nothing: it stands open" in pages[0]
    assert "carol, 2027-01-01T00:00:00Z: a flipped bit, ticket &lt;812&gt;" in pages[1]


def test_a_log_whose_key_was_replaced(tmp_path: Path) -> None:
    log = four_boards()
    first, second = log.log_key, Ed25519PrivateKey.generate()
    log.announce_key(second)
    log.activate_key(second)
    log.retire_key(first)
    path = production_file(log, tmp_path)
    keys = files_of(path)[form.VKEY].decode().splitlines()
    assert keys == [vkey(second)]
    own = trusted(log)
    assert verdict(path, replace(own, log_keys=[parse_vkey(keys[0])])).problems == ()
    with pytest.raises(CheckFailed, match="signed by none of the keys"):
        verdict(path, own)


def test_from_tiles_it_has_the_entries_alone(order: Made, tmp_path: Path) -> None:
    log = order.log
    write_tiles(tmp_path / "tiles", tiles_of(log.entries), log.checkpoint())
    source = TileLog(str(tmp_path / "tiles"))
    with bench(log, tmp_path / "state") as verified:
        assert verified.verify().clean
        roots, subject = [log.root.certificate], Subject(order=ORDER)
        making = Making(source, verified.state, roots, subject, [], no_progress)
        making.write(tmp_path / "order.zip")
    found = verdict(tmp_path / "order.zip", trusted(log))
    assert found.problems == ()
    assert found.manifest.records is False
    assert found.account.counts()["boards"] == 4
    assert any("made from tiles" in note for note in found.notes)
    files = files_of(tmp_path / "order.zip")
    assert files[form.RECORDS] == files[form.ISSUERS] == b""


def test_the_page_is_whole_by_itself_and_says_what_is_open(order: Made) -> None:
    page = files_of(order.path)[form.PAGE].decode()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page
    assert not re.search(r"<script|https?://|\bsrc=|\bhref=|style=|url\(", page)
    assert "1 certificates are neither stamped nor revoked" in page
    assert re.findall(r"<li><b>(\d+)</b>(\w+)", page)[:5] == [
        ("4", "ordered"), ("4", "made"), ("3", "stamped"), ("1", "scrapped"), ("1", "refused"),
    ]  # fmt: skip


def test_the_first_form_is_read() -> None:
    forms = Path(__file__).parents[2] / "vectors" / "forms"
    key = parse_vkey((forms / "production-1.vkey").read_text("utf-8").strip())
    found = verdict(forms / "production-1.zip", Trusted([key], Cosigners(), []))
    assert found.problems == ()
    assert found.account.counts()["boards"] == 4


def test_cosignatures_of_witnesses_are_told(order: Made, tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    files = files_of(order.path)
    text = files[form.CHECKPOINT].rpartition(b"\n\n")[0].decode() + "\n"
    names = ["witness.example/a", "witness.example/b"]
    witnesses = [VerifierKey(n, raw(k), SignatureType.COSIGNATURE) for n, k in zip(names, keys, strict=True)]
    message = cosigned_message(text, 1_800_000_000)
    time = (1_800_000_000).to_bytes(8)
    for key, witness in zip(keys[:1], witnesses[:1], strict=True):
        files[form.CHECKPOINT] += signature_line(witness, time + key.sign(message))
    path = pack(tmp_path / "cosigned.zip", fitted(files))
    own = trusted(order.log)
    both = [witness.text() for witness in witnesses]
    found = verdict(path, replace(own, cosigners=Cosigners.of(both, 1)))
    assert (found.problems, found.cosigned) == ((), ("witness.example/a",))
    with pytest.raises(CheckFailed, match="1 of 2 witnesses signed, and 2 must"):
        verdict(path, replace(own, cosigners=Cosigners.of(both, 2)))


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


STEPS = re.compile(
    r"^  python3 -(?P<arguments>[^\n]*)<<'END'\n(?P<code>.*?)^  END\n", re.MULTILINE | re.DOTALL
)


@pytest.mark.check
@pytest.mark.parametrize("doctored", [False, True])
def test_the_steps_of_the_readme_as_they_are_printed(order: Made, tmp_path: Path, doctored: bool) -> None:
    for name, data in files_of(order.path).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    if doctored:
        entries = (tmp_path / form.ENTRIES).read_bytes()
        (tmp_path / form.ENTRIES).write_bytes(entries.replace(b'"chip-WO-1-1"', b'"chip-WO-1-7"'))
        root = Ed25519PrivateKey.generate()
    else:
        root = order.log.log_key
    text = (tmp_path / form.README).read_text(encoding="utf-8")
    said = []
    for step in STEPS.finditer(text):
        code = "\n".join(line[2:] for line in step["code"].splitlines())
        arguments = [vkey(root)] if "PASTE" in step["arguments"] else []
        done = subprocess.run(
            ["python3", "-", *arguments],
            input=code,
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
        )
        said.append((done.returncode, done.stdout))
    signed = "openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -rawin -in signed -sigfile signature"
    assert signed in text
    codes = [code for code, _ in said]
    checked = subprocess.run(signed.split(), cwd=tmp_path, capture_output=True, check=False).returncode
    if doctored:
        assert (codes[0] != 0, checked != 0, codes[2] != 0) == (True, True, True)
        return
    assert codes == [0, 0, 0, 0]
    assert checked == 0
    assert said[2][1] == f"all {len(order.log.entries)} entries are accounted for\n"
    assert said[3][1] == "WO-1 has 4 boards, places 1 to 4\n"
    issuers = (tmp_path / form.ISSUERS).read_bytes()
    root_pem = issuers[issuers.rindex(b"-----BEGIN") :]
    (tmp_path / "root.pem").write_bytes(root_pem)
    digest = subprocess.run(
        "openssl x509 -in root.pem -outform DER | sha256sum",
        cwd=tmp_path, shell=True, text=True, capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert digest.split()[0] == sha256(der(order.log.root.certificate)).hexdigest()
    index = order.log.records[0].issued_index
    subprocess.run(
        f"openssl verify -CAfile root.pem -untrusted issuers.pem -no_check_time board-{index}.der".split(),
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
