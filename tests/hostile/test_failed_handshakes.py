"""Strangers whose TLS handshakes fail: they are answered by TLS, and write nothing of their own anywhere."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, code_of, key_pem, new_key
from harness.process import COMMANDS
from signerd.adapters.device_ca import create_root
from signerd.adapters.line_writer import GATHER_S

TIMES = 60  # of each kind
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303")  # the beginning of one
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")
KINDS = {
    "no TLS": b"GET / HTTP/1.1\r\nHost: signerd\r\n\r\n",
    "noise": bytes(range(256)) * 16,
    "half a hello": CLIENT_HELLO,
    "TLS 1.0": bytes.fromhex("160301002d010000290301") + bytes(32) + bytes.fromhex("000002002f0100"),
    "HTTP/2 in clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("handshakes")) as edge:
        edge.start()
        yield edge


def own_certificate(directory: Path) -> Path:
    """Key and certificate of a CA of the stranger's own."""
    certificate, key = create_root("stranger", datetime.now(UTC).replace(microsecond=0))
    file = directory / "own.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + key_pem(key))
    return file


def knock(edge: Edge, said: bytes) -> None:
    host, _, port = edge.installation.target.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as line:
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while line.recv(4096):
                pass


def shake(edge: Edge, certificate: Path | None) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    host, _, port = edge.installation.target.rpartition(":")
    with suppress(OSError), closing(socket.create_connection((host, int(port)), TIMEOUT_S)) as line:
        context.wrap_socket(line).recv(4096)


@pytest.mark.check
def test_no_failed_handshake_writes_a_line(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/pc1")
    time.sleep(10 * GATHER_S)  # the line of the call before is on its way
    before = edge.installation.process.errors()
    own = own_certificate(tmp_path)
    for said in KINDS.values():
        for _ in range(TIMES):
            knock(edge, said)
    for _ in range(TIMES):
        shake(edge, None)
        shake(edge, own)
    time.sleep(10 * GATHER_S)
    assert edge.installation.process.errors() == before
    assert code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) == "order_unknown"
    assert all(isinstance(json.loads(line), dict) for line in edge.installation.process.errors().splitlines())


def accept_always(server: socket.socket, greet: Callable[[socket.socket], None]) -> None:
    with suppress(OSError):  # closed: the test is over
        while True:
            line, _ = server.accept()
            with suppress(OSError), line:
                greet(line)


def another_ca(directory: Path) -> Callable[[socket.socket], None]:
    key = new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signerd")])
    now = datetime.now(UTC).replace(microsecond=0)
    ca, ca_key = create_root("stranger", now)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(ca.not_valid_after_utc)
        .sign(ca_key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + key_pem(key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(file)

    def greet(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as secured:
            secured.recv(4096)

    return greet


@pytest.mark.check
@pytest.mark.parametrize("kind", ["no TLS", "another CA"])
def test_a_station_writes_no_line_of_grpc_where_signerd_is_another(
    edge: Edge, tmp_path: Path, kind: str
) -> None:
    site = f"plant-{kind.replace(' ', '')}"
    station = edge.installation.add_station(site, "pc2")
    greet = another_ca(tmp_path) if kind == "another CA" else lambda line: line.sendall(KINDS["no TLS"])
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=accept_always, args=(server, greet), daemon=True).start()
        text = station.config.read_text("utf-8")
        target = f"127.0.0.1:{server.getsockname()[1]}"
        station.config.write_text(text.replace(edge.installation.target, target), "utf-8")
        command: list[str | Path] = [COMMANDS / "birthmark-agent", "doctor", "--config", station.config]
        program = edge.installation.start(command, f"doctor-{site}")
        assert program.wait() != 0
        said = program.output() + program.errors()
        assert target in said
        for raw in ("ssl_transport_security", "Handshake", "handshaker", ".cc:"):
            assert raw not in said
