"""TCP connections to signerd that say nothing, and come again when they are closed.

with IdleConnections("127.0.0.1:8443", 4200) as idle:
    idle.wait_open(3000)
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from harness.process import wait_until

_AT_ONCE = 100  # new ones before those that were closed are looked at
_PAUSE_S = 0.02
_ADDRESSES = 100  # of the loopback network, each with ports of its own
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen by `connect`, for the whole pair of addresses


class IdleConnections:
    """Held open by a thread, until the context ends."""

    def __init__(
        self, target: str, count: int, *, first: int = 0, rest: Callable[[], None] = lambda: None
    ) -> None:
        """`first`: of the addresses that they come from; `rest` is called after each round."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._count = count
        self._open: dict[int, socket.socket] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._first, self._rest = first, rest
        self.attempts = 0

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    def wait_open(self, count: int) -> None:
        """Returns once so many are open at the same time."""
        wait_until(lambda: len(self._open) >= count, f"{count} idle connections")

    def _hold(self) -> None:
        with select.epoll() as ended:
            while not self._over.wait(_PAUSE_S):
                for _ in range(min(_AT_ONCE, self._count - len(self._open))):
                    self._connect(ended)
                for descriptor, _ in ended.poll(0):
                    self._open.pop(descriptor).close()
                self._rest()
            for line in self._open.values():
                line.close()

    def _connect(self, ended: select.epoll) -> None:
        self.attempts += 1
        line = socket.socket()
        line.setblocking(False)
        with suppress(BlockingIOError):
            line.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            line.bind((f"127.0.1.{self._first + self.attempts % _ADDRESSES + 1}", 0))
            line.connect(self._target)
        ended.register(line.fileno(), select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
        self._open[line.fileno()] = line

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
