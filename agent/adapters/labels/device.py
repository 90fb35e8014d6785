"""A printer that is a device of this machine: `/dev/usb/lp0`, `LPT1`, `\\\\server\\printer`.

Opening and writing may block for as long as the paper is out, so a thread does it, and nobody waits for it
longer than the printer has. On Linux the thread gives up by itself; on Windows it may stay in the system's
call. No other label is begun before it has ended.

On Linux a character device can be asked as well. What Windows calls a printer, a share and a pipe cannot.
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

ASK_S = 3.0  # a printer that answers at all does so in some tens of milliseconds
_READ_BYTES = 4_096
_STALE_READS = 64  # what comes without end is no answer either way
_SHARE = r"\\"  # a printer that another Windows PC shares may look like a file


class DevicePort:
    """See `agent.adapters.labels.printer.PrinterPort`."""

    def __init__(self, path: str, *, print_s: float, ask_s: float = ASK_S) -> None:
        self._path = path
        self._print_s, self._ask_s = print_s, ask_s
        self._thread: asyncio.Future[OSError | None] | None = None

    async def send(self, data: bytes) -> None:
        """See `PrinterPort`."""
        if self._thread is not None:  # of a label that nobody waited for to its end
            await self._ended(self._thread)
        self._thread = _in_thread(partial(_write, self._path, data, time.monotonic() + self._print_s))
        await self._ended(self._thread, raises=True)

    async def ask(self, question: bytes, is_whole: Callable[[bytes], bool]) -> bytes:
        """See `PrinterPort`."""
        if self._thread is not None:
            await self._ended(self._thread)
        answer, until_s = bytearray(), time.monotonic() + self._ask_s
        self._thread = _in_thread(partial(_ask, self._path, question, is_whole, until_s, answer))
        await self._ended(self._thread, raises=True)
        return bytes(answer)

    def answers(self) -> bool:
        """See `PrinterPort`. One that is not there now may answer later."""
        if sys.platform == "win32" or self._path.startswith(_SHARE):
            return False
        try:
            return stat.S_ISCHR(os.stat(self._path).st_mode)  # noqa: PTH116 -- a name of devices, not of files
        except OSError:
            return True

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

    def _ask(*_asked: object) -> None:
        raise OSError(None, "it cannot be asked")

else:
    import select
    import tty

    def _ask(
        path: str,
        question: bytes,
        is_whole: Callable[[bytes], bool],
        deadline_s: float,
        answer: bytearray,
    ) -> None:
        """What comes until it is whole or the time is over goes into `answer`."""
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if os.isatty(descriptor):
                tty.setraw(descriptor)  # or ETX would be an interrupt, and lines would be waited for
            for _ in range(_STALE_READS):  # answers that came late are of other questions
                if not _read_some(descriptor, time.monotonic()):
                    break
            view = memoryview(question)
            while view:
                view = view[_write_some(descriptor, view, deadline_s) :]
            while not is_whole(bytes(answer)) and (more := _read_some(descriptor, deadline_s)):
                answer += more
        finally:
            os.close(descriptor)

    def _read_some(descriptor: int, deadline_s: float) -> bytes:
        """Nothing at the end, and when the time is over."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            try:
                return os.read(descriptor, _READ_BYTES)
            except BlockingIOError:  # it was ready and is not any more
                if time.monotonic() >= deadline_s:
                    break
        return b""

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
