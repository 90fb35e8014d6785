"""The sub-CA replaced twice by documented commands, once with another token below another root: boards of
before stay valid, stations and auditors go on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.edge import key_pem
from harness.factory import LINE, Factory, Run
from harness.further_issuers import signed
from harness.process import run
from harness.signerd_commands import signerd
from harness.softhsm_token import new_token
from signerd.adapters import device_ca

pytestmark = pytest.mark.check


def restarted(factory: Factory) -> None:
    factory.installation.process.stop()
    factory.installation.start_signerd()


def certified(factory: Factory, boards: int = 2) -> Run:
    line = factory.new_run(boards=boards, **LINE)
    assert line.start_agent().wait() == 0
    factory.finished_once(line)
    return line


def issuers_of(factory: Factory, line: Run) -> set[str]:
    ours = {
        x509.load_der_x509_certificate(record.certificate_der).issuer.rfc4514_string()
        for record in factory.records(line)
    }
    return {name.partition(",")[0] for name in ours}


def listed(factory: Factory) -> dict[str, tuple[str, bool]]:
    found = json.loads(factory.installation.admin("ca", "list", "--json"))
    return {each["name"]: (each["state"], each["serving"]) for each in found}


def pin_root(root: Path, *pinned: Path) -> None:
    for path in pinned:
        path.write_bytes(path.read_bytes() + root.read_bytes())


def test_a_new_key_and_then_a_new_token_below_a_new_root(factory: Factory, tmp_path: Path) -> None:
    installation = factory.installation
    admin, home = installation.admin, installation.home
    first = certified(factory)
    request = json.loads(admin("ca", "request", "main-2", "--json"))["request"]
    root = home / "root" / "root.pem"
    made = signed(Path(request), root, home / "root" / "root.key", tmp_path / "main-2.pem")
    code, said = signerd(installation, "ca", "activate", "main-2")
    assert (code, "no issuer 'main-2'" in said) == (1, True)
    admin("ca", "add", "main-2", "--certificate", made, "--root", root)
    again = json.loads(admin("ca", "add", "main-2", "--certificate", made, "--root", root, "--json"))
    assert again["issuer"] == "main-2"
    code, said = signerd(installation, "ca", "activate", "main-2")
    assert (code, "restart signerd" in said) == (1, True)
    restarted(factory)
    assert listed(factory) == {"main": ("active", True), "main-2": ("standby", True)}
    admin("ca", "activate", "main-2")
    second = certified(factory)
    assert issuers_of(factory, first) != issuers_of(factory, second)
    assert issuers_of(factory, second) == {"CN=dev device CA main-2"}
    factory.verify()

    new_root, new_key = device_ca.create_root("dev", datetime.now(UTC).replace(microsecond=0))
    other_root, other_key = tmp_path / "root-2.pem", tmp_path / "root-2.key"
    other_root.write_bytes(new_root.public_bytes(Encoding.PEM))
    other_key.write_bytes(key_pem(new_key))
    token = new_token(tmp_path / "second")
    request = json.loads(admin("ca", "request", "main-3", *token, "--json"))["request"]
    made = signed(Path(request), other_root, other_key, tmp_path / "main-3.pem")
    station, auditor = factory.station.directory, factory.auditor.directory
    pin_root(other_root, station / "device-root.pem", auditor / "device-root.pem")
    admin("ca", "add", "main-3", "--certificate", made, "--root", other_root)
    restarted(factory)
    admin("ca", "activate", "main-3")
    admin("ca", "retire", "main")
    assert listed(factory) == {
        "main": ("retired", True),
        "main-2": ("standby", True),
        "main-3": ("active", True),
    }
    third = certified(factory)
    assert issuers_of(factory, third) == {"CN=dev device CA main-3"}
    factory.verify()
    run(
        [
            installation.commands / "birthmark-auditor",
            *("verify", "--from-scratch", "--config", factory.auditor.config),
        ]
    )
    for issuer, line in (("main", first), ("main-2", second), ("main-3", third)):
        revoked = factory.records(line)[0]
        admin("revoke", revoked.serial_number, "--reason", "keyCompromise")
        file = tmp_path / f"{issuer}.crl"
        admin("crl", "--issuer", issuer, "--out", file)
        (entry,) = x509.load_der_x509_crl(file.read_bytes())
        serial = x509.load_der_x509_certificate(revoked.certificate_der).serial_number
        assert entry.serial_number == serial
    factory.verify()
    assert "main-3" in admin("calendar")
    checked = admin("check-config", "--login")
    assert "issuers" in checked
