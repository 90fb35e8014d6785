"""Peers that are not what they should be: other roles, revoked, strangers, floods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from birthmark.v1 import admin_pb2, admin_pb2_grpc, audit_pb2, signing_pb2_grpc
from harness.hostile_line import HostileLine, Station, code_of
from harness.process import wait_until

SESSIONS = 10_000


def test_a_station_gets_nothing_from_the_audit_service(line: HostileLine) -> None:
    audit = line.pc1.audit
    calls = {
        "GetCheckpoint": lambda: audit.GetCheckpoint(audit_pb2.GetCheckpointRequest()),
        "GetInclusionProof": lambda: audit.GetInclusionProof(
            audit_pb2.GetInclusionProofRequest(index=0, tree_size=1)
        ),
        "GetConsistencyProof": lambda: audit.GetConsistencyProof(
            audit_pb2.GetConsistencyProofRequest(old_size=1, new_size=1)
        ),
        "StreamEntries": lambda: list(audit.StreamEntries(audit_pb2.StreamEntriesRequest())),
        "FindRecords": lambda: audit.FindRecords(audit_pb2.FindRecordsRequest()),
        "GetRecord": lambda: audit.GetRecord(audit_pb2.GetRecordRequest(serial_number="S1-0001")),
        "GetWorkOrder": lambda: audit.GetWorkOrder(audit_pb2.GetWorkOrderRequest(work_order="WO-1")),
    }
    for call in calls.values():
        line.refused("role_denied", call)


def test_a_station_gets_nothing_from_the_admin_service(line: HostileLine) -> None:
    admin = admin_pb2_grpc.AdminServiceStub(line.pc1.channel)
    calls = {
        "AddPeer": lambda: admin.AddPeer(admin_pb2.AddPeerRequest()),
        "RevokePeer": lambda: admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=line.pc2.uri)),
        "OpenWorkOrder": lambda: admin.OpenWorkOrder(admin_pb2.OpenWorkOrderRequest()),
        "PersonalizeChips": lambda: admin.PersonalizeChips(admin_pb2.PersonalizeChipsRequest()),
        "MakeCrl": lambda: admin.MakeCrl(admin_pb2.MakeCrlRequest()),
    }
    for call in calls.values():
        line.refused("role_denied", call)


def test_an_auditor_cannot_sign(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    auditor = line.auditor
    line.refused("role_denied", lambda: auditor.open(order, board.chip_id), peer=auditor.uri)


def test_a_revoked_station_with_its_connection_open(line: HostileLine) -> None:
    order, board = line.open_order(), line.board()
    mallory = line.add_station("plant1", "mallory")
    stations = (line.pc1.uri, mallory.uri)
    order = line.open_order(stations=stations)
    session = mallory.open(order, board.chip_id)
    line.admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=mallory.uri), timeout=30)
    assert code_of(lambda: mallory.sign(session, *board.request(session.challenge))) == "peer_revoked"
    assert code_of(lambda: mallory.open(order, board.chip_id)) == "peer_revoked"
    mallory.close()


@pytest.mark.check
def test_ten_thousand_sessions_opened_and_left(line: HostileLine) -> None:
    order, board, honest = line.open_order(), line.board(), line.board()
    flooder = line.add_station("plant1", "flooder")
    order = line.open_order(stations=(line.pc1.uri, flooder.uri))
    signerd = psutil.Process(line.installation.process.pid)
    before = signerd.memory_info().rss
    entries = line.size()
    codes: dict[str, int] = {}
    for _ in range(SESSIONS):
        code = code_of(lambda: flooder.open(order, board.chip_id))
        codes[code] = codes.get(code, 0) + 1
    assert set(codes) == {"", "rate_limited"}
    assert codes["rate_limited"] > codes[""]
    # No memory, no place, no ledger was taken by it, and the neighbour works on.
    assert signerd.memory_info().rss - before < 20 * 2**20
    assert line.size() - entries < 1000
    assert line.counts(order).places == 0
    line.pc1.certify(order, honest)
    flooder.close()


def stranger(target: str, certificate: bytes, key: bytes, root: bytes) -> signing_pb2_grpc.SigningServiceStub:
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    return signing_pb2_grpc.SigningServiceStub(grpc.secure_channel(target, credentials))


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def operations_root(line: HostileLine) -> bytes:
    return (line.installation.home / "operations" / "ca.pem").read_bytes()


def handshake_fails(line: HostileLine, credentials: grpc.ChannelCredentials) -> bool:
    with grpc.secure_channel(line.installation.target, credentials) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=3)
        except grpc.FutureTimeoutError:
            return True
    return False


def test_a_boards_certificate_is_no_login(line: HostileLine, operations_root: bytes) -> None:
    board = line.board()
    _, signed = line.pc1.certify(line.open_order(), board)
    chain = b"".join(
        x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        for der in (signed.certificate_der, *signed.chain_der)
    )
    assert handshake_fails(line, grpc.ssl_channel_credentials(operations_root, pem(board.key), chain))


@pytest.mark.check
def test_no_certificate_and_a_self_signed_one_are_no_login(line: HostileLine, operations_root: bytes) -> None:
    assert handshake_fails(line, grpc.ssl_channel_credentials(operations_root))
    key = ec.generate_private_key(ec.SECP256R1())
    own = issue(key, key, x509.Name([]), uri=line.pc1.uri)
    assert handshake_fails(line, grpc.ssl_channel_credentials(operations_root, pem(key), own))


def issue(
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    *,
    uri: str,
    days: int = 1,
) -> bytes:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def operations_ca(home: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Name]:
    key = load_pem_private_key((home / "operations" / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key, x509.load_pem_x509_certificate((home / "operations" / "ca.pem").read_bytes()).subject


@pytest.mark.parametrize("name", ["pc1", "ghost"])
def test_a_certificate_that_the_registry_does_not_know(
    line: HostileLine, operations_root: bytes, name: str
) -> None:
    """Even the operations CA cannot let a peer in: the registry pins the key of each name."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca_key, issuer = operations_ca(line.installation.home)
    uri = f"birthmark://dev/station/plant1/{name}"
    own = issue(key, ca_key, issuer, uri=uri)
    peer = Station.of(uri, line.installation.target, operations_root, pem(key), own)
    assert code_of(lambda: peer.open("WO-1", "chip:1")) == "unauthenticated"
    peer.close()


