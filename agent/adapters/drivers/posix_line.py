"""A serial port on POSIX: the event loop watches its file descriptor. POSIX only."""

from __future__ import annotations

import asyncio
import os

from agent.adapters.drivers.serial_line import WRITE_TIMEOUT_S, SerialLine
from agent.errors import LineError

_READ_SIZE = 16_384


class PosixLine(SerialLine):
    """See `SerialLine`. pyserial opens the descriptor non-blocking and sets the line up."""

    _empty_reads = 0

    def start(self) -> None:
        """See `SerialLine`."""
        self._loop = asyncio.get_running_loop()
        self._fd: int = self._connection.fileno()
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(os.strerror(error.errno or 0))
            return
        if data:
            self._empty_reads = 0
            self._on_bytes(data)
            return
        # A terminal in raw mode may be announced once without a byte; one that hung up always is.
        self._empty_reads += 1
        if self._empty_reads > 1:
            self._gone("hung up")

    def _gone(self, detail: str) -> None:
        self.stop()
        self._on_gone(detail)

    async def write(self, data: bytes) -> None:
        """See `SerialLine`."""
        rest = memoryview(data)
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                while rest:
                    try:
                        rest = rest[os.write(self._fd, rest) :]
                    except BlockingIOError:
                        await self._writable()
        except TimeoutError as error:
            raise LineError("no_answer", "the port takes no bytes") from error
        except OSError as error:
            raise LineError("port_gone", "the port is gone") from error

    async def _writable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_writer(self._fd)

    def stop(self) -> None:
        """See `SerialLine`."""
        self._loop.remove_reader(self._fd)
