"""A server of paper that answers what a test tells it, and keeps what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Self

Answers = Callable[[BaseHTTPRequestHandler], None]


def refused(status: int, code: str = "", **headers: str) -> Answers:
    """An error as S3 has it."""
    body = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        if code
        else b""
    )
    return answered(status, body, headers=headers)


def answered(
    status: int, body: bytes, length: int | None = None, headers: Mapping[str, str] = MappingProxyType({})
) -> Answers:
    """`length`: what it says of the body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = length is not None

    return answer


@dataclass
class PaperBucket:
    """See the module."""

    answer: Answers
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, authorization

    def __enter__(self) -> Self:
        paper = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                paper.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
                try:
                    paper.answer(self)
                except OSError:
                    self.close_connection = True

            do_GET = do_PUT = do_DELETE = _do  # noqa: N815

            def log_message(self, *_of: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_of: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"
