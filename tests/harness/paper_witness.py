"""A witness of paper: an HTTP server that cosigns what it is shown, or answers wrongly on command.

It verifies nothing of the proof: whether signerd's proofs hold is what transparency-dev's witness says
(`go_witness`).
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Answered = tuple[int, dict[str, str], bytes]
SIZE = {"Content-Type": "text/x.tlog.size"}


@dataclass
class Shown:
    """One request, taken apart."""

    old: int
    proof: list[str]
    note: bytes

    @property
    def text(self) -> bytes:
        return self.note.rpartition(b"\n\n")[0] + b"\n"

    @property
    def size(self) -> int:
        return int(self.text.split(b"\n")[1])


@dataclass
class PaperWitness:
    """See the module. `wrong`: what it answers instead, while it is set."""

    name: str = "witness.example/paper"
    seen: int = 0  # size of the tree that it cosigned last
    requests: list[Shown] = field(default_factory=list)
    wrong: Callable[[Shown], Answered | None] | None = None
    time: int = 1_780_000_000
    tls: ssl.SSLContext | None = None  # of its side; None: HTTP

    def __post_init__(self) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())
        self._typed = b"\x04" + self.key.public_key().public_bytes_raw()
        self._key_id = hashlib.sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]
        self.vkey = f"{self.name}+{self._key_id.hex()}+{base64.b64encode(self._typed).decode()}"

    def cosignature(self, text: bytes) -> bytes:
        """The line over this text."""
        signature = self.key.sign(f"cosignature/v1\ntime {self.time}\n".encode() + text)
        raw = self._key_id + self.time.to_bytes(8) + signature
        return f"\u2014 {self.name} {base64.b64encode(raw).decode()}\n".encode()

    def answer(self, shown: Shown) -> Answered:
        """As an honest witness that takes the proof on trust."""
        if shown.old != self.seen:
            return 409, SIZE, f"{self.seen}\n".encode()
        self.seen = shown.size
        return 200, {}, self.cosignature(shown.text)

    def __enter__(self) -> Self:
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                head, _, note = body.partition(b"\n\n")
                old, *proof = head.decode().split("\n")
                shown = Shown(int(old.removeprefix("old ")), proof, note)
                witness.requests.append(shown)
                made = witness.wrong(shown) if witness.wrong is not None else witness.answer(shown)
                if made is None:  # it hangs up
                    self.close_connection = True
                    return
                status, headers, data = made
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_arguments: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:  # the handshake is the request's thread's: one that fails harms no other
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        port = self._server.server_address[1]
        return f"http://127.0.0.1:{port}/" if self.tls is None else f"https://localhost:{port}/"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
