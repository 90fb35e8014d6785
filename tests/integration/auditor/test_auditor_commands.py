"""The commands as users type them, against a log on paper over mTLS."""

from __future__ import annotations

import base64
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auditor.adapters.enrolment import Installed, install, make_request
from auditor.cli.options import ACKNOWLEDGED, UNKNOWN
from auditor.errors import ConfigError
from harness.audit_bench import small
from harness.paper_certificates import Authority, new_key, pem
from harness.paper_log import DEPLOYMENT, PaperLog, vkey
from harness.paper_server import PaperServer

MARK = b"\xef\xbb\xbf"


@dataclass
class Desk:
    """An enrolled auditor's directory, and the log that it audits."""

    directory: Path
    log: PaperLog
    server: PaperServer

    @property
    def config(self) -> Path:
        return self.directory / "auditor.toml"

    def run(self, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
        """Exit code, JSON lines of standard output, standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "auditor", *arguments, "-c", str(self.config)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def _enrol(directory: Path, server: PaperServer, log: PaperLog, **changes: object) -> Installed:
    """What the company sends back for the key in `directory`, with some files changed."""
    key = load_pem_private_key((directory / "auditor.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = server.operations.peer(key, f"birthmark://{DEPLOYMENT}/auditor/alice", server=False)
    files: dict[str, object] = {
        "certificate": pem(signed),
        "operations_ca": pem(server.operations.certificate),
        "log_vkey": vkey(log.log_key).encode() + b"\n",
        "device_root": pem(log.root.certificate),
    } | changes
    back = directory / "back"
    back.mkdir(exist_ok=True)
    for name, content in files.items():
        assert isinstance(content, bytes)
        (back / name).write_bytes(content)
    return Installed(
        back / "certificate", back / "operations_ca", back / "log_vkey", back / "device_root", server.endpoint
    )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    log = small()
    with PaperServer(log) as server:
        directory = tmp_path / "auditor"
        make_request(directory, deployment=DEPLOYMENT, name="alice")
        install(directory, _enrol(directory, server, log))
        yield Desk(directory, log, server)


@pytest.mark.check
def test_verify_list_show_order(desk: Desk) -> None:
    for name in ("auditor.pem", "auditor.key", "operations-ca.pem", "log.vkey", "device-root.pem"):
        file = desk.directory / name
        file.write_bytes(MARK + file.read_bytes())  # an editor of Windows was here
    code, lines, _ = desk.run("verify")
    assert code == 0
    assert lines[-1]["event"] == "summary"
    assert lines[-1]["clean"] is True
    assert lines[-1]["records"] == 3
    assert lines[-1]["evidence"] == {"hmac-sha256": {"certificates": 3, "on_a_mac": 3}}
    code, lines, _ = desk.run("list")
    assert [line["state"] for line in lines] == ["stamped", "revoked", "issued"]
    assert desk.run("list", "--state", "revoked")[1] == [lines[1]]
    code, lines, _ = desk.run("missing")
    as_of, third = lines
    assert (code, as_of["entries"], as_of["whole"], as_of["findings"]) == (0, 11, True, 0)
    assert str(as_of["verified_at"]) > str(as_of["newest_entry_at"])  # by the auditor's clock
    assert third["serial_number"] == "WO-1-000003"
    code, lines, _ = desk.run("show", "WO-1-000002")
    assert code == 0
    assert lines[0]["entries_proved"] == [6, 9, 10]
    assert lines[0]["record_holds"] is True
    assert (lines[0]["level"], lines[0]["method"], lines[0]["evidence"]) == (
        "key", "hmac-sha256", "on_a_mac",
    )  # fmt: skip
    assert lines[0]["claimed"] == {"app": "1.2.0"}
    locks, digest = lines[0]["locks_claimed"], lines[0]["evidence_sha256"]
    assert isinstance(locks, dict)
    assert locks["secure_boot"] is True
    firmware = {"app": ["1.2.0", sha256(b"firmware").hexdigest()]}
    assert (lines[0]["firmware_stamped"], lines[0]["locks_stamped"]) == (firmware, {"secure_boot": True})
    assert lines[0]["attester_sha256"] is None
    assert isinstance(digest, str)
    assert len(bytes.fromhex(digest)) == 32
    code, lines, _ = desk.run("order", "WO-1")
    assert (code, lines[0]["boards"], lines[0]["stamped"]) == (0, 3, 2)
    assert "firmware_stamped" not in desk.run("show", "WO-1-000003")[1][0]
    assert desk.run("show", "WO-1-000009")[0] == UNKNOWN
    assert desk.run("order", "WO-9")[0] == UNKNOWN


@pytest.mark.check
def test_a_production_file_is_made_and_verified(desk: Desk) -> None:
    out = desk.directory / "WO-1.zip"
    assert desk.run("verify")[0] == 0
    code, lines, _ = desk.run("report", "--order", "WO-1", "--out", str(out))
    assert (code, lines[0]["boards"], lines[0]["stamped"], lines[0]["open_findings"]) == (0, 3, 2, 0)
    assert lines[0]["sha256"] == sha256(out.read_bytes()).hexdigest()
    offline = subprocess.run(  # without settings
        [sys.executable, "-m", "auditor", "report", "--verify", out, "--vkey", desk.directory / "log.vkey"],
        check=False, capture_output=True, text=True, timeout=60, cwd=desk.directory / "back",
    )  # fmt: skip
    assert offline.returncode == 0
    verified = json.loads(offline.stdout)
    assert (verified["holds"], verified["evidence"]) == (True, {"mac": 3})
    assert verified["sha256"] == lines[0]["sha256"]
    out.write_bytes(out.read_bytes().replace(b"chip-WO-1-1", b"chip-WO-1-7"))
    code, _, said = desk.run("report", "--verify", str(out))
    assert (code, "is damaged: its CRC-32 is another" in said) == (1, True)


@pytest.mark.check
def test_the_bundle_of_an_order_by_the_ledger_and_by_signerd(desk: Desk) -> None:
    digest = "cd" * 32
    index = desk.log.open_order("WO-2", bundle_sha256="ab" * 32, firmware={"app": ["1.4.0", digest]})
    assert desk.run("verify")[0] == 0
    code, lines, _ = desk.run("order", "WO-2")
    by_signerd = lines[0]["by_signerd"]
    assert isinstance(by_signerd, dict)
    for values in (lines[0], by_signerd):
        assert (values["bundle_sha256"], values["firmware"]) == ("ab" * 32, {"app": ["1.4.0", digest]})
    assert (code, len(lines)) == (0, 1)
    desk.log.orders["WO-2"].firmware["app"].version = "1.4.1"
    code, lines, _ = desk.run("order", "WO-2")
    assert (code, lines[-1]["code"], lines[-1]["entry"]) == (1, "F313", index)
    assert (lines[-1]["expected"], lines[-1]["found"]) == (f"app 1.4.0 {digest}", f"app 1.4.1 {digest}")
    desk.log.orders["WO-2"].ClearField("firmware")
    assert [line["found"] for line in desk.run("order", "WO-2")[1][1:]] == [""]
    desk.log.orders["WO-2"].ClearField("bundle_sha256")
    details = [line["detail"] for line in desk.run("order", "WO-2")[1][1:]]
    assert details == ["signerd states another bundle", "signerd states another firmware"]
    code, lines, _ = desk.run("order", "WO-1")
    assert (code, lines[0]["bundle_sha256"], lines[0]["firmware"]) == (0, None, None)


@pytest.mark.check
def test_a_finding_is_printed_and_stays(desk: Desk) -> None:
    assert desk.run("verify")[0] == 0
    desk.log.issue(4, level="none")
    code, lines, _ = desk.run("verify")
    assert code == 1
    assert lines[0]["event"] == "finding"
    assert (lines[0]["code"], lines[0]["entry"], lines[0]["serial_number"]) == ("F312", 11, "WO-1-000004")
    code, lines, _ = desk.run("verify")
    assert (code, lines[-1]["new_findings"]) == (1, 0)
    code, lines, _ = desk.run("findings")
    assert (code, {line["code"] for line in lines}) == (1, {"F312"})


@pytest.mark.check
def test_an_acknowledged_finding_stays_visible_and_has_an_exit_code_of_its_own(
    desk: Desk, tmp_path: Path
) -> None:
    desk.log.issue(4, level="none")
    assert desk.run("verify")[0] == 1
    numbers = [line["number"] for line in desk.run("findings")[1]]
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    said = ("--reason", "a sample of the line", "--by", "carol")
    assert desk.run("acknowledge", "99", *said)[0] == UNKNOWN
    for number in numbers:
        assert desk.run("verify")[0] == 1
        code, lines, _ = desk.run("acknowledge", str(number), *said, "--key", str(key))
    public = " ".join(key.with_name("id.pub").read_text().split()[:2])
    told = lines[0]["acknowledged"][0]  # type: ignore[index]
    assert (code, told["by"], told["reason"], told["key"]) == (0, "carol", "a sample of the line", public)
    code, lines, _ = desk.run("verify")
    assert (code, lines[-1]["clean"], lines[-1]["acknowledged"]) == (ACKNOWLEDGED, False, True)
    code, lines, _ = desk.run("findings")
    assert (code, {line["code"] for line in lines}) == (ACKNOWLEDGED, {"F312"})
    desk.log.issue(5, level="none")
    assert desk.run("verify")[0] == 1  # one that nobody has looked into
    with sqlite3.connect(desk.directory / "state" / "state.sqlite") as state:
        state.execute(
            "UPDATE acknowledgements SET statement = CAST(replace(statement, 'sample', 'simple') AS BLOB)"
        )
    state.close()
    line = desk.run("findings")[1][0]
    assert line["acknowledged"][0]["problem"] == "its signature does not verify"  # type: ignore[index]


@pytest.mark.check
def test_a_broken_key_is_an_exit_code_of_its_own(desk: Desk) -> None:
    board = desk.log.issue(4)
    desk.log.append("shared_primes_found", count=1, certificates=[board.certificate_sha256])
    code, lines, _ = desk.run("verify")
    assert (code, lines[-1]["clean"]) == (5, True)
    assert lines[-1]["alarms"] == [
        {
            "kind": "shared prime",
            "entry": 12,
            "serial_number": "WO-1-000004",
            "certificate_sha256": board.certificate_sha256,
        }
    ]
    code, lines, _ = desk.run("watch", "--rounds", "1")  # known before: no reason to stop early
    assert code == 5
    desk.log.revoke(board)
    assert desk.run("verify")[0] == 0


@pytest.mark.check
def test_the_companys_list_of_identities(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    file.write_text("\n")
    assert desk.run("verify", "--identities", str(file))[0] == 0
    assert desk.run("show", "WO-1-000001", "--identities", str(file), "--identities", str(file))[0] == 0
    file.write_text('\n{"chip_id": "x"}\n')
    code, _, said = desk.run("verify", "--identities", str(file))
    assert code == 3
    assert "line 2" in said
    assert desk.run("verify", "--identities", str(tmp_path / "nothing"))[0] == 3


def test_show_and_order_find_what_changed_since(desk: Desk) -> None:
    assert desk.run("verify")[0] == 0
    desk.log.lie_proof = lambda hashes: [bytes(32) for _ in hashes]
    code, lines, _ = desk.run("show", "WO-1-000001")
    assert code == 1
    assert {line["code"] for line in lines if line["event"] == "finding"} == {"F109"}
    desk.log.orders["WO-1"].quantity = 5
    code, lines, _ = desk.run("order", "WO-1")
    assert (code, lines[-1]["code"], lines[-1]["expected"], lines[-1]["found"]) == (1, "F313", "4", "5")


def test_watch_prints_entries_and_stops_at_a_finding(desk: Desk) -> None:
    code, lines, _ = desk.run("watch", "--rounds", "1")
    assert code == 0
    assert [line["event"] for line in lines] == ["entry"] * 11 + ["summary"]
    desk.log.lie_checkpoint = lambda _: desk.log.checkpoint(size=2)
    code, lines, _ = desk.run("watch", "--interval", "0.1")
    assert (code, lines[0]["code"]) == (1, "F103")


@pytest.mark.check
def test_export_writes_what_openssl_accepts(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("export", "--out", str(tmp_path / "out"))[0] == UNKNOWN
    assert desk.run("verify")[0] == 0
    code, lines, _ = desk.run("export", "--out", str(tmp_path / "out"))
    assert (code, lines[0]["certificates"]) == (0, 3)
    out = tmp_path / "out"
    assert sorted(file.name for file in (out / "certificates").iterdir()) == [
        f"WO-1-00000{number}.pem" for number in (1, 2, 3)
    ]
    assert (out / "checkpoint").read_bytes() == desk.log.checkpoint()
    root = x509.load_pem_x509_certificate((out / "root.pem").read_bytes())
    chain = x509.load_pem_x509_certificate((out / "chain.pem").read_bytes())
    chain.verify_directly_issued_by(root)
    for file in (out / "certificates").iterdir():
        x509.load_pem_x509_certificate(file.read_bytes()).verify_directly_issued_by(chain)


def test_a_receipt_is_verified_offline(desk: Desk, tmp_path: Path) -> None:
    desk.server.__exit__()
    log = desk.log
    hashes = [base64.b64encode(item).decode() for item in log.tree.inclusion(5, log.tree.size)]
    text = "\n".join(["c2sp.org/tlog-proof@v1", "index 5", *hashes, "", ""])
    (tmp_path / "r").write_bytes(text.encode() + log.checkpoint())
    (tmp_path / "e").write_bytes(log.entries[5])
    code, lines, _ = desk.run("receipt", str(tmp_path / "r"), str(tmp_path / "e"))
    assert (code, lines[0]["entry"], lines[0]["type"]) == (0, 5, "issued")
    (tmp_path / "e").write_bytes(log.entries[6])
    code, _, said = desk.run("receipt", str(tmp_path / "r"), str(tmp_path / "e"))
    assert code == 1
    assert "F109" in said


def test_exit_codes_for_configuration_and_line(desk: Desk) -> None:
    desk.server.__exit__()
    code, _, said = desk.run("verify")
    assert code == 4
    assert "not reachable" in said
    desk.config.write_text(desk.config.read_text() + "\nunknown = 1\n")
    code, _, said = desk.run("verify")
    assert code == 3
    assert "unknown" in said


def test_a_stranger_is_not_let_in(desk: Desk) -> None:
    other = Authority.root("Other")
    (desk.directory / "operations-ca.pem").write_bytes(pem(other.certificate))
    assert desk.run("verify")[0] == 4


def test_a_damaged_state_is_named(desk: Desk) -> None:
    assert desk.run("verify")[0] == 0
    file = desk.directory / "state" / "state.sqlite"
    for extra in (file.with_name("state.sqlite-wal"), file.with_name("state.sqlite-shm")):
        extra.unlink(missing_ok=True)
    file.write_bytes(b"no database" * 1000)
    code, _, said = desk.run("verify")
    assert code == 3
    assert "state" in said


def test_enrolling_makes_a_key_that_stays(tmp_path: Path) -> None:
    request = make_request(tmp_path, deployment="dev", name="bob")
    mode = stat.S_IMODE((tmp_path / "auditor.key").stat().st_mode)
    assert mode == 0o600
    csr = x509.load_pem_x509_csr(request.read_bytes())
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["birthmark://dev/auditor/bob"]
    with pytest.raises(ConfigError, match="exists"):
        make_request(tmp_path, deployment="dev", name="bob")
    with pytest.raises(ConfigError, match="is no name of an auditor"):
        make_request(tmp_path / "x", deployment="dev", name="b/b")


def test_what_comes_back_is_checked(tmp_path: Path) -> None:
    log = small()
    server = PaperServer(log)
    make_request(tmp_path, deployment=DEPLOYMENT, name="alice")
    other = Authority.root("Other")
    uri = f"birthmark://{DEPLOYMENT}/auditor/alice"
    for changes, said in (
        (
            {"certificate": pem(server.operations.peer(new_key(), uri, server=False))},
            "is for another key than",
        ),
        ({"operations_ca": pem(other.certificate)}, "did not issue it"),
        ({"log_vkey": b"nothing"}, "verifier key"),
        ({"device_root": pem(log.issuer.certificate)}, "self-signed"),
        ({"certificate": b"nothing"}, "PEM"),
        ({"certificate": pem(log.root.certificate)}, "names no auditor"),
    ):
        with pytest.raises(ConfigError, match=said):
            install(tmp_path, _enrol(tmp_path, server, log, **changes))
    assert install(tmp_path, _enrol(tmp_path, server, log)).name == "auditor.toml"
