from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc

from birthmark.v1 import admin_pb2, audit_pb2, signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of, key_pem, new_key
from harness.installation import DEPLOYMENT
from harness.process import wait_until

OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")


def opens(peer: EdgePeer) -> str:
    return code_of(lambda: peer.signing.OpenSession(OPEN, timeout=TIMEOUT_S))


@pytest.fixture(scope="module")
def station(edge: Edge) -> EdgePeer:
    return edge.add_peer("station/plant1/pc1")


def health(peer: EdgePeer, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(peer.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S).status)


def self_signed(edge: Edge, uri: str) -> EdgePeer:
    key = new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pc1")])
    now = datetime.now(UTC)
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(san, critical=False).sign(key, hashes.SHA256())
    return edge.connect(uri, certificate.public_bytes(Encoding.PEM), key_pem(key))


def test_a_registered_station_gets_to_the_call(edge: Edge, station: EdgePeer) -> None:
    assert opens(station) == "order_unknown"
    entry = edge.wait_refused(code="order_unknown", peer=station.uri)
    assert (entry["call"], entry["work_order"], entry["chip_id"]) == ("OpenSession", "WO-X", "chip-1")


def test_a_certificate_of_another_ca_never_gets_to_a_call(edge: Edge, station: EdgePeer) -> None:
    assert opens(self_signed(edge, station.uri)) == "UNAVAILABLE"


def test_no_certificate_never_gets_to_a_call(edge: Edge) -> None:
    ca = (edge.home / "operations" / "ca.pem").read_bytes()
    with grpc.secure_channel(edge.installation.target, grpc.ssl_channel_credentials(ca)) as channel:
        call = channel.unary_unary("/birthmark.v1.SigningService/OpenSession", None, None)
        assert code_of(lambda: call(b"", timeout=TIMEOUT_S)) == "UNAVAILABLE"


def test_the_servers_own_certificate_is_no_login(edge: Edge) -> None:
    operations = edge.home / "operations"
    certificate, key = ((operations / name).read_bytes() for name in ("server.pem", "server.key"))
    assert opens(edge.connect("", certificate, key)) == "UNAVAILABLE"


def test_a_certificate_of_the_device_tree_is_no_login(edge: Edge, station: EdgePeer) -> None:
    root = x509.load_pem_x509_certificate((edge.home / "root" / "root.pem").read_bytes())
    root_key = load_pem_private_key((edge.home / "root" / "root.key").read_bytes(), password=None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    key = new_key()
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(root.subject).issuer_name(root.subject)
    builder = builder.public_key(key.public_key()).serial_number(2).not_valid_before(now)
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(station.uri)])
    builder = builder.not_valid_after(now + timedelta(days=1)).add_extension(san, critical=False)
    certificate = builder.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert opens(edge.connect(station.uri, certificate, key_pem(key))) == "UNAVAILABLE"


def test_an_unregistered_peer_is_unauthenticated(edge: Edge) -> None:
    assert opens(edge.peer("station/plant1/stranger")) == "unauthenticated"


def test_another_key_with_a_registered_name_is_unauthenticated(edge: Edge, station: EdgePeer) -> None:
    assert opens(edge.peer("station/plant1/pc1")) == "unauthenticated"
    assert opens(station) == "order_unknown"


def test_another_deployments_peer_is_nobody(edge: Edge) -> None:
    assert opens(edge.peer("station/plant1/pc1", deployment="other")) == "unauthenticated"


def test_a_station_revoked_on_an_open_connection(edge: Edge) -> None:
    station = edge.add_peer("station/plant1/thief")
    assert opens(station) == "order_unknown"
    edge.installation.admin("station", "revoke", station.uri)
    assert opens(station) == "peer_revoked"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/birthmark.v1.AuditService/GetCheckpoint", "GetCheckpoint"),
        ("/birthmark.v1.AuditService/StreamEntries", "StreamEntries"),
        ("/birthmark.v1.AdminService/AddPeer", "AdminService.AddPeer"),
        ("/birthmark.v1.AdminService/MakeCrl", "AdminService.MakeCrl"),
        ("/anything/" + "x" * 200, "unknown"),
    ],
)
def test_a_station_calling_what_is_not_for_it(edge: Edge, station: EdgePeer, path: str, name: str) -> None:
    assert code_of(lambda: station.raw(path, b"")) == "role_denied"
    edge.wait_refused(code="role_denied", peer=station.uri, call=name)


def test_an_auditor_does_not_sign(edge: Edge) -> None:
    assert opens(edge.auditor) == "role_denied"
    edge.wait_refused(code="role_denied", peer=edge.auditor.uri, call="OpenSession")


def test_bytes_that_are_no_message(edge: Edge, station: EdgePeer) -> None:
    path = "/birthmark.v1.SigningService/SignCsr"
    assert code_of(lambda: station.raw(path, os.urandom(3) + b"\xff" * 60)) == "request_malformed"
    edge.wait_refused(code="request_malformed", peer=station.uri, call="SignCsr", csr_sha256=None)


