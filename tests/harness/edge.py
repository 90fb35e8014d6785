"""signerd as a process of its own, and peers whose keys the tests have. No agent, no auditor takes part.

with Edge(directory) as edge:
    edge.start()
    station = edge.add_peer("station/plant1/pc1")
    station.signing().OpenSession(...)
"""

from __future__ import annotations

import itertools
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.adapters.signer.channel import RECONNECT
from birthmark.v1 import audit_pb2, audit_pb2_grpc, signing_pb2_grpc
from harness.administrator import Administrator
from harness.installation import SENSOR, Installation, order_toml
from harness.process import COMMANDS, wait_until
from signerd.adapters.operations_ca import load_ca, sign_peer_request

TIMEOUT_S = 20.0


class EdgePeer:
    """A key with a certificate, and a channel that shows it."""

    def __init__(self, target: str, uri: str, certificate: bytes, key: bytes, ca: bytes) -> None:
        self.uri = uri
        self.certificate, self.key = certificate, key
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        options = [
            *RECONNECT,
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ]
        self.channel = grpc.secure_channel(target, credentials, options=options)
        self.signing = signing_pb2_grpc.SigningServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)

    def raw(self, path: str, request: bytes) -> bytes:
        """Any method, any bytes."""
        call: Callable[..., bytes] = self.channel.unary_unary(path, None, None)
        return call(request, timeout=TIMEOUT_S)


def code_of(call: Callable[[], Any]) -> str:
    """The code of a refusal, which is all that its status says; "" for an answer, and the status of gRPC's
    own refusals."""
    try:
        call()
    except grpc.RpcError as error:
        return _code(error)
    return ""


def _code(error: grpc.RpcError) -> str:
    assert isinstance(error, grpc.Call)
    metadata = dict(error.trailing_metadata() or ())
    if "birthmark-code" not in metadata:
        return str(error.code().name)
    assert error.details() == metadata["birthmark-code"]
    return str(metadata["birthmark-code"])


def new_key() -> ec.EllipticCurvePrivateKey:
    """P-256, as peers have."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certified(home: Path, uri: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate of the operations CA, PEM, that nobody registered."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, uri.rpartition("/")[2])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = request.public_bytes(Encoding.PEM)
    return sign_peer_request(pem, uri, load_ca(home), datetime.now(UTC)).public_bytes(Encoding.PEM)


class Edge:
    """An installation, its daemon, an administrator and an auditor."""

    def __init__(
        self,
        directory: Path,
        *,
        signerd: Sequence[str | Path] = (COMMANDS / "signerd",),
        installation: Installation | None = None,
    ) -> None:
        """`signerd` is the command whose `run` is the daemon; `installation` one that is there already."""
        self.installation = installation or Installation(directory, signerd=signerd)
        self.home = self.installation.home
        self._peers: list[EdgePeer] = []
        self._orders = itertools.count(1)

    def start(self) -> None:
        """Starts signerd and registers the auditor that the tests read with."""
        self.installation.start_signerd()
        self._administrator = Administrator(self.home)
        self.admin = self._administrator.calls
        self.auditor = self.add_peer("auditor/reader")

    def peer(
        self, path: str, *, deployment: str = "dev", key: ec.EllipticCurvePrivateKey | None = None
    ) -> EdgePeer:
        """A peer with a certificate of the operations CA that nobody registered; with a key of its own, or
        this one."""
        uri = f"birthmark://{deployment}/{path}"
        key = key or new_key()
        return self.connect(uri, certified(self.home, uri, key), key_pem(key))

    def connect(self, uri: str, certificate: bytes, key: bytes) -> EdgePeer:
        """A channel that shows this certificate."""
        ca = (self.home / "operations" / "ca.pem").read_bytes()
        peer = EdgePeer(self.installation.target, uri, certificate, key, ca)
        self._peers.append(peer)
        return peer

    def add_peer(self, path: str) -> EdgePeer:
        """A peer that is registered."""
        peer = self.peer(path)
        self._administrator.add_peer(peer.certificate)
        return peer

    def shown_to(self, peer: EdgePeer, name: str | None = None) -> x509.Certificate:
        """The server's certificate, as a new connection sees it; one that dials the name, if one is given."""
        own = self.installation.directory / "shown.pem"
        own.write_bytes(peer.certificate + peer.key)
        context = ssl.create_default_context(cafile=self.home / "operations" / "ca.pem")
        context.load_cert_chain(own)
        host, _, port = self.installation.target.rpartition(":")
        with (
            socket.create_connection((host, int(port)), TIMEOUT_S) as line,
            context.wrap_socket(line, server_hostname=name or host) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)

    def add_sensor(self) -> None:
        """The harness's product."""
        self._administrator.add_product(SENSOR)

    def open_order(self, *stations: EdgePeer, quantity: int = 10) -> str:
        """A work order with serial numbers of its own."""
        number = next(self._orders)
        uris = [station.uri for station in stations]
        pattern = f"E{number}-{{number:04d}}"
        self._administrator.open_order(
            order_toml(f"WO-{number}", quantity=quantity, stations=uris, serial_pattern=pattern)
        )
        return f"WO-{number}"

    def entries(self) -> Iterator[dict[str, Any]]:
        """The published ledger."""
        request = audit_pb2.StreamEntriesRequest()
        for batch in self.auditor.audit.StreamEntries(request, timeout=TIMEOUT_S):
            for entry in batch.entries:
                yield json.loads(entry)

    def wait_refused(self, **members: Any) -> dict[str, Any]:
        """The refusal with these members, once it stands in the ledger."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [
                entry
                for entry in self.entries()
                if entry["type"] == "refused" and members.items() <= entry.items()
            ]
            return bool(found)

        wait_until(there, f"a refusal with {members} in the ledger")
        return found[0]

    def __enter__(self) -> Self:
        self.installation.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self._peers:
            peer.channel.close()
        if self._peers:
            self._administrator.close()
        self.installation.__exit__(kind, error, trace)
