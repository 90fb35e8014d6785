"""Callers that open calls and never say what they want: the line must not stand still for them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from birthmark.v1 import signing_pb2
from harness.callers import OPEN_SESSION, register
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of
from harness.process import wait_until
from signerd.adapters.rate_limit import STRANGERS
from signerd.adapters.rpc.waiting import CALLS_PER_CALLER, REQUEST_DEADLINE_S

CALLERS = 5  # with 64 calls each: more than the 256 calls that signerd works on at once
AT_ONCE_S = 0.8 * REQUEST_DEADLINE_S  # those that are held are answered by then, and not before
HEALTH = "/grpc.health.v1.Health/Check"
REVOKE = "/birthmark.v1.AdminService/Revoke"
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("silent")) as edge:
        edge.start()
        yield edge


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

    def open(self) -> int:
        """Those that are not answered."""
        return sum(not call.done() for call in self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for call in self._calls:
            call.cancel()


@pytest.mark.parametrize(
    ("registered", "path", "held"),
    [
        (True, OPEN_SESSION, CALLS_PER_CALLER),
        (True, HEALTH, CALLS_PER_CALLER),
        (True, REVOKE, 0),
        (False, OPEN_SESSION, 0),
        (False, HEALTH, int(STRANGERS.burst)),
        (False, REVOKE, 0),
    ],
)
def test_callers_that_open_calls_and_say_nothing(edge: Edge, registered: bool, path: str, held: int) -> None:
    """Who is let in holds so many calls until they have to speak; all others are answered at once."""
    name = f"{path.rpartition('/')[2].lower()}-{held}-{registered}"
    honest = register(edge, f"station/plant1/honest-{name}")
    with Silence() as silence:
        for number in range(CALLERS):
            here = f"station/plant1/silent-{number}-{name}"
            caller = register(edge, here) if registered else edge.peer(here)
            for _ in range(CALLS_PER_CALLER):
                silence.call(caller, path)
        most = CALLERS * (held + 2)  # the bucket of a rate fills meanwhile
        wait_until(lambda: silence.open() <= most, "all but these to be answered", timeout_s=AT_ONCE_S)
        assert silence.open() >= held
        assert code_of(lambda: honest.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) == "order_unknown"


def test_who_holds_all_its_calls_open_gets_no_more(edge: Edge) -> None:
    peer = register(edge, "station/plant1/holds-all")
    with Silence() as silence:
        for _ in range(CALLS_PER_CALLER):
            silence.call(peer, OPEN_SESSION)
        probe = edge.connect(peer.uri, peer.certificate, peer.key)
        wait_until(
            lambda: code_of(lambda: probe.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) == "rate_limited",
            "as many open calls as one caller may have",
        )
    wait_until(
        lambda: code_of(lambda: probe.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) == "order_unknown",
        "signerd to notice that they ended",
    )


SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113 §6.5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"whatever"
PING_FRAME, GOAWAY_FRAME = 6, 7
ENHANCE_YOUR_CALM = 0x0B


def frames(line: ssl.SSLSocket) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and payload of what comes, until it is closed."""
    with line.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            yield head[3], head[4], stream.read(int.from_bytes(head[:3], "big"))


@pytest.mark.parametrize("registered", [True, False])
def test_who_pings_without_end_is_cut_off(edge: Edge, tmp_path: Path, registered: bool) -> None:
    """Stations ping each 10 s, signerd takes one each 5 s. A ping is answered, a stream of them ends it."""
    here = f"station/plant1/pings-{registered}"
    peer = register(edge, here) if registered else edge.peer(here)
    pair = tmp_path / "pair.pem"
    pair.write_bytes(peer.certificate + peer.key)
    context = ssl.create_default_context(cafile=str(edge.home / "operations" / "ca.pem"))
    context.load_cert_chain(pair)
    context.set_alpn_protocols(["h2"])
    host, _, port = edge.installation.target.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname=host) as line,
    ):
        line.sendall(PREFACE + PING)
        came = frames(line)
        assert any(kind == PING_FRAME and flags == 1 for kind, flags, _ in came)
        line.sendall(10 * PING)
        (said,) = [payload for kind, _, payload in came if kind == GOAWAY_FRAME]
    assert int.from_bytes(said[4:8], "big") == ENHANCE_YOUR_CALM
