"""The chip's UART as a device path: a pty behind a symbolic link, and the time that bytes take. Linux.

The rate is the one that the host has set (termios); bytes that come at another rate than the chip's are the
caller's to drop. Waiting is done by the event loop: a slow line costs no CPU.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import select
import termios
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path

from boards.esp32.busy import Busy

_TCGETS2 = 0x802C542A  # Linux, asm-generic: termios2 has the rates as numbers
_TERMIOS2_WORDS = 11
_OSPEED_WORD = 10
_BITS_A_BYTE = 10  # 8N1
_READ_SIZE = 65_536
_MAX_PENDING = 1 << 20  # bytes that the host has not fetched: what is beyond is lost
_TOLERANCE = 0.03  # of the rate: beyond it 8N1 loses its stop bit


class SerialPort:
    """One end of a line that can be plugged in and pulled out.

    `came(due, rate, data)` is called when the host has written; `due` is the loop's time at which the last
    byte arrives, `rate` the host's. `baud` is the chip's: what it sends at another than the host's is lost.
    """

    def __init__(self, link: Path, came: Callable[[float, int, bytes], None], *, time_scale: float) -> None:
        self.link = link
        self.baud = 115_200
        self.busy = Busy()  # the line, and whoever adds to it
        self._came = came
        self._scale = time_scale
        self._master = -1
        self._epoll: select.epoll | None = None
        self._free_in = 0.0
        self._free_out = 0.0
        self._pending = bytearray()
        self._writing = False
        self._out: deque[bytes] = deque()  # what is on the line, and when it has arrived
        self._timers: deque[asyncio.TimerHandle] = deque()

    @property
    def plugged(self) -> bool:
        """Whether the device path exists."""
        return self._master >= 0

    def plug(self) -> None:
        """Makes the device and its link; nothing happens if they are there."""
        if self.plugged:
            return
        self._loop = asyncio.get_running_loop()
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        temporary = self.link.with_name(self.link.name + ".new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.ttyname(slave))
        temporary.replace(self.link)
        os.close(slave)  # the host alone holds it: so is it seen whether anybody listens
        # Edge-triggered, in an epoll of its own: a master whose slave nobody has open is always readable.
        self._epoll = select.epoll()
        self._epoll.register(self._master, select.EPOLLIN | select.EPOLLET)
        self._loop.add_reader(self._epoll.fileno(), self._readable)

    def unplug(self) -> None:
        """The link vanishes, and the device under whoever has it open."""
        if not self.plugged or self._epoll is None:
            return
        self.drop_pending()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self.link.unlink(missing_ok=True)
        os.close(self._master)
        self._master = -1

    def host_baud(self) -> int:
        """The rate that the host has set."""
        settings = array.array("I", bytes(4 * _TERMIOS2_WORDS))
        fcntl.ioctl(self._master, _TCGETS2, settings)
        return settings[_OSPEED_WORD]

    def understands(self, rate: int) -> bool:
        """Whether the chip's receiver finds bytes in what comes at `rate`."""
        return abs(rate - self.baud) <= _TOLERANCE * self.baud

    def send(self, data: bytes) -> None:
        """Writes after the time that `data` takes on the line; at a wrong rate it is lost."""
        if not self.plugged or not self.understands(rate := self.host_baud()):
            return
        if not self._scale:
            self._write(data)
            return
        begin = max(self._loop.time(), self._free_out)
        self._free_out = begin + self._seconds(len(data), rate)
        self.busy.add(begin, self._free_out)
        self._out.append(data)
        self._timers.append(self._loop.call_at(self._free_out, self._write_next))

    def drop_pending(self) -> None:
        """Takes back what has not left the chip yet."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._out.clear()
        self._pending.clear()
        self._free_out = self._free_in = 0.0
        if self._writing:
            self._loop.remove_writer(self._master)
            self._writing = False

    def _seconds(self, count: int, rate: int) -> float:
        return _BITS_A_BYTE * count / rate * self._scale if rate else 0.0

    def _readable(self) -> None:
        assert self._epoll is not None
        self._epoll.poll(0)
        while self.plugged:
            try:
                data = os.read(self._master, _READ_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self._host_left()
                return
            rate = self.host_baud()
            begin = max(self._loop.time(), self._free_in)
            self._free_in = begin + self._seconds(len(data), rate)
            self.busy.add(begin, self._free_in)
            self._came(self._free_in, rate, data)

    def _host_left(self) -> None:
        """The host has closed the port: what it has not fetched is not for the next one."""
        if not self._listened():
            self._pending.clear()
            termios.tcflush(self._master, termios.TCOFLUSH)

    def _write_next(self) -> None:
        self._timers.popleft()
        self._write(self._out.popleft())

    def _write(self, data: bytes) -> None:
        if not self.plugged or not self._listened():
            self._pending.clear()
            return
        if len(self._pending) + len(data) > _MAX_PENDING:
            return
        self._pending += data
        self._flush()

    def _flush(self) -> None:
        try:
            written = os.write(self._master, self._pending)
            del self._pending[:written]
        except BlockingIOError:
            pass
        if bool(self._pending) is not self._writing:
            self._writing = bool(self._pending)
            if self._writing:
                self._loop.add_writer(self._master, self._flush)
            else:
                self._loop.remove_writer(self._master)

    def _listened(self) -> bool:
        """Whether a host has the device open."""
        poll = select.poll()
        poll.register(self._master, select.POLLOUT)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))
