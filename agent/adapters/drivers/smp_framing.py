"""SMP's serial framing on the receiving side: bytes of a noisy line in, whole messages out. Pure.

A message travels as base64(length u16 ‖ message ‖ CRC-16/XMODEM), cut into lines; the first line begins
with `06 09`, the next ones with `04 14`. Everything else on the line is a log or noise and is dropped, as
is a message that is cut, too long or fails its CRC: to the station it was never sent. No bytes raise, and
never more than one line and one message are held.

Sending is `smp.packet.encode`; its decoder is for lines that are known to be whole and honest.
"""

from __future__ import annotations

import binascii

from smp.packet import CONTINUE_DELIMITER, START_DELIMITER

MAX_MESSAGE = 4096  # bytes, SMP header included; the bound of docs/board-protocol.md
MAX_LINE = 1024  # bytes; senders use 127, and a log line may be longer
LINE_LENGTH = 127  # bytes that the station sends a line, delimiter and newline included


class FrameReader:
    """Finds messages in what a serial line delivers."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False  # the line is too long already
        self._body: bytearray | None = None  # length ‖ message ‖ CRC so far

    def reset(self) -> None:
        """Forgets a line and a message that are not complete."""
        self._line.clear()
        self._skipping = False
        self._body = None

    def feed(self, data: bytes) -> list[bytes]:
        """Takes any number of bytes and returns the messages that they complete, in order."""
        messages = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._extend(end)
            if not self._skipping:
                message = self._take_line(bytes(self._line))
                if message is not None:
                    messages.append(message)
            self._line.clear()
            self._skipping = False
        self._extend(rest)
        return messages

    def _extend(self, part: bytes) -> None:
        if self._skipping or len(self._line) + len(part) > MAX_LINE:
            self._line.clear()
            self._skipping = True
        else:
            self._line += part

    def _take_line(self, line: bytes) -> bytes | None:
        # The last delimiter counts: what stands before it is a log, or a line that was cut.
        start, goes_on = line.rfind(START_DELIMITER), line.rfind(CONTINUE_DELIMITER)
        if start > goes_on:
            self._body = bytearray()
        elif goes_on < 0 or self._body is None:
            return None
        payload = line[max(start, goes_on) + 2 :].rstrip(b"\r")
        try:
            self._body += binascii.a2b_base64(payload, strict_mode=True)
        except binascii.Error:
            self._body = None
            return None
        return self._complete()

    def _complete(self) -> bytes | None:
        body = self._body
        if body is None or len(body) < 2:
            self._body = None
            return None
        length = int.from_bytes(body[:2], "big")  # of message and CRC
        if not 2 < length <= MAX_MESSAGE + 2 or len(body) > length + 2:
            self._body = None
            return None
        if len(body) < length + 2:
            return None
        self._body = None
        message, crc = bytes(body[2:-2]), int.from_bytes(body[-2:], "big")
        return message if binascii.crc_hqx(message, 0) == crc else None
