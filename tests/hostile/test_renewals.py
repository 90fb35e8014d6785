"""Attacks on renewal: a key that was replaced, revoked or is another peer's gains nothing by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, certified, code_of, key_pem, new_key
from signerd.adapters.operations_ca import load_ca, sign_peer_request

pytestmark = pytest.mark.check
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-NONE", chip_id="chip-1")
LET_IN = "order_unknown"  # past the door, to a question that has no answer


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("renewals")) as edge:
        edge.start()
        yield edge


def asks(station: EdgePeer) -> str:
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S, wait_for_ready=True))


def renew(edge: Edge, certificate: bytes) -> str:
    """The administrator's command; the code of its refusal."""
    der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    request = admin_pb2.RenewPeerRequest(certificate_der=der)
    try:
        edge.admin.RenewPeer(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        # Administrators are told the reason beside the code.
        return str(error.details()).partition(":")[0] if isinstance(error, grpc.Call) else str(error)
    return ""


def station(edge: Edge, name: str) -> tuple[EdgePeer, EllipticCurvePrivateKey]:
    """Registered, and its key."""
    uri, key = f"birthmark://dev/station/plant1/{name}", new_key()
    peer = edge.connect(uri, certified(edge.home, uri, key), key_pem(key))
    der = x509.load_pem_x509_certificate(peer.certificate).public_bytes(Encoding.DER)
    edge.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=der), timeout=TIMEOUT_S)
    return peer, key


def renewed(edge: Edge, peer: EdgePeer) -> EdgePeer:
    """The same station with another key beside the old one."""
    key = new_key()
    newer = edge.connect(peer.uri, certified(edge.home, peer.uri, key), key_pem(key))
    assert renew(edge, newer.certificate) == ""
    assert asks(newer) == asks(peer) == LET_IN
    return newer


def ended(edge: Edge, uri: str, key: EllipticCurvePrivateKey) -> bytes:
    """The certificate of two years and a half ago."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    long_ago = datetime.now(UTC) - timedelta(days=900)
    pem = request.public_bytes(Encoding.PEM)
    return sign_peer_request(pem, uri, load_ca(edge.home), long_ago).public_bytes(Encoding.PEM)


def test_a_key_that_was_replaced_ends_with_its_certificate(edge: Edge) -> None:
    peer, key = station(edge, "replaced")
    newer = renewed(edge, peer)
    late = edge.connect(peer.uri, ended(edge, peer.uri, key), key_pem(key))
    assert code_of(lambda: late.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) != LET_IN
    assert asks(newer) == LET_IN


def test_a_key_that_was_replaced_is_not_renewed(edge: Edge) -> None:
    """A station that was exchanged, since its old PC is in doubt, and whose old PC asks again."""
    peer, key = station(edge, "again")
    newer = renewed(edge, peer)
    assert renew(edge, certified(edge.home, peer.uri, key)) == "already_exists"
    assert asks(newer) == LET_IN


def test_revoking_ends_the_old_key_and_the_new_one_on_open_connections(edge: Edge) -> None:
    peer, key = station(edge, "stolen")
    newer = renewed(edge, peer)
    edge.admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=peer.uri), timeout=TIMEOUT_S)
    assert asks(peer) == asks(newer) == "peer_revoked"
    for wanted in (key, new_key()):
        assert renew(edge, certified(edge.home, peer.uri, wanted)) == "not_found"
    assert asks(peer) == asks(newer) == "peer_revoked"


def test_no_peer_is_renewed_into_another(edge: Edge) -> None:
    """The key of one station under the name of another, and a station as an auditor."""
    first, key = station(edge, "first")
    second, _ = station(edge, "second")
    assert renew(edge, certified(edge.home, second.uri, key)) == "already_exists"
    assert renew(edge, certified(edge.home, "birthmark://dev/auditor/reader", key)) == "already_exists"
    assert renew(edge, certified(edge.home, "birthmark://dev/auditor/nobody", new_key())) == "not_found"
    assert asks(first) == asks(second) == LET_IN
    names = {peer.uri for peer in edge.admin.ListPeers(admin_pb2.ListPeersRequest(), timeout=TIMEOUT_S).peers}
    assert "birthmark://dev/auditor/nobody" not in names


def test_a_certificate_that_has_ended_renews_nobody(edge: Edge) -> None:
    peer, key = station(edge, "late")
    assert renew(edge, ended(edge, peer.uri, key)) == "invalid"
    assert asks(peer) == LET_IN
