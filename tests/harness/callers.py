"""Callers of signerd that send what no honest program sends, as fast as they can.

codes = flood(peer, OPEN_SESSION, LOOKS["no body"], calls=200)    # {"rate_limited": 180, ...}
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of

SERVICE = "/birthmark.v1.SigningService/"
OPEN_SESSION = f"{SERVICE}OpenSession"
AT_ONCE = 16
LARGEST = 1_100_000  # bytes: a little less than what the transport refuses by itself
_OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1").SerializeToString()


class Caller(Protocol):
    """Whoever has a connection to signerd."""

    channel: grpc.Channel


Look = Callable[[], Iterator[bytes]]


def _never() -> Iterator[bytes]:
    threading.Event().wait(0.05)
    yield from ()


# What a call carries. Each of them is a unary call's stream of requests.
LOOKS: dict[str, Look] = {
    "well formed": lambda: iter((_OPEN,)),
    "no body": lambda: iter(()),
    "no message of its type": lambda: iter((b"\xff" * 9,)),
    "two bodies": lambda: iter((_OPEN, _OPEN)),
    "the largest body": lambda: iter((bytes(LARGEST),)),
    "a body that comes late, or never": _never,
}


def flood(peer: Caller, path: str, look: Look, *, calls: int) -> Counter[str]:
    """Makes so many calls, `AT_ONCE` at a time; the codes of their answers ("" for one that was answered)."""
    codes: Counter[str] = Counter()
    method: Any = peer.channel.stream_unary(path, None, None)
    for done in range(0, calls, AT_ONCE):
        under_way = [method.future(look(), timeout=TIMEOUT_S) for _ in range(min(AT_ONCE, calls - done))]
        codes.update(code_of(call.result) for call in under_way)
    return codes


def cut(peer: Caller, path: str, *, calls: int) -> None:
    """Makes calls and hangs up on each at once, mostly before signerd could say anything."""
    method: Any = peer.channel.stream_unary(path, None, None)
    for _ in range(calls):
        method.future(_never(), timeout=TIMEOUT_S).cancel()


def register(edge: Edge, path: str, key: ec.EllipticCurvePrivateKey | None = None) -> EdgePeer:
    """A peer that the administrator registered, and has connected."""
    peer = edge.peer(path, key=key)
    der = x509.load_pem_x509_certificate(peer.certificate).public_bytes(Encoding.DER)
    edge.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=der), timeout=TIMEOUT_S)
    grpc.channel_ready_future(peer.channel).result(timeout=TIMEOUT_S)
    return peer


def revoke(edge: Edge, peer: EdgePeer) -> None:
    """The administrator revokes the peer."""
    edge.admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=peer.uri), timeout=TIMEOUT_S)
