"""A serial port as a stream of bytes on the event loop: nothing here blocks the other ports.

On POSIX the loop watches the port's file descriptor, on Windows a thread reads it. A port that vanishes
(unplugged, or a USB device that resets) is reported once, and every later write raises.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable

import serial

from agent.errors import LineError

if sys.platform == "win32":
    PORT_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError)
else:
    import termios

    PORT_ERRORS = (OSError, ValueError, termios.error)
"""What pyserial raises of a port: SerialException is an OSError, and on POSIX `termios.error` is not."""

WRITE_TIMEOUT_S = 10.0

OnBytes = Callable[[bytes], None]
OnGone = Callable[[str], None]


class SerialLine(ABC):
    """An open port. `on_bytes` and `on_gone` are called on the event loop."""

    def __init__(self, connection: serial.Serial, on_bytes: OnBytes, on_gone: OnGone) -> None:
        self._connection = connection
        self._on_bytes = on_bytes
        self._on_gone = on_gone

    @abstractmethod
    def start(self) -> None:
        """Begins to deliver bytes."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Hands all bytes to the system. Raises `LineError` if the port is gone or takes nothing."""

    @abstractmethod
    def stop(self) -> None:
        """Delivers nothing from now on."""

    async def close(self) -> None:
        """Stops, and closes the port. What was not sent yet is dropped."""
        self.stop()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        try:
            self._connection.reset_output_buffer()  # or the system waits for a line that nobody reads
        except PORT_ERRORS:
            pass  # the port is gone: there is nothing left to drop
        finally:
            self._connection.close()


async def open_line(port: str, baudrate: int, on_bytes: OnBytes, on_gone: OnGone) -> SerialLine:
    """Opens a port for us alone, 8N1.

    Raises:
        LineError: `port_gone` if there is no such port, `port_busy` if another program has it.
    """
    opening = asyncio.create_task(asyncio.to_thread(_open, port, baudrate))
    try:
        connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unused)
        raise
    line = _line_class()(connection, on_bytes, on_gone)
    line.start()
    return line


def _open(port: str, baudrate: int) -> serial.Serial:
    exclusive = None if sys.platform == "win32" else True  # Windows never shares a port
    try:
        return serial.Serial(port, baudrate, timeout=0.1, write_timeout=WRITE_TIMEOUT_S, exclusive=exclusive)
    except PORT_ERRORS as error:
        busy = getattr(error, "errno", None) in {errno.EBUSY, errno.EAGAIN, errno.EACCES, errno.EPERM}
        if busy or isinstance(error.__cause__, PermissionError) or "PermissionError" in str(error):
            remedy = "Close the other program that has the port, or give this user access to serial ports."
            raise LineError("port_busy", f"{port} cannot be opened for us alone", remedy=remedy) from error
        raise LineError("port_gone", f"{port} cannot be opened", remedy="Plug the adapter in.") from error


def _close_unused(opening: asyncio.Task[serial.Serial]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _line_class() -> type[SerialLine]:
    # Imported here, for each module loads on its own platform alone.
    if sys.platform == "win32":
        from agent.adapters.drivers.thread_line import ThreadLine  # noqa: PLC0415

        return ThreadLine
    from agent.adapters.drivers.posix_line import PosixLine  # noqa: PLC0415

    return PosixLine
