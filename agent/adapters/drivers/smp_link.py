"""One question and its answer over a serial line that loses, delays, repeats and garbles.

An answer is taken only if group, command and sequence number are those of the question that waits, so an
answer that comes late, twice or to another question is dropped, and no reconnecting is needed after a
timeout: opening a port again moves DTR and RTS, which resets many boards. A port that vanished is opened
again by the next question.

Upstream's `SMPClient` is not used for this: it refuses every later answer after a late one, polls the port
each 5 ms, and writes whole requests and answers, settings included, to the log when one fails.
"""

from __future__ import annotations

import asyncio

from smp import packet

from agent.adapters.drivers.open_line import open_line
from agent.adapters.drivers.serial_line import OnBytes, SerialLine
from agent.adapters.drivers.smp_framing import LINE_LENGTH, FrameReader
from agent.adapters.drivers.smp_messages import answers
from agent.errors import LineError

_BITS_A_BYTE = 10  # 8N1
_BASE64_GROWTH = 1.4  # with delimiters and newlines


class SmpLink:
    """A line to one board. One question at a time."""

    def __init__(self, port: str, baudrate: int, on_bytes: OnBytes | None = None) -> None:
        """`on_bytes` sees all that comes, for who watches the console; None: nobody."""
        self._on_bytes = on_bytes
        self._port = port
        self._baudrate = baudrate
        self._line: SerialLine | None = None
        self._vanished = False
        self._mid_line = True  # the board may have heard half a line: noise at plugging in, a question cut
        self._frames = FrameReader()
        self._question = b""
        self._answer: asyncio.Future[bytes] | None = None

    async def open(self) -> None:
        """Opens the port. Raises `LineError`."""
        self._frames.reset()
        self._vanished = False
        self._mid_line = True
        self._line = await open_line(self._port, self._baudrate, self._received, self._gone)

    async def close(self) -> None:
        """Closes the port."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def exchange(
        self, question: bytes, timeout_s: float, answer_bytes: int, repeat_s: float | None = None
    ) -> bytes:
        """Sends an SMP message and returns the answer to it.

        Args:
            question: the message, header included.
            timeout_s: how long the board may think; what the bytes take on the line is added.
            answer_bytes: the longest answer that is expected.
            repeat_s: sends the question again so often until it is answered, for a board that may not listen
                yet; None: once. Only for questions that a board may answer twice.

        Raises:
            LineError: no answer in time, or the port is gone.
        """
        if self._vanished:
            await self.close()
        if self._line is None:
            await self.open()
        self._frames.reset()  # half a message from before belongs to no question of ours
        self._question = question
        self._answer = asyncio.get_running_loop().create_future()
        wire = b"\n" * self._mid_line + b"".join(packet.encode(question, LINE_LENGTH + 1))
        self._mid_line = True
        line_time = _BITS_A_BYTE * (len(wire) + _BASE64_GROWTH * answer_bytes) / self._baudrate
        try:
            async with asyncio.timeout(timeout_s + line_time):
                await self._write(wire)
                answer = await self._answered(wire, repeat_s)
                self._mid_line = False
                return answer
        except TimeoutError as error:
            raise LineError(
                "no_answer", f"no answer on {self._port}", remedy="See that a board is in place and powered."
            ) from error
        except LineError as error:
            self._vanished |= error.code == "port_gone"
            raise
        finally:
            self._answer.cancel()
            self._answer = None

    async def _answered(self, wire: bytes, repeat_s: float | None) -> bytes:
        if self._answer is None:
            raise LineError("port_gone", f"{self._port} is closed")
        while repeat_s is not None:
            done, _ = await asyncio.wait({self._answer}, timeout=repeat_s)
            if done:
                break
            await self._write(b"\n" + wire)
        return await self._answer

    async def _write(self, wire: bytes) -> None:
        if self._line is None:
            raise LineError("port_gone", f"{self._port} is closed")
        await self._line.write(wire)

    def _received(self, data: bytes) -> None:
        if self._on_bytes is not None:
            self._on_bytes(data)
        for message in self._frames.feed(data):
            if self._answer is not None and not self._answer.done() and answers(message, self._question):
                self._answer.set_result(message)

    def _gone(self, detail: str) -> None:
        self._vanished = True
        if self._answer is not None and not self._answer.done():
            error = LineError("port_gone", f"{self._port} vanished: {detail}", remedy="Plug it in again.")
            self._answer.set_exception(error)
