"""The operations CA is replaced while a station and an auditor go on, which move to the new one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from harness.installation import Installation, Peer
from harness.process import COMMANDS, run, wait_until

pytestmark = pytest.mark.check


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path) as installation:
        installation.start_signerd()
        yield installation


def listed(installation: Installation) -> Any:
    return json.loads(installation.admin("operations-ca", "list", "--json"))


def renewed(program: str, peer: Peer, *, expect: int = 0) -> Any:
    said = run([COMMANDS / f"birthmark-{program}", "renew", "-c", peer.config, "--json"], expect=expect)
    return json.loads(said)


def station_works(station: Peer) -> None:
    said = run([COMMANDS / "birthmark-agent", "doctor", "-c", station.config, "--json"], expect=1)
    findings = {finding["check"]: finding for finding in json.loads(said)}
    assert {check for check, finding in findings.items() if not finding["ok"]} == {"ports"}  # it has none
    assert findings["signerd"]["ok"]


def test_station_and_auditor_move_by_themselves_and_nothing_is_cut_off(installation: Installation) -> None:
    station, auditor = installation.add_station("plant1", "pc1"), installation.add_auditor("alice")
    verify: list[str | Path] = [COMMANDS / "birthmark-auditor", "verify", "-c", auditor.config]
    run(verify)
    assert renewed("agent", station)["state"] == "not_due"
    assert renewed("auditor", auditor)["state"] == "not_due"
    installation.admin("station", "renewal", station.uri, "--automatic")

    installation.admin("operations-ca", "add")
    installation.admin("operations-ca", "activate", expect=1)
    assert renewed("agent", station)["state"] == "done"
    assert renewed("auditor", auditor)["state"] == "pending"
    installation.admin("auditor", "approve", auditor.uri)
    assert renewed("auditor", auditor)["state"] == "done"
    run(verify)
    wait_until(
        lambda: len(listed(installation)["operations_cas"][1]["peers"]) == 2,
        "both peers to have moved",
        timeout_s=120.0,
    )
    installation.admin("operations-ca", "activate")
    station_works(station)
    installation.admin("operations-ca", "retire")
    station_works(station)
    run(verify)
    (left,) = listed(installation)["operations_cas"]
    own = x509.load_pem_x509_certificate((station.directory / "station.pem").read_bytes())
    assert own.issuer.rfc4514_string() == left["subject"]
    assert "operations CA: " in installation.admin("check-config")
