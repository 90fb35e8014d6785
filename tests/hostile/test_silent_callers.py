"""Callers that open calls and never say what they want: the line must not stand still for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of, key_pem, new_key
from harness.process import wait_until
from signerd.adapters.operations_ca import load_ca, sign_peer_request
from signerd.adapters.rpc.waiting import CALLS_PER_CALLER

STRANGERS = 5  # with 64 calls each: more than the 256 calls that signerd works on at once
OPEN_SESSION = "/birthmark.v1.SigningService/OpenSession"
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("silent")) as edge:
        edge.start()
        yield edge


class Stranger:
    """A certificate of the operations CA that nobody registered, on two connections."""

    def __init__(self, edge: Edge, name: str) -> None:
        key, uri = new_key(), f"birthmark://dev/station/plant1/{name}"
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        pem = request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        certificate = sign_peer_request(pem, uri, load_ca(edge.home), datetime.now(UTC))
        self.silent, self.probe = (
            edge.connect(uri, certificate.public_bytes(Encoding.PEM), key_pem(key)) for _ in range(2)
        )

    def has_all_its_calls_open(self) -> bool:
        """The next one, which nothing else would refuse, is one too many."""
        stub = health_pb2_grpc.HealthStub(self.probe.channel)
        return code_of(lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)) != ""


class Silence:
    """Calls with headers and no request, until they are let go."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._calls: list[Any] = []

    def _nothing(self) -> Iterator[bytes]:
        self._over.wait()
        yield from ()

    def call(self, peer: EdgePeer, path: str) -> None:
        """A unary method, called as if it took a stream: the headers go out at once."""
        self._calls.append(peer.channel.stream_unary(path, None, None).future(self._nothing()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for call in self._calls:
            call.cancel()


@pytest.mark.parametrize(
    "path", [OPEN_SESSION, "/grpc.health.v1.Health/Check", "/birthmark.v1.AdminService/Revoke"]
)
def test_strangers_that_open_calls_and_say_nothing(edge: Edge, path: str) -> None:
    name = path.rpartition("/")[2]
    station = edge.add_peer(f"station/plant1/honest-{name}")
    with Silence() as silence:
        for number in range(STRANGERS):
            stranger = Stranger(edge, f"silent-{name}-{number}")
            for _ in range(CALLS_PER_CALLER):
                silence.call(stranger.silent, path)
            wait_until(stranger.has_all_its_calls_open, "as many open calls as one caller may have")
        assert code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) == "order_unknown"
        edge.wait_refused(code="rate_limited", call="Check", peer=stranger.silent.uri)
