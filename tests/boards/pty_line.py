"""The board's end of a serial line: a pty in front of an SMP server. POSIX.

The other end is a device path that any program can open as a serial port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty

from boards.simulated_board import SimulatedBoard
from boards.smp_server import BOOT_LOG, SmpServer


class PtyBoard:
    """A simulated board on a pty. `baudrate` 0: the line takes no time."""

    def __init__(self, board: SimulatedBoard, *, baudrate: int = 0, boot_s: float = 0.0) -> None:
        self.board = board
        self._server = SmpServer(board, self._put, self.reset, baudrate=baudrate)
        self._boot_s = boot_s
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # no echo, no translation; kept open so that a client may come and go
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._booted_at = 0.0

    @property
    def exchanges(self) -> int:
        """Commands received."""
        return self._server.exchanges

    @property
    def wire_bytes(self) -> int:
        """Bytes received and sent."""
        return self._server.wire_bytes

    def start(self) -> None:
        """Begins to answer, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._readable)
        self._serving = self._loop.create_task(self._server.serve())

    async def stop(self) -> None:
        """Unplugs the board: whoever has the port open sees it vanish."""
        self._loop.remove_reader(self._master)
        self._serving.cancel()
        await asyncio.wait([self._serving])
        os.close(self._slave)
        os.close(self._master)

    def exchange(self, board: SimulatedBoard) -> None:
        """Takes the board away and puts another in its place, on the same adapter."""
        self.board = self._server.board = board
        self.reset()

    def reset(self) -> None:
        """As pressing the reset button: all but storage is lost, and a boot log is written."""
        self.board.reset()
        self._server.forget()
        self._booted_at = self._loop.time() + self._boot_s
        self._put(BOOT_LOG)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 16_384)
        except BlockingIOError:
            return
        if self._loop.time() >= self._booted_at:
            self._server.received(data)

    def _put(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._master, data)  # what nobody reads is lost, as on a line
