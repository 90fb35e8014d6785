"""A serial port read by a thread: for systems whose event loop cannot watch a port, such as Windows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import serial

from agent.adapters.drivers.serial_line import PORT_ERRORS, SerialLine
from agent.errors import LineError


class ThreadLine(SerialLine):
    """See `SerialLine`. The port's read timeout bounds how long `stop` takes to be noticed."""

    def start(self) -> None:
        """See `SerialLine`."""
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"read {self._connection.port}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopped.is_set():
            try:
                data = self._connection.read(1)  # waits; then all that is there at once
                data += self._connection.read(self._connection.in_waiting)
            except PORT_ERRORS as error:
                self._deliver(partial(self._on_gone, type(error).__name__))
                return
            if data:
                self._deliver(partial(self._on_bytes, data))

    def _deliver(self, call: Callable[[], None]) -> None:
        if not self._stopped.is_set():
            self._loop.call_soon_threadsafe(self._run, call)

    def _run(self, call: Callable[[], None]) -> None:
        if not self._stopped.is_set():
            call()

    async def write(self, data: bytes) -> None:
        """See `SerialLine`."""
        try:
            await asyncio.to_thread(self._connection.write, data)
        except serial.SerialTimeoutException as error:
            raise LineError("no_answer", "the port takes no bytes") from error
        except PORT_ERRORS as error:
            raise LineError("port_gone", "the port is gone") from error

    def stop(self) -> None:
        """See `SerialLine`."""
        self._stopped.set()

    def _close(self) -> None:
        self._thread.join()
        super()._close()
