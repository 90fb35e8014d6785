"""The operations CA's succession: nobody is cut off unless somebody says so, and what was retired lets in
nobody."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, audit_pb2, signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, certified, code_of, key_pem, new_key
from harness.process import COMMANDS, wait_until
from signerd.adapters.operations_ca import OperationsCa, digest, load_ca, load_cas, sign_peer_request

pytestmark = pytest.mark.check
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-NONE", chip_id="chip-1")
LET_IN = "order_unknown"  # past the door, to a question that has no answer
NO_LINE = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}  # gRPC's own: TLS let nobody in
PATIENCE_S = 120.0  # each look is a command of its own, which takes seconds on a busy machine
URI = "birthmark://dev/station/plant1/pc1"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with Edge(tmp_path) as edge:
        edge.start()
        yield edge


def asks(station: EdgePeer) -> str:
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S, wait_for_ready=True))


def at_once(station: EdgePeer) -> str:
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S))


def ca_command(edge: Edge, *arguments: str, expect: int = 0) -> str:
    """What it says, on either side."""
    command = [str(COMMANDS / "signerd"), "operations-ca", *arguments, "-c", str(edge.home / "signerd.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def listed(edge: Edge) -> Any:
    return json.loads(ca_command(edge, "list", "--json"))


def peers_of(edge: Edge) -> list[list[str]]:
    return [row["peers"] for row in listed(edge)["operations_cas"]]


def of_the_newest(edge: Edge, peer: EdgePeer, key: EllipticCurvePrivateKey | None = None) -> EdgePeer:
    """The peer, renewed under the newest CA, with both CAs; with a new key, or with the one it has."""
    key = key or new_key()
    newer = edge.connect(peer.uri, certified(edge.home, peer.uri, key), key_pem(key))
    der = x509.load_pem_x509_certificate(newer.certificate).public_bytes(Encoding.DER)
    edge.admin.RenewPeer(admin_pb2.RenewPeerRequest(certificate_der=der), timeout=TIMEOUT_S)
    return newer


def moved(edge: Edge, peer: EdgePeer) -> EdgePeer:
    """And has called."""
    newer = of_the_newest(edge, peer)
    if "auditor" in peer.uri:
        newer.audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=TIMEOUT_S, wait_for_ready=True)
    else:
        assert asks(newer) == LET_IN
    wait_until(lambda: newer.uri in peers_of(edge)[-1], f"{newer.uri} to have moved", timeout_s=PATIENCE_S)
    return newer


def types_of(edge: Edge) -> list[str]:
    return [entry["type"] for entry in edge.entries() if entry["type"].startswith("operations_ca")]


def test_a_second_ca_takes_the_first_ones_place_and_no_peer_is_cut_off(edge: Edge) -> None:
    station = edge.add_peer("station/plant1/pc1")
    first = load_ca(edge.home)
    before = edge.shown_to(station)
    added = json.loads(ca_command(edge, "add", "--json"))
    second = load_ca(edge.home)
    assert added["sha256"] == digest(second.certificate).hex() != digest(first.certificate).hex()
    assert edge.shown_to(station) == before  # which stations of before trust
    assert asks(station) == LET_IN

    refused = ca_command(edge, "activate", expect=1)
    assert "2 peers have not moved" in refused
    assert URI in refused
    assert types_of(edge) == ["operations_ca_added"]

    edge.auditor = moved(edge, edge.auditor)
    assert "1 peers have not moved" in ca_command(edge, "activate", expect=1)
    newer = moved(edge, station)
    ca_command(edge, "activate")
    edge.shown_to(newer).verify_directly_issued_by(second.certificate)
    assert asks(newer) == LET_IN
    ca_command(edge, "retire")
    assert [ca.certificate for ca in load_cas(edge.home)] == [second.certificate]
    assert (edge.home / "operations" / "ca.key").read_bytes().count(b"BEGIN PRIVATE KEY") == 1
    assert types_of(edge) == ["operations_ca_added", "operations_ca_activated", "operations_ca_retired"]
    again = edge.connect(newer.uri, newer.certificate, newer.key)
    assert asks(again) == LET_IN


def test_what_was_retired_lets_in_nobody(edge: Edge) -> None:
    """Whoever has the key of a CA that was retired, for a registered key, and on a connection of before."""
    key = new_key()
    station = edge.peer("station/plant1/pc1", key=key)
    der = x509.load_pem_x509_certificate(station.certificate).public_bytes(Encoding.DER)
    edge.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=der), timeout=TIMEOUT_S)
    first = load_ca(edge.home)
    ca_command(edge, "add")
    assert asks(station) == LET_IN
    edge.auditor = moved(edge, edge.auditor)
    said = ca_command(edge, "activate", "--force")
    assert f"CUT OFF: {URI}" in said
    ca_command(edge, "retire", "--force")
    for peer in (station, edge.connect(URI, by_hand(first, key), key_pem(key))):
        assert at_once(peer) in NO_LINE
    newer = of_the_newest(edge, station, key)
    assert asks(newer) == LET_IN


def by_hand(ca: OperationsCa, key: EllipticCurvePrivateKey) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    made = sign_peer_request(request.public_bytes(Encoding.PEM), URI, ca, datetime.now(UTC))
    return made.public_bytes(Encoding.PEM)


def test_a_ca_that_was_added_in_error_is_taken_back(edge: Edge) -> None:
    first = load_ca(edge.home)
    ca_command(edge, "add")
    ca_command(edge, "add", expect=3)  # a third
    ca_command(edge, "retire", expect=3)  # the server's certificate is of the older one
    ca_command(edge, "retire", "--newest")
    assert load_ca(edge.home).certificate == first.certificate
    ca_command(edge, "activate", expect=3)
    assert types_of(edge) == ["operations_ca_added", "operations_ca_retired"]
