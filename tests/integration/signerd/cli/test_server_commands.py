"""`signerd server renew`, while signerd serves and while it does not."""

from __future__ import annotations

import json

import pytest

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of
from harness.installation import Installation
from harness.signerd_commands import changed, signerd

OPEN = signing_pb2.OpenSessionRequest(work_order="WO-NONE", chip_id="chip-1")


def asks(station: EdgePeer) -> str:
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S, wait_for_ready=True))


@pytest.mark.check
def test_a_renewal_is_taken_up_and_stations_stay_connected(edge: Edge) -> None:
    station = edge.add_peer("station/plant1/renewals")
    assert asks(station) == "order_unknown"
    before = edge.shown_to(station)
    code, said = signerd(edge.installation, "server", "renew", "--name", "signer.example.com", "--json")
    assert code == 0
    made = json.loads(said)
    assert (made["running"], "signer.example.com" in made["names"]) == (True, True)
    # By its name now, and all that it was called before.
    shown = edge.shown_to(station, "signer.example.com")
    assert f"{shown.serial_number:x}" == made["serial"] != f"{before.serial_number:x}"
    assert edge.shown_to(station) == shown
    assert asks(station) == "order_unknown"
    code, said = signerd(edge.installation, "check-config", "--dials", "signer.example.com")
    assert (code, "ok     server names: signer.example.com, localhost" in said) == (0, True)


@pytest.mark.check
def test_settings_that_are_wrong_are_said_and_the_old_go_on(edge: Edge) -> None:
    station = edge.add_peer("station/plant1/wrong-settings")
    before = edge.shown_to(station)
    with changed(edge.installation, "[ledger]", "[limits]\nstation_burst = -1\n[ledger]"):
        code, said = signerd(edge.installation, "server", "renew")
        assert (code, "station_burst" in said) == (3, True)
    assert edge.shown_to(station) == before
    assert asks(station) == "order_unknown"


@pytest.mark.check
def test_without_a_running_signerd(unstarted: Installation) -> None:
    code, said = signerd(unstarted, "server", "renew")
    assert (code, "it shows it when it starts" in said) == (0, True)
    assert signerd(unstarted, "check-config")[0] == 0
    request = unstarted.directory / "server.csr.pem"
    code, said = signerd(unstarted, "server", "renew", "--request", request, "--json")
    assert (code, json.loads(said)) == (0, {"request": str(request)})
    assert signerd(unstarted, "check-config")[0] == 0
    keys = (unstarted.home / "operations" / "server.key").read_bytes()
    assert signerd(unstarted, "server", "renew", "--request", request)[0] == 1
    assert (unstarted.home / "operations" / "server.key").read_bytes() == keys
    elsewhere = unstarted.directory / "other.csr.pem"
    assert signerd(unstarted, "server", "renew", "--request", elsewhere, "--name", "*.example")[0] == 3
    assert not elsewhere.exists()
    code, said = signerd(unstarted, "server", "renew", "--certificate", "none.pem", "--name", "a.example")
    assert (code, "--certificate stands alone" in said) == (2, True)
    code, said = signerd(unstarted, "server", "renew", "--certificate", "none.pem")
    assert (code, "none.pem" in said) == (1, True)
