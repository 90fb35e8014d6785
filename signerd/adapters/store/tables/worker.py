"""A thread with one database connection that runs what async callers hand it, many at a time.

Guarantees that a unit of work runs to its end whether or not its caller still waits, and that what a
caller hands over after another caller got its answer sees what that answer was about. Nothing waits for
a batch to fill: a batch is what came while the one before was running.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Generic, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.tables.constraints import translated
from signerd.errors import Fault, Refused, Unavailable

MAX_BATCH = 256  # units in one transaction: bounds how long a commit holds the write lock

C = TypeVar("C")  # what a unit of work is given
T = TypeVar("T")
Unit = Callable[[C], Any]
Outcome = tuple[Any, BaseException | None]
Waiting = tuple[Unit[C], "asyncio.Future[Any]"]


class Worker(ABC, Generic[C]):
    """Start it with `start`, inside the event loop; end it with `close`."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[Waiting[C] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.failing: Fault | None = None  # why the last batch failed; None once one succeeds

    def start(self) -> None:
        """Starts the thread; outcomes arrive on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def do(self, unit: Callable[[C], T]) -> T:
        """Runs one unit of work and gives what it returned.

        Raises:
            Refused, Fault: as the unit raised them, or as its database error is translated.
        """
        if self._closed or self._loop is None:
            raise Unavailable("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((unit, future))
        return cast("T", await future)

    async def close(self) -> None:
        """Runs what is queued, then ends the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._engine.dispose()

    @abstractmethod
    def run_batch(self, connection: Connection, units: Sequence[Unit[C]]) -> list[Outcome]:
        """Runs the units in one transaction; one outcome each. Called in the thread."""

    def settled(self) -> None:
        """Called on the event loop after a batch, before its callers get their outcomes."""

    def _run(self) -> None:
        with ExitStack() as opened:
            connection: Connection | None = None
            while batch := self._take():
                try:
                    if connection is None:  # tried again with each batch until it succeeds
                        connection = opened.enter_context(self._engine.connect())
                    outcomes = self.run_batch(connection, [unit for unit, _ in batch])
                except SQLAlchemyError as error:
                    outcomes = self._failed(translated(error), len(batch))
                except Exception as error:  # noqa: BLE001 - a dead thread would leave every caller waiting
                    fault = Fault(f"a batch failed: {type(error).__name__}")
                    fault.__cause__ = error
                    outcomes = self._failed(fault, len(batch))
                self._post(batch, outcomes)

    def _failed(self, error: Refused | Fault, count: int) -> list[Outcome]:
        """The outcomes of a batch that failed as a whole."""
        if isinstance(error, Fault):
            self.failing = error
        return [(None, error)] * count

    def _take(self) -> list[Waiting[C]]:
        """All that waits, at least one and at most `MAX_BATCH`; nothing at the end."""
        first = self._queue.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:  # the end: run this batch first
                self._queue.put(None)
                break
            batch.append(item)
        return batch

    def _post(self, batch: list[Waiting[C]], outcomes: list[Outcome]) -> None:
        assert self._loop is not None  # noqa: S101 - start() sets it before the thread exists
        self._loop.call_soon_threadsafe(self._settle, batch, outcomes)

    def _settle(self, batch: list[Waiting[C]], outcomes: list[Outcome]) -> None:
        self.settled()
        for (_, future), (value, error) in zip(batch, outcomes, strict=True):
            if future.done():  # the caller went away; the work is done all the same
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


class Reads(Protocol):
    """What hands out snapshots: a thread, or the event loop itself."""

    failing: Fault | None  # why the last read failed; None once one succeeds

    def start(self) -> None:
        """To be called inside the event loop."""

    async def do(self, unit: Callable[[Connection], T]) -> T:
        """Runs one unit of work in a snapshot of what is committed. Raises as `Worker.do`."""

    async def close(self) -> None:
        """Lets go of the connection."""


class InPlaceReader:
    """Reads on the event loop: for short reads of a SQLite file, which take less than a thread's hand-over.

    A station's call reads two or three times, some tens of microseconds each; SQLAlchemy's own begin and
    commit would take as long again, so the driver's connection brackets the snapshot.
    """

    def __init__(self, engine: Engine) -> None:
        """`engine`: in mode "snapshot"."""
        self._engine = engine
        self._connection: Connection | None = None
        self.failing: Fault | None = None

    def start(self) -> None:
        """See `Reads`. Raises Unavailable."""
        try:
            self._connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise translated(error) from error

    async def do(self, unit: Callable[[Connection], T]) -> T:
        """See `Reads`."""
        connection = self._connection
        if connection is None:
            raise Unavailable("the store is closed")
        driver = connection.connection
        try:
            driver.execute("BEGIN").close()
            try:
                found = unit(connection)
            finally:
                connection.rollback()  # what a Core statement began for SQLAlchemy, if one ran
                driver.rollback()
        except connection.dialect.loaded_dbapi.Error as error:
            self.failing = Unavailable("the database does not answer")
            raise Unavailable("the database does not answer") from error
        except SQLAlchemyError as error:
            self.failing = Unavailable("the database does not answer")
            raise translated(error) from error
        self.failing = None
        return found

    async def close(self) -> None:
        """See `Reads`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._engine.dispose()


class Reader(Worker[Connection]):
    """Reads in a thread: each batch is one snapshot of what is committed."""

    def run_batch(self, connection: Connection, units: Sequence[Unit[Connection]]) -> list[Outcome]:
        """Runs the units one after the other; an error fails its own unit alone."""
        try:
            with connection.begin():
                outcomes = [_attempt(connection, unit) for unit in units]
        except SQLAlchemyError as error:
            return self._failed(translated(error), len(units))
        self.failing = next((error for _, error in outcomes if isinstance(error, Fault)), None)
        return outcomes


def _attempt(connection: Connection, unit: Unit[Connection]) -> Outcome:
    try:
        return unit(connection), None
    except SQLAlchemyError as error:
        return None, translated(error)
    except Exception as error:  # noqa: BLE001 - belongs to the caller, who waits in another thread
        return None, error
