"""Attacks on renewal over the wire: a peer gets one newer certificate of its own key and name, in time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, renewal_pb2, renewal_pb2_grpc
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of, key_pem, new_key
from harness.process import COMMANDS
from signerd.adapters.operations_ca import PEER_DAYS, load_ca, sign_peer_request

pytestmark = pytest.mark.check
ASK = renewal_pb2.RenewCertificateRequest()
NO_LINE = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}  # gRPC's own: TLS let nobody in
DUE = 600  # days ago: the last third of 825 has begun


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("wire")) as edge:
        edge.start()
        yield edge


def certified_ago(edge: Edge, uri: str, key: EllipticCurvePrivateKey, days: int) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    ago = datetime.now(UTC) - timedelta(days=days)
    made = sign_peer_request(request.public_bytes(Encoding.PEM), uri, load_ca(edge.home), ago)
    return made.public_bytes(Encoding.PEM)


def station(edge: Edge, name: str, *, days: int = DUE, automatic: bool = False) -> EdgePeer:
    """Registered; certified so many days ago."""
    uri, key = f"birthmark://dev/station/plant1/{name}", new_key()
    peer = edge.connect(uri, certified_ago(edge, uri, key, days), key_pem(key))
    request = admin_pb2.AddPeerRequest(certificate_der=der(peer.certificate))
    edge.admin.AddPeer(request, timeout=TIMEOUT_S)
    if automatic:
        edge.admin.ChooseRenewal(admin_pb2.ChooseRenewalRequest(uri=uri, automatic=True), timeout=TIMEOUT_S)
    return peer


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def asks(peer: EdgePeer, request: renewal_pb2.RenewCertificateRequest = ASK) -> Any:
    stub = renewal_pb2_grpc.RenewalServiceStub(peer.channel)
    return stub.RenewCertificate(request, timeout=TIMEOUT_S, wait_for_ready=True)


def state(peer: EdgePeer) -> str:
    return str(renewal_pb2.RenewalState.Name(asks(peer).state)).removeprefix("RENEWAL_STATE_")


def renewals_of(edge: Edge, peer: EdgePeer) -> list[dict[str, Any]]:
    return [
        entry
        for entry in edge.entries()
        if entry["type"] in {"station_renewed", "auditor_renewed"} and entry["peer"] == peer.uri
    ]


def approve(edge: Edge, peer: EdgePeer, *, expect: int = 0) -> str:
    command = (str(COMMANDS / "signerd"), "station", "approve", peer.uri, "-c", f"{edge.home}/signerd.toml")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def check_newer(edge: Edge, peer: EdgePeer, answer: Any) -> EdgePeer:
    """A certificate of the same key and name, of a peer's life; let in."""
    new = x509.load_der_x509_certificate(answer.certificate_der)
    old = x509.load_pem_x509_certificate(peer.certificate)
    assert new.public_key() == old.public_key()
    names = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [peer.uri]
    assert new.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=PEER_DAYS)
    assert new.not_valid_after_utc > old.not_valid_after_utc
    newer = edge.connect(peer.uri, new.public_bytes(Encoding.PEM), peer.key)
    assert state(newer) == "NOT_DUE"
    return newer


def test_by_default_an_administrator_approves_it(edge: Edge) -> None:
    peer = station(edge, "waits")
    assert [state(peer) for _ in range(3)] == ["PENDING"] * 3
    waiting = edge.admin.ListRenewals(admin_pb2.ListRenewalsRequest(), timeout=TIMEOUT_S).renewals
    assert [each.uri for each in waiting] == [peer.uri]
    assert renewals_of(edge, peer) == []
    approve(edge, peer)
    first, again = asks(peer), asks(peer)
    assert first.certificate_der == again.certificate_der
    check_newer(edge, peer, first)
    assert len(renewals_of(edge, peer)) == 1
    assert "no renewal" in approve(edge, peer, expect=1)


def test_where_the_registry_says_so_it_comes_at_once_and_once(edge: Edge) -> None:
    peer = station(edge, "by-itself", automatic=True)
    answers = {asks(peer).certificate_der for _ in range(10)}
    assert len(answers) == 1
    check_newer(edge, peer, asks(peer))
    (entry,) = renewals_of(edge, peer)
    assert entry["by"] is None


def test_nobody_is_renewed_before_it_is_time(edge: Edge) -> None:
    peer = station(edge, "early", days=500, automatic=True)
    answer = asks(peer)
    assert answer.state == renewal_pb2.RENEWAL_STATE_NOT_DUE
    assert answer.certificate_der == b""
    assert renewals_of(edge, peer) == []


def test_a_request_names_nobody(edge: Edge) -> None:
    """Whatever a request holds: another peer's name, a key, a life."""
    peer, other = station(edge, "itself", automatic=True), station(edge, "other")
    foreign = admin_pb2.ChooseRenewalRequest(uri=other.uri, automatic=True).SerializeToString()
    answer = renewal_pb2.RenewCertificateResponse.FromString(
        peer.raw("/birthmark.v1.RenewalService/RenewCertificate", foreign)
    )
    check_newer(edge, peer, answer)
    assert state(other) == "PENDING"
    assert renewals_of(edge, other) == []


def test_what_is_revoked_or_unknown_is_not_renewed(edge: Edge) -> None:
    peer = station(edge, "revoked")
    assert state(peer) == "PENDING"
    edge.admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=peer.uri), timeout=TIMEOUT_S)
    assert code_of(lambda: asks(peer)) == "peer_revoked"
    assert "no renewal" in approve(edge, peer, expect=1)
    assert code_of(lambda: asks(edge.peer("station/plant1/stranger"))) == "unauthenticated"


def test_a_certificate_that_has_ended_is_not_renewed(edge: Edge) -> None:
    uri, key = "birthmark://dev/station/plant1/late", new_key()
    fresh = edge.connect(uri, certified_ago(edge, uri, key, 0), key_pem(key))
    edge.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=der(fresh.certificate)), timeout=TIMEOUT_S)
    edge.admin.ChooseRenewal(admin_pb2.ChooseRenewalRequest(uri=uri, automatic=True), timeout=TIMEOUT_S)
    late = edge.connect(uri, certified_ago(edge, uri, key, 900), key_pem(key))
    stub = renewal_pb2_grpc.RenewalServiceStub(late.channel)
    assert code_of(lambda: stub.RenewCertificate(ASK, timeout=TIMEOUT_S)) in NO_LINE
    assert renewals_of(edge, late) == []


def test_a_key_that_was_replaced_is_not_renewed(edge: Edge) -> None:
    peer, key = station(edge, "replaced", automatic=True), new_key()
    newer = edge.connect(peer.uri, certified_ago(edge, peer.uri, key, DUE), key_pem(key))
    request = admin_pb2.RenewPeerRequest(certificate_der=der(newer.certificate))
    edge.admin.RenewPeer(request, timeout=TIMEOUT_S)
    assert state(peer) == "NOT_DUE"
    assert state(newer) == "DONE"  # it is renewed as the one before it was to be


def test_asking_ten_times_a_second_makes_nothing_grow(edge: Edge) -> None:
    peer = station(edge, "impatient")
    said = {code_of(lambda: asks(peer)) for _ in range(400)}
    assert said <= {"", "rate_limited"}
    waiting = edge.admin.ListRenewals(admin_pb2.ListRenewalsRequest(), timeout=TIMEOUT_S).renewals
    assert [each.uri for each in waiting].count(peer.uri) == 1
    assert not [
        entry for entry in edge.entries() if entry.get("peer") == peer.uri and entry["type"] == "refused"
    ]
