"""Opens a serial port as a `SerialLine`. The event loop watches it; on Windows a thread reads it."""

from __future__ import annotations

import asyncio
import errno
import sys

import serial

from agent.adapters.drivers.serial_line import PORT_ERRORS, WRITE_TIMEOUT_S, OnBytes, OnGone, SerialLine
from agent.adapters.drivers.traced_line import TracedLine
from agent.adapters.log.trace import current_trace
from agent.errors import LineError

PORT_MISSING = "Plug it in, or mend the name: birthmark-agent ports lists those that are there."


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
    trace = current_trace()
    if trace is None:
        line = _line_class()(connection, on_bytes, on_gone)
    else:
        trace.opened(port, baudrate)
        line = TracedLine(_line_class()(connection, trace.heard_by(on_bytes), on_gone), trace)
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
        raise LineError("port_gone", f"{port} cannot be opened", remedy=PORT_MISSING) from error


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
