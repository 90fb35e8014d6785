"""A printer that is a device of this machine: `/dev/usb/lp0`, `LPT1`, `\\\\server\\printer`.

Opening and writing may block for as long as the paper is out, so a thread does it, and nobody waits for it
longer than the printer has. On Linux the thread gives up by itself; on Windows it may stay in the system's
call. No other label is begun before it has ended.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

_SHARE = r"\\"  # a printer that another Windows PC shares may look like a file


class DevicePort:
    """See `agent.adapters.labels.printer.PrinterPort`."""

    def __init__(self, path: str, *, print_s: float) -> None:
        self._path = path
        self._print_s = print_s
        self._thread: asyncio.Future[OSError | None] | None = None

    async def send(self, data: bytes) -> None:
        """See `PrinterPort`."""
        if self._thread is not None:  # of a label that nobody waited for to its end
            await self._ended(self._thread)
        self._thread = _in_thread(partial(_write, self._path, data, time.monotonic() + self._print_s))
        await self._ended(self._thread, raises=True)

    async def reach(self) -> None:
        """See `PrinterPort`."""
        self._thread = _in_thread(partial(_write, self._path, b"", time.monotonic() + self._print_s))
        await self._ended(self._thread, raises=True)

    async def _ended(self, thread: asyncio.Future[OSError | None], *, raises: bool = False) -> None:
        # Longer than the thread gives itself, so that its own word comes first. `wait` leaves it alone when
        # this is cancelled.
        await asyncio.wait({thread}, timeout=self._print_s + 1.0)
        if not thread.done():
            raise TimeoutError
        error = thread.result()
        if raises and error is not None:
            raise error


def _in_thread(call: Callable[[], None]) -> asyncio.Future[OSError | None]:
    """Runs a call in a thread. Unlike an executor's, the interpreter does not wait for it at its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[OSError | None] = loop.create_future()

    def work() -> None:
        failure = None
        try:
            call()
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop has closed: nobody waits for the answer any more
            loop.call_soon_threadsafe(done.set_result, failure)

    threading.Thread(target=work, name="label printer", daemon=True).start()
    return done


def _write(path: str, data: bytes, deadline_s: float) -> None:
    # Without O_CREAT: a wrong name must not leave the label in a new file.
    flags = (
        os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    )
    descriptor = os.open(path, flags)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and not path.startswith(_SHARE):
            raise OSError(None, "it is a file and no printer")
        view = memoryview(data)
        while view:
            view = view[_write_some(descriptor, view, deadline_s) :]
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _write_some(descriptor: int, view: memoryview, _deadline_s: float) -> int:
        return os.write(descriptor, view)

else:
    import select

    def _write_some(descriptor: int, view: memoryview, deadline_s: float) -> int:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0 or not poll.poll(remaining_s * 1000):
            raise TimeoutError
        try:
            return os.write(descriptor, view)
        except BlockingIOError:  # it was ready and is not any more
            return 0
