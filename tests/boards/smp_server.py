"""The board's end of a serial line without the line: upstream's SMP framing, a line rate, and faults.

It takes and gives bytes; a pty (`boards.pty_line`) or a simulated chip (`boards.esp32`) carries them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import cbor2
from smp import packet
from smp.exceptions import SMPException
from smp.header import OP, Header

from boards.faults import COMMANDS, Kind
from boards.simulated_board import BAD_REQUEST, BoardProtocolError, ResetRequested, SimulatedBoard

GROUP = 83
LINE_LENGTH = 128  # `smp.packet.encode` makes lines of at most 127 bytes of it, newline included
ENOTSUP = 8  # MGMT_ERR_ENOTSUP of SMP itself

BOOT_LOG = b"*** Booting Zephyr OS build v3.7.0 ***\r\n[00:00:00.010,000] <inf> app: ready\r\n"
_NOISE = b"\xff\x00\x06 \x04\x06\x07 uart: framing\r\n\x14\x09[00:00:00.000] <wrn> bat\x04: low"


@dataclass(frozen=True, slots=True)
class _Message:
    header: Header
    payload: bytes
    wire_bytes: int


class SmpServer:
    """Answers what comes on a line for one board; runs as `serve`, on the event loop.

    Args:
        board: whose answers they are.
        send: writes bytes to the line.
        on_reset: called when a fault resets the board; it calls `forget`.
        baudrate: of the line that this simulates; 0: it takes no time.
    """

    def __init__(
        self,
        board: SimulatedBoard,
        send: Callable[[bytes], None],
        on_reset: Callable[[], None],
        *,
        baudrate: int = 0,
    ) -> None:
        self.board = board
        self.exchanges = 0  # commands received
        self.wire_bytes = 0  # bytes received and sent
        self._send_bytes = send
        self._on_reset = on_reset
        self._baudrate = baudrate
        self._buffer = b""
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._line_free_at = 0.0

    def forget(self) -> None:
        """Drops what came and was not answered yet, as a reset does."""
        self._buffer = b""
        while not self._lines.empty():
            self._lines.get_nowait()

    def received(self, data: bytes) -> None:
        """Takes bytes from the line."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._lines.put_nowait(line + b"\n")

    async def serve(self) -> None:
        """Answers until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            message = await self._next_message()
            self.exchanges += 1
            await self._line_time(message.wire_bytes)
            try:
                await self._answer(message)
            except ResetRequested:
                self._on_reset()

    async def _next_message(self) -> _Message:
        decoder: Generator[None, bytes, bytes] | None = None
        wire_bytes = 0
        while True:
            line = await self._lines.get()
            if line.startswith(packet.START_DELIMITER):
                decoder, wire_bytes = packet.decode(), 0
                next(decoder)
            if decoder is None:
                continue
            wire_bytes += len(line)
            try:
                decoder.send(line)
            except StopIteration as complete:
                frame: bytes = complete.value
                return _Message(Header.loads(frame[: Header.SIZE]), frame[Header.SIZE :], wire_bytes)
            except (SMPException, ValueError, struct.error):
                decoder = None

    async def _answer(self, message: _Message) -> None:
        faults = self.board.faults
        known = message.header.group_id == GROUP and message.header.command_id < len(COMMANDS)
        command = COMMANDS[message.header.command_id] if known else "unknown"
        if faults.take(Kind.SILENT, command) is not None:
            return
        if faults.take(Kind.RESET_BEFORE, command) is not None:
            raise ResetRequested
        body = self._body(message, command) if known else {"rc": ENOTSUP}
        if faults.take(Kind.RESET_AFTER, command) is not None:
            raise ResetRequested
        if faults.take(Kind.LOSE_ANSWER, command) is not None:
            return
        wire = self._wire(message.header, body, command)
        late = faults.take(Kind.LATE_ANSWER, command)
        if late is not None and isinstance(late.value, int | float):
            self._loop.call_later(late.value, self._send_bytes, b"".join(wire))
            return
        copies = 2 if faults.take(Kind.DUPLICATE_ANSWER, command) is not None else 1
        await self._send(wire * copies, command)

    def _body(self, message: _Message, command: str) -> Mapping[str, object]:
        try:
            write = message.header.op is OP.WRITE
            body = self.board.handle(write=write, command=command, body=cbor2.loads(message.payload))
        except BoardProtocolError as error:
            body = {"err": {"group": GROUP, "rc": error.rc}}
        except (cbor2.CBORError, AttributeError):  # not CBOR, or not a map
            body = {"err": {"group": GROUP, "rc": BAD_REQUEST}}
        if self.board.faults.take(Kind.EXTRA_KEYS, command) is not None:
            body = body | {"vendor": "x", "version": 7, "sequence": -1, "header": None, "smp_data": b"\x00"}
        replaced = self.board.faults.take(Kind.ANSWER, command)
        return body if replaced is None else replaced.value  # type: ignore[return-value] # told to misbehave

    def _wire(self, header: Header, body: object, command: str) -> list[bytes]:
        """The lines of an answer, with the faults that change them."""
        faults = self.board.faults
        payload = body if isinstance(body, bytes) else cbor2.dumps(body)
        sequence = header.sequence
        if faults.take(Kind.WRONG_SEQUENCE, command) is not None:
            sequence = (sequence + 100) % 256
        answer = Header(
            OP(header.op + 1), header.version, header.flags, len(payload), header.group_id, sequence,
            header.command_id,
        )  # fmt: skip
        lines = list(packet.encode(answer.BYTES + payload, LINE_LENGTH))
        if faults.take(Kind.BAD_CRC, command) is not None:
            damaged = bytearray(lines[0])
            damaged[8] = ord("A") if damaged[8] != ord("A") else ord("B")
            lines[0] = bytes(damaged)
        if faults.take(Kind.CUT_ANSWER, command) is not None:
            wire = b"".join(lines)
            lines = [wire[: len(wire) // 2]]
        return lines

    async def _send(self, wire: list[bytes], command: str) -> None:
        noise = self.board.faults.take(Kind.NOISE, command)
        boot_log = self.board.faults.take(Kind.BOOT_LOG, command)
        for line in wire:
            before = (BOOT_LOG if boot_log else b"") + (_NOISE if noise else b"")
            await self._line_time(len(before) + len(line))
            self._send_bytes(before + line)

    async def _line_time(self, count: int) -> None:
        """Waits as long as `count` bytes take on the line (8N1: ten bits a byte)."""
        self.wire_bytes += count
        if self._baudrate:
            now = self._loop.time()
            self._line_free_at = max(now, self._line_free_at) + 10 * count / self._baudrate
            await asyncio.sleep(self._line_free_at - now)
