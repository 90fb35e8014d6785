"""Noise against a signerd, each kind a process of its own that keeps to its share of a core.

    python -m harness.noise KIND JSON      # with the folder `tests` on PYTHONPATH

It works until its standard input ends, then says in one line of JSON what it did.

    idle         TCP connections that say nothing, opened again as they are closed
    handshakes   TLS handshakes that fail: bytes that are no TLS, and a stranger's certificate
    empty        calls without a body, of a station
    calls        OpenSession, as fast as it can, of any certificate: of a station that is revoked, say
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from birthmark.v1 import signing_pb2
from harness.idle_connections import IdleConnections

OPEN_SESSION = "/birthmark.v1.SigningService/OpenSession"
_CALL_S = 5.0
_GARBAGE = b"GET / HTTP/1.1\r\nHost: signerd\r\n\r\n"


class Share:
    """Keeps this process to a share of one core, from now on."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._used, self._began = time.process_time(), time.monotonic()

    def rest(self) -> None:
        """Sleeps until what was used so far is within the share."""
        due = (time.process_time() - self._used) / self._share
        time.sleep(max(0.0, due - (time.monotonic() - self._began)))


class Noise:
    """One kind, until `over` is set."""

    def __init__(self, settings: dict[str, Any], over: threading.Event) -> None:
        self._settings = settings
        self._over = over
        self.did: Counter[str] = Counter()

    def _target(self) -> tuple[str, int]:
        host, _, port = self._settings["target"].rpartition(":")
        return host, int(port)

    def _rounds(self) -> Iterator[int]:
        share, number = Share(self._settings["share"]), 0
        while not self._over.is_set():
            yield number
            number += 1
            share.rest()

    def idle(self) -> None:
        """As many connections as are asked for, and how many there were at the most."""
        share = Share(self._settings["share"])
        connections = IdleConnections(
            self._settings["target"], self._settings["count"], first=self._settings["first"], rest=share.rest
        )
        with connections:
            while not self._over.wait(0.5):
                self.did["most"] = max(self.did["most"], connections.open)
        self.did["attempts"] = connections.attempts

    def handshakes(self) -> None:
        """In turn: bytes that are no TLS, and a handshake with a stranger's certificate."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self._settings["certificate"])
        for number in self._rounds():
            self.did["attempts"] += 1
            with suppress(OSError), socket.socket() as line:
                line.settimeout(_CALL_S)
                line.bind((f"127.0.2.{number % 200 + 1}", 0))
                line.connect(self._target())
                if number % 2:
                    line.sendall(_GARBAGE)
                    line.recv(4096)
                else:
                    with context.wrap_socket(line) as secured:
                        secured.recv(4096)

    def _channel(self) -> grpc.Channel:
        root, key, certificate = (Path(self._settings[name]).read_bytes() for name in ("root", "key", "cert"))
        credentials = grpc.ssl_channel_credentials(root, key, certificate)
        return grpc.secure_channel(self._settings["target"], credentials)

    def empty(self) -> None:
        """OpenSession without a message."""
        with self._channel() as channel:
            call = channel.stream_unary(OPEN_SESSION, bytes, bytes)
            self._call(lambda: call(iter(()), timeout=_CALL_S))

    def calls(self) -> None:
        """OpenSession for a board that there is not."""
        request = signing_pb2.OpenSessionRequest(work_order="WO-1", chip_id="chip:0").SerializeToString()
        with self._channel() as channel:
            call = channel.unary_unary(OPEN_SESSION, bytes, bytes)
            self._call(lambda: call(request, timeout=_CALL_S))

    def _call(self, call: Callable[[], object]) -> None:
        for _ in self._rounds():
            self.did["attempts"] += 1
            try:
                call()
            except grpc.RpcError as error:
                words = error.details() if isinstance(error, grpc.Call) else None
                self.did[words or "no words"] += 1


def main() -> None:
    """One kind of noise."""
    over = threading.Event()
    noise = Noise(json.loads(sys.argv[2]), over)
    worker = threading.Thread(target=getattr(noise, sys.argv[1]))
    worker.start()
    sys.stdin.read()
    over.set()
    worker.join()
    sys.stdout.write(json.dumps(noise.did) + "\n")


if __name__ == "__main__":
    main()
