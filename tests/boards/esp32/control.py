"""The buttons of a simulated chip: a FIFO that a shell writes a line to in a few milliseconds. POSIX.

    echo reset download > "$BIRTHMARK_PORT.control"

Lines: `reset run`, `reset download`, `power off`, `power on`, `unplug`, `plug`, `cut flash N`, `cut efuse N`
(the power fails after N more flash bytes or eFuse words), `cut none`. A line that is none of these is told
when the chip is stopped (`UnknownCommandError`): a test that presses what is not there must not pass.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

_READ_SIZE = 4096


class UnknownCommandError(Exception):
    """A line that is no button."""


class Control:
    """Reads lines from a FIFO and hands each, as words, to `pressed`."""

    def __init__(self, path: Path, pressed: Callable[[list[str]], None]) -> None:
        self.path = path
        self._pressed = pressed
        self._fd = -1
        self._rest = b""

    def open(self) -> None:
        """Makes the FIFO, in the place of one that a killed simulator has left."""
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path)
        # Open for writing too: there is never an end of file between two writers.
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self.poll)

    def close(self) -> None:
        """Takes the FIFO away."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self.path.unlink(missing_ok=True)

    def poll(self) -> None:
        """Does what has been pressed until now."""
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pressed(line.decode("ascii", "replace").split())
