"""Web servers that an auditor reads tiles from, and that do not mean well."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from auditor.adapters import tile_log
from auditor.adapters.tile_log import TileLog
from auditor.errors import Malformed, Unreachable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Each connection is given to `answer`, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=given, args=(line,), daemon=True).start()

    def given(line: socket.socket) -> None:
        with line, suppress(OSError):
            line.recv(4096)
            answer(line)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def drips(data: bytes) -> Callable[[socket.socket], None]:
    def answer(line: socket.socket) -> None:
        line.sendall(data)
        while True:
            line.sendall(b"x")
            time.sleep(0.02)

    return answer


@pytest.mark.check
@pytest.mark.parametrize(
    "data", [HEAD.replace(b"100", b"1000000"), b"HTTP/1.1 200 OK\r\nX: "], ids=["body", "head"]
)
def test_one_that_drips_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Each byte comes in time, and the file never ends."""
    monkeypatch.setattr(tile_log, "DEADLINE_S", 0.3)
    with answering(drips(data)) as place:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"no whole answer in 0\.3 s"):
            TileLog(place).checkpoint()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1/"])
def test_it_is_not_led_to_another_protocol(target: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        answering(lambda line: line.sendall(answer)) as place,
        pytest.raises(Unreachable, match=r"HTTP 302|redirects to"),
    ):
        TileLog(place).checkpoint()


def test_it_is_not_led_from_https_to_http() -> None:
    redirects = tile_log._Redirects()
    request = urllib.request.Request("https://log.example/checkpoint")
    with pytest.raises(Unreachable, match="redirects to"):
        redirects.redirect_request(request, None, 302, "", {}, "http://log.example/checkpoint")


@pytest.mark.parametrize(
    "answer", [b"", b"hello\r\n\r\n", HEAD + b"short", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200]
)
def test_what_is_no_answer_is_said(answer: bytes) -> None:
    with answering(lambda line: line.sendall(answer)) as place, pytest.raises((Unreachable, Malformed)):
        TileLog(place).checkpoint()
