"""Clients of a station's page that mean no good, as a process: `python -m harness.page_attackers PORT`.

So many connections are open at any time, each of a kind in turn; one of the kinds reads what it is told. What
is ended is made anew. It writes how many of each kind there were, as JSON, each so many and when standard
input ends.
"""

from __future__ import annotations

import itertools
import json
import resource
import select
import socket
import sys
import time
from collections import Counter
from contextlib import suppress

OPEN = 600
DRIP_S = 0.25
TOLD = 200  # connections, between two lines
_HOST = b"Host: 127.0.0.1\r\n\r\n"
_LARGE = b"GET /api/boards HTTP/1.1\r\nX: " + b"a" * 60_000
# What each says at once, and what it goes on with, a byte each `DRIP_S`.
_EAGER = "asks as fast as it is answered"
_KINDS: dict[str, tuple[bytes, bytes]] = {
    _EAGER: ((b"GET /api/state HTTP/1.1\r\n" + _HOST) * 20, b""),
    "says nothing": (b"", b""),
    "a byte a time": (b"GET /api/shift HTTP/1.1\r\n", b"X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    "never reads the shift": (b"GET /api/shift HTTP/1.1\r\n" + _HOST, b""),
    "never reads boards": ((b"GET /api/boards?q=7c HTTP/1.1\r\n" + _HOST) * 20, b""),
    "never reads a board": ((b"GET /api/boards/CHIP-1 HTTP/1.1\r\n" + _HOST) * 20, b""),
    "never reads the stream": (b"GET /api/events HTTP/1.1\r\n" + _HOST, b""),
    "large headers": (_LARGE, b""),
    "other methods": (
        b"".join(b"%s /api/state HTTP/1.1\r\n" % m + _HOST for m in (b"HEAD", b"POST", b"OPTIONS")),
        b"",
    ),
    "a name of others": (b"GET /api/boards HTTP/1.1\r\nHost: evil.example\r\n\r\n", b""),
    "no text": (b"GET /api/boards/%ff%00%ed%a0%80 HTTP/1.1\r\n" + _HOST, b""),
    "a body without end": (b"GET /api/state HTTP/1.1\r\nContent-Length: 999999999\r\n" + _HOST, b"x" * 64),
}


class Attackers:
    """All of them, in one thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kinds = itertools.cycle(_KINDS)
        self._ended = select.epoll()
        self._lines: dict[int, socket.socket] = {}
        self._kind: dict[int, str] = {}  # of those that are not let in yet
        self._slow: dict[int, bytes] = {}  # what is still to be said
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Until standard input ends."""
        self._ended.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
        drip_s, told_at = time.monotonic(), 0
        while True:
            for _ in range(OPEN - len(self._lines)):
                self._open()
            for number, event in self._ended.poll(0.02):
                if number == sys.stdin.fileno():
                    return
                if event == select.EPOLLOUT:
                    self._begin(number)
                elif event == select.EPOLLIN:
                    self._ask_again(number)
                else:
                    self._close(number)
            if self.counts.total() >= told_at + TOLD:
                told_at = self.counts.total()
                print(json.dumps(self.counts), flush=True)
            if time.monotonic() >= drip_s:
                drip_s += DRIP_S
                self._drip()

    def _open(self) -> None:
        kind = next(self._kinds)
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        line.setblocking(False)
        line.connect_ex(("127.0.0.1", self._port))
        self._lines[line.fileno()] = line
        self._kind[line.fileno()] = kind
        self._ended.register(line, select.EPOLLOUT | select.EPOLLRDHUP)

    def _begin(self, number: int) -> None:
        """It is let in."""
        kind = self._kind.pop(number)
        first, self._slow[number] = _KINDS[kind]
        self.counts[kind] += 1
        # Of the others it is not asked whether something can be read.
        self._ended.modify(number, select.EPOLLRDHUP | (select.EPOLLIN if kind == _EAGER else 0))
        with suppress(OSError):  # it is ended, and made anew
            self._lines[number].send(first)

    def _ask_again(self, number: int) -> None:
        with suppress(OSError):  # it is ended, and made anew
            if self._lines[number].recv(65_536):
                self._lines[number].send(_KINDS[_EAGER][0])

    def _drip(self) -> None:
        for number, rest in list(self._slow.items()):
            if rest:
                self._slow[number] = rest[1:]
                with suppress(OSError):  # it is ended, and made anew
                    self._lines[number].send(rest[:1])

    def _close(self, number: int) -> None:
        self._slow.pop(number, None)
        self._kind.pop(number, None)
        self._lines.pop(number).close()


def main() -> None:
    """The process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    attackers = Attackers(int(sys.argv[1]))
    attackers.run()
    print(json.dumps(attackers.counts))


if __name__ == "__main__":
    main()