@pytest.mark.parametrize(
    "uri", ["birthmark://other/station/plant1/pc1", "https://example.com/", "birthmark://dev/admin/root"]
)
def test_a_certificate_that_names_no_peer_of_this_deployment(
    line: HostileLine, operations_root: bytes, uri: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    ca_key, issuer = operations_ca(line.installation.home)
    peer = Station.of(
        uri, line.installation.target, operations_root, pem(key), issue(key, ca_key, issuer, uri=uri)
    )
    assert code_of(lambda: peer.open("WO-1", "chip:1")) == "unauthenticated"
    peer.close()


def test_an_expired_certificate_is_no_login(line: HostileLine, operations_root: bytes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    ca_key, issuer = operations_ca(line.installation.home)
    own = issue(key, ca_key, issuer, uri=line.pc1.uri, days=-1)
    assert handshake_fails(line, grpc.ssl_channel_credentials(operations_root, pem(key), own))


def test_a_message_beyond_the_transports_bound_harms_nobody(line: HostileLine) -> None:
    call = line.pc1.raw("/birthmark.v1.SigningService/SignCsr")
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(8 * 2**20))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    line.pc1.certify(line.open_order(), line.board())


def test_no_secret_and_no_detail_leaves_signerd(line: HostileLine) -> None:
    """What was refused above is told in the log, and no line of it holds a chip's key or the PIN."""
    log = line.installation.process.errors()
    wait_until(lambda: "evidence" in line.installation.process.errors() or bool(log), "a log")
    pin = (line.installation.home / "hsm.pin").read_text(encoding="ascii").strip()
    assert pin not in log
    assert not [key for key in line.chip_keys if key.hex() in log]


def test_an_auditor_finds_nothing_after_all_that(line: HostileLine) -> None:
    line.verify()
