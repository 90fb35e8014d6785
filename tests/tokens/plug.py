"""A card in vpcd's reader: messages of a socket to APDUs and back, in a thread; pulled and put back.

vpcd sends lengths of two bytes and messages; those of one byte are power off, power on, reset and the
question for the ATR (vsmartcard's virtualsmartcard, `ifd-vpcd`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from tokens.piv_card import ATR, PivCard

_GET_ATR = b"\x04"
_AGAIN_S = 0.05  # between two attempts to find the reader


class Plug:
    """One card at one port of vpcd's."""

    def __init__(self, card: PivCard, port: int) -> None:
        self.card = card
        self._port = port
        self._in = threading.Event()
        self._answering = threading.Event()
        self._answering.set()
        self._ended = threading.Event()
        self._line: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name=f"card {card.serial}", daemon=True)
        self._thread.start()

    @property
    def is_in(self) -> bool:
        """Whether the card is in the reader."""
        return self._in.is_set()

    def put_in(self) -> None:
        """The card is in the reader; pcscd sees it within about a second."""
        self._in.set()

    def pull(self) -> None:
        """The card is out. A command under way gets no answer."""
        self._in.clear()
        self._answering.set()
        self._cut()

    def hang(self) -> None:
        """Commands get no answer, until `answer` or `pull`."""
        self._answering.clear()

    def answer(self) -> None:
        """Commands get answers again, the one that waits among them."""
        self._answering.set()

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self._in.set()
        self._answering.set()
        self._cut()
        self._thread.join()

    def _cut(self) -> None:
        line = self._line
        if line is not None:
            with contextlib.suppress(OSError):  # the other side was faster
                line.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            self._in.wait()
            if self._ended.is_set():
                return
            try:
                line = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                self._ended.wait(_AGAIN_S)
                continue
            with line:
                self._line = line
                # `pull` or `close` may have come before the line was there to be cut.
                if self._in.is_set() and not self._ended.is_set():
                    with contextlib.suppress(OSError):
                        self._converse(line)
                self._line = None
            self.card.power_off()

    def _converse(self, line: socket.socket) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            head = _exactly(line, 2)
            message = _exactly(line, int.from_bytes(head, "big"))
            if len(message) > 1:
                answer = self.card.transmit(message)
                self._answering.wait()
            elif message == _GET_ATR:
                answer = ATR
            else:
                self.card.power_off()
                continue
            line.sendall(struct.pack(">H", len(answer)) + answer)


def _exactly(line: socket.socket, size: int) -> bytes:
    """Raises ConnectionError at the end."""
    data = b""
    while len(data) < size:
        # vpcd sends length and message apart, without TCP_NODELAY: it waits 40 ms for our acknowledgement,
        # which the system delays unless told at each read.
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = line.recv(size - len(data))
        if not part:
            raise ConnectionError("the reader is gone")
        data += part
    return data