@pytest.mark.parametrize(
    "request_",
    [
        signing_pb2.OpenSessionRequest(work_order="", chip_id="c"),
        signing_pb2.OpenSessionRequest(work_order="WO", chip_id="c d"),
        signing_pb2.OpenSessionRequest(work_order="WO" * 40, chip_id="c"),
    ],
)
def test_fields_out_of_bounds(station: EdgePeer, request_: signing_pb2.OpenSessionRequest) -> None:
    assert code_of(lambda: station.signing.OpenSession(request_, timeout=TIMEOUT_S)) == "request_malformed"


def test_ten_megabytes_do_not_get_in(station: EdgePeer) -> None:
    request = signing_pb2.SignCsrRequest(session=b"s", csr_der=bytes(10_000_000))
    assert code_of(lambda: station.signing.SignCsr(request, timeout=TIMEOUT_S)) == "RESOURCE_EXHAUSTED"


def test_a_csr_of_a_megabyte_gets_to_our_code_and_into_the_ledger(edge: Edge, station: EdgePeer) -> None:
    edge.add_sensor()
    order = edge.open_order(station)
    edge.installation.personalize(["chip:big"])
    session = station.signing.OpenSession(
        signing_pb2.OpenSessionRequest(work_order=order, chip_id="chip:big"), timeout=TIMEOUT_S
    )
    csr = bytes(1024 * 1024)
    request = signing_pb2.SignCsrRequest(
        session=session.session, csr_der=csr, evidence=signing_pb2.Evidence(method="none")
    )
    assert code_of(lambda: station.signing.SignCsr(request, timeout=TIMEOUT_S)) == "csr_rejected"
    entry = edge.wait_refused(code="csr_rejected", csr_sha256=hashlib.sha256(csr).hexdigest())
    assert (entry["work_order"], entry["chip_id"]) == (order, "chip:big")


def test_health_wants_mtls_and_no_role(edge: Edge, station: EdgePeer) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    for peer in (station, edge.auditor, edge.peer("station/plant1/nobody")):
        assert health(peer) == health(peer, "birthmark.v1.SigningService") == serving
    assert code_of(lambda: health(station, "other")) == "NOT_FOUND"
    stub = health_pb2_grpc.HealthStub(station.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert code_of(lambda: next(watch)) == "UNIMPLEMENTED"


def test_no_reflection(edge: Edge, station: EdgePeer) -> None:
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert code_of(lambda: station.raw(path, b"")) == "role_denied"
    edge.wait_refused(call="unknown", peer=station.uri)


def test_health_while_the_key_holder_is_replaced(edge: Edge, station: EdgePeer) -> None:
    lost = edge.installation.key_holder()
    lost.kill()
    wait_until(lambda: health(station) == health_pb2.HealthCheckResponse.NOT_SERVING, "NOT_SERVING")
    audit = "birthmark.v1.AuditService"
    assert health(station, audit) == health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: health(station) == health_pb2.HealthCheckResponse.SERVING, "SERVING again")
    assert edge.installation.key_holder().pid != lost.pid


def test_the_line_says_who_where_and_why_and_no_more(edge: Edge, station: EdgePeer) -> None:
    errors = edge.installation.process.errors()
    assert '"code": "order_unknown"' in errors
    assert f'"peer": "{station.uri}"' in errors
    assert "PRIVATE KEY" not in errors
    assert (edge.home / "hsm.pin").read_text("ascii").strip() not in errors


def test_administration_is_reached_by_the_socket_alone(edge: Edge) -> None:
    peers = edge.admin.ListPeers(admin_pb2.ListPeersRequest(), timeout=TIMEOUT_S).peers
    assert f"birthmark://{DEPLOYMENT}/auditor/reader" in [peer.uri for peer in peers]
    path = "/birthmark.v1.AdminService/ListPeers"
    assert code_of(lambda: edge.auditor.raw(path, b"")) == "role_denied"
    assert (edge.home / "admin").stat().st_mode & 0o777 == 0o700


def test_an_auditor_reads_to_the_checkpoint_and_no_further(edge: Edge) -> None:
    note = edge.auditor.audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=TIMEOUT_S).checkpoint
    size = int(note.split(b"\n")[1])
    beyond = audit_pb2.StreamEntriesRequest(start=0, end=size + 1000)
    assert code_of(lambda: list(edge.auditor.audit.StreamEntries(beyond, timeout=TIMEOUT_S))) == "not_found"
    part = audit_pb2.StreamEntriesRequest(start=1, end=3)
    (batch,) = edge.auditor.audit.StreamEntries(part, timeout=TIMEOUT_S)
    assert (batch.start, len(batch.entries)) == (1, 2)
