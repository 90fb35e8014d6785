"""Roots of earlier trees, for a caller who would rather go on than wait.

Guarantees that the event loop reads no tile, that nobody waits longer than the deadline, and that a folder
which does not answer holds one thread, whoever asks: those that publish are others.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from signerd.core.merkle import Tree
from signerd.errors import Unavailable

DEADLINE_S = 2.0  # of one caller, until the thread came to him included


class EarlierRoots:
    """Of one tree. Lives on the event loop, and reads in one thread."""

    def __init__(self, tree: Tree, *, deadline_s: float = DEADLINE_S) -> None:
        self._tree = tree
        self._deadline_s = deadline_s
        self._thread = ThreadPoolExecutor(1, "earlier-roots")
        self._begun: float | None = None  # when the thread began what it reads, in monotonic seconds
        self._closed = False

    async def root(self, size: int) -> bytes:
        """Root of the first `size` leaves; the caller bounds it to the tree's size.

        Raises:
            Fault: a tile is wrong.
            Unavailable: one cannot be read, or not in time.
        """
        if self._closed:
            raise Unavailable("the store is closed")
        begun = self._begun
        if begun is not None and time.monotonic() - begun > self._deadline_s:
            raise self._late()  # at once: the thread is still at what another caller gave up
        read = asyncio.get_running_loop().run_in_executor(self._thread, self._read, size)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await read  # given up, it is not begun any more
        except TimeoutError as error:
            raise self._late() from error

    def close(self) -> None:
        """Begins nothing more."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, size: int) -> bytes:
        self._begun = time.monotonic()
        try:
            return self._tree.root(size)
        finally:
            self._begun = None

    def _late(self) -> Unavailable:
        return Unavailable(f"the tiles could not be read in {self._deadline_s:g} s: look at their disk")
