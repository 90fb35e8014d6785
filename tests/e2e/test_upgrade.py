"""An installation that an earlier version made, brought up to date: boards, ledger, CRL and auditors go on.

The order is that of docs/operations.md: stations first, then signerd, then auditors.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from birthmark.v1 import audit_pb2
from harness.earlier_version import earlier_commands, holds
from harness.factory import LINE, Factory, Run
from harness.installation import Peer, order_toml
from harness.process import COMMANDS, run

EARLIER = "7f20d1e8d67a966d452106416d0cde9a91f4f32b"  # 2026-11-29, before tokens that can only sign

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(not holds(EARLIER), reason=f"this copy has no history back to {EARLIER[:7]}"),
]


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    commands = earlier_commands(EARLIER, tmp_path_factory.mktemp("earlier"))
    with Factory(tmp_path_factory.mktemp("line"), commands=commands) as factory:
        yield factory


LATE = "WO-LATE"  # of a station whose agent is the last to be brought up to date


def certified(factory: Factory, late: Peer | None = None) -> Run:
    """Two boards go through the line, as whichever programs are current now."""
    boards = factory.new_run(boards=2, **LINE)
    if late is not None:
        boards = replace(boards, station=late, work_order=LATE)
    assert boards.start_agent().wait() == 0
    assert {record.state for record in factory.records(boards)} == {audit_pb2.RECORD_STATE_STAMPED}
    return boards


def test_an_installation_of_before_goes_on(factory: Factory, tmp_path: Path) -> None:
    installation, earlier = factory.installation, factory.installation.commands
    late = installation.add_station("plant1", "pc2")
    terms = order_toml(LATE, quantity=2, stations=[late.uri], serial_pattern="BL-{number:06d}")
    installation.open_order(terms)
    before = certified(factory)
    factory.verify()
    revoked = factory.records(before)[0].serial_number
    installation.admin("revoke", revoked, "--reason", "keyCompromise")

    installation.commands = COMMANDS  # stations may be first
    station_first = certified(factory)

    installation.process.stop()
    upgraded = json.loads(installation.admin("database", "upgrade", "--json"))
    assert upgraded["merged"] == []
    installation.admin("check-config", "--login")
    installation.start_signerd()
    after = certified(factory)
    factory.verify()  # with the state that the auditor of before kept
    factory.auditor = installation.add_auditor("new")
    factory.verify()

    installation.commands = earlier  # and stations may be last; one that was first does not go back
    refused = factory.new_run(boards=1, **LINE).start_agent()
    assert refused.wait() == 1
    assert "journal.sqlite is of version" in refused.errors()
    station_last = certified(factory, late)
    installation.commands = COMMANDS
    factory.verify()
    valid = serials_that_verify(factory, tmp_path)
    for boards in (before, station_first, after, station_last):
        assert {record.serial_number for record in factory.records(boards)} - {revoked} <= valid
    assert revoked not in valid


def serials_that_verify(factory: Factory, directory: Path) -> set[str]:
    """By OpenSSL, with the CRL of today and what the auditor exported."""
    crl = directory / "ca.crl"
    factory.installation.admin("crl", "--out", crl)
    pem = run(["openssl", "crl", "-inform", "DER", "-in", crl])
    crl.write_text(pem, encoding="ascii")
    exported = directory / "exported"
    auditor: list[str | Path] = [COMMANDS / "birthmark-auditor", "export", "--config", factory.auditor.config]
    run([*auditor, "--out", exported])
    trust: list[str | Path] = ["-CAfile", exported / "root.pem", "-untrusted", exported / "chain.pem"]
    certificates = list((exported / "certificates").iterdir())
    assert len(certificates) == 8
    verify: list[str | Path] = ["openssl", "verify", *trust, "-crl_check", "-CRLfile", crl, *certificates]
    said = subprocess.run(verify, capture_output=True, text=True, check=False)
    return {
        Path(line.removesuffix(": OK")).stem for line in said.stdout.splitlines() if line.endswith(": OK")
    }
