"""A serial port as a stream of bytes on the event loop: nothing here blocks the other ports.

On POSIX the loop watches the port's file descriptor, on Windows a thread reads it. A port that vanishes
(unplugged, or a USB device that resets) is reported once, and every later write raises.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable

import serial

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
