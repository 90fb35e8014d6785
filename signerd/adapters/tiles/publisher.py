"""Keeps the tiles up with the log while signerd runs.

Nobody waits for it. A receipt needs no tile, and tiles can be written again from the database, so no board
pays for their syncs. The newest checkpoint alone is written, at most one each `EVERY_S`, with the partial
tiles of those between: a reader with the checkpoint of a receipt finds the tiles of its tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import structlog

from signerd.core.note import Checkpoint
from signerd.errors import Fault, Unavailable

EVERY_S = 1.0  # between checkpoints in the folder, while there are newer ones
BUCKET_EVERY_S = 5.0  # in a bucket, where each request costs
_RETRY_S = 5.0  # until the next attempt where it could not be written
_LAST_RETRY_S = 60.0  # the longest one, at a bucket
_CLOSE_S = 5.0  # that a stop waits for a bucket, and then for the thread whose request was cut
_MOST_SIZES = 4_096  # that are remembered between two writes; with more of them, every size counts as signed

_log = structlog.get_logger(__name__)


class Publishes(Protocol):
    """What is written to: `Publication`, or one that can be slow."""

    @property
    def size(self) -> int:
        """Of the tree all of whose tiles are there."""

    def publish(self, checkpoint: Checkpoint, note: bytes, signed: Iterable[int] | None) -> None:
        """See `Publication.publish`."""


class MayBeSlow(Publishes, Protocol):
    """A server somewhere."""

    def cut(self) -> None:
        """Ends what is under way, for good. Any thread may call."""

    def close(self) -> None:
        """Lets go of what is open."""


class TilePublisher:
    """Lives on the event loop, and writes in a thread of its own; `start` it there."""

    def __init__(self, publication: Publishes, *, every_s: float = EVERY_S, place: str = "folder") -> None:
        self._publication = publication
        self._every_s = every_s
        self._place = place  # for the log
        self._retry_s = self._last_retry_s = _RETRY_S
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tiles")
        self._newest: tuple[Checkpoint, bytes] | None = None
        self._signed: list[int] | None = []  # sizes of checkpoints that are to be written; None: too many
        self._wanted = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.fault: Fault | None = None  # why the newest tiles are not there

    @property
    def size(self) -> int:
        """Of the tree whose tiles are there."""
        return self._publication.size

    def start(self) -> None:
        """Begins to write what is published."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="tile-publisher")

    def published(self, checkpoint: Checkpoint, note: bytes) -> None:
        """A checkpoint stands in the second place: readers of the tiles are to see it. The last one may come
        again, with more cosignatures."""
        self._newest = checkpoint, note
        if self._signed is not None:
            self._signed.append(checkpoint.size)
            if len(self._signed) > _MOST_SIZES:
                self._signed = None
        self._wanted.set()

    async def close(self) -> None:
        """Writes the newest checkpoint, if that can be done, and stops. Once more does nothing."""
        self._closing.set()
        self._wanted.set()
        if self._task is not None:  # not cancelled: a thread would go on writing
            await self._end(self._task)
            self._task = None
        self._thread.shutdown(wait=False)

    async def _end(self, task: asyncio.Task[None]) -> None:
        await task

    async def _run(self) -> None:
        while not self._closing.is_set() or self._newest is not None:
            await self._wanted.wait()
            self._wanted.clear()
            written = await self._write()
            if not written and not self._closing.is_set():
                self._wanted.set()  # again, after a while
            elif not written:
                return
            await self._pause(self._every_s if written else self._retry_s)
            self._retry_s = _RETRY_S if written else min(2 * self._retry_s, self._last_retry_s)

    async def _write(self) -> bool:
        if self._newest is None:
            return True
        newest, self._newest = self._newest, None
        signed, self._signed = self._signed, []
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._publication.publish, *newest, signed)
        except Fault as error:
            self._failed(error)
        except OSError as error:
            self._failed(Unavailable(f"cannot write {error.filename}: {error.strerror}"))
        except Exception as error:  # noqa: BLE001 - a dead task would let the tiles fall behind unseen
            fault = Fault(f"writing tiles failed: {type(error).__name__}")
            fault.__cause__ = error
            self._failed(fault)
        else:
            if self.fault is not None:
                _log.info("tiles_written_again", place=self._place, size=self.size)
            self.fault = None
            return True
        self._newest = self._newest or newest
        self._signed = None if signed is None or self._signed is None else signed + self._signed
        return False

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    def _failed(self, error: Fault) -> None:
        if self.fault is None or self.fault.detail != error.detail:
            _log.error(
                "tiles_not_written",
                place=self._place,
                detail=error.detail,
                size=self.size,
                exc_info=error.__cause__,
            )
        self.fault = error


class BucketPublisher(TilePublisher):
    """The same for a bucket, which may be slow or down: it is asked less often, and a stop does not wait."""

    def __init__(self, publication: MayBeSlow, *, every_s: float = BUCKET_EVERY_S) -> None:
        super().__init__(publication, every_s=every_s, place="bucket")
        self._bucket = publication
        self._last_retry_s = _LAST_RETRY_S

    async def _end(self, task: asyncio.Task[None]) -> None:
        await asyncio.wait((task,), timeout=_CLOSE_S)
        if not task.done():  # the next start goes on from what is there
            self._bucket.cut()
            await asyncio.wait((task,), timeout=_CLOSE_S)
        if not task.done():  # it waits for a name, which nothing cuts; it then finds the line cut
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        self._bucket.close()
