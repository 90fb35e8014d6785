"""The station's journal: runs, times, results and the outbox, durable over a power cut.

One thread writes; what is waiting when it begins shares one transaction and one fsync. What a crash
means is written beside each write. Nothing here is needed to go on with a board but the outbox.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from agent.adapters.journal.owner import claim
from agent.adapters.journal.schema import open_for_writing
from agent.adapters.journal.versions import note_version
from agent.core.result import Result
from agent.errors import JournalError
from agent.ports import BoardStamp, QueuedStamp, Receipt
from agent.program import program_version

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

KEPT_RUNS = 200_000  # about 200 MB; older runs go, except those whose stamp waits or was refused
_PRUNE_EVERY = 1_000  # runs
_BATCH = 256  # writes that share a commit


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    done: Callable[[Any, Exception | None], None] | None  # None: nobody waits


class SqliteJournal:
    """See `agent.ports.Journal`. Use it as an asynchronous context manager."""

    def __init__(
        self, path: Path, *, station: str = "", kept_runs: int = KEPT_RUNS, version: str | None = None
    ) -> None:
        """`station`: the URI of the one whose boards these are, and nobody's where it has no name yet.
        `version`: of the agent that writes; None: this one's."""
        self._path = path
        self._station = station
        self._kept_runs = kept_runs
        self._version = program_version() if version is None else version
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        """Opens it. Raises ConfigError where there is no journal, JournalError where it is unusable."""
        open_for_writing(self._path).close()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def begin(self, port: str, work_order: str, chip_id: str) -> int:
        """See `Journal`. A crash before the commit: the board was not touched yet. The first board makes the
        journal its station's. Raises JournalUnusable where it is another's."""

        def work(connection: sqlite3.Connection) -> int:
            now = _now()
            if chip_id:  # else the port may be another program's, and its board under way
                _end_cut_off(connection, port, chip_id, now)
            run = connection.execute(
                "INSERT INTO run (port, work_order, chip_id, started_at) VALUES (?, ?, ?, ?)",
                (port, work_order, chip_id, now),
            ).lastrowid
            if run is None:
                raise sqlite3.IntegrityError("the new run has no number")
            if self._station:
                claim(connection, self._path, self._station, now)
            note_version(connection, run, self._version, now)
            if run % _PRUNE_EVERY == 0:
                _prune(connection, run - self._kept_runs)
            return run

        return await self._do(work)

    def step_done(self, run: int, step: str, seconds: float) -> None:
        """See `Journal`. A crash before the commit loses a time."""
        row = (run, step, seconds)
        sql = "INSERT OR REPLACE INTO step (run, step, seconds) VALUES (?, ?, ?)"
        self._jobs.put(_Job(lambda connection: connection.execute(sql, row), None))

    async def note_label(self, run: int, certificate_sha256: bytes) -> None:
        """See `Journal`. A crash before the commit: the label is handed over once more."""
        row = (certificate_sha256, run, _now())
        sql = (
            "INSERT INTO label (certificate_sha256, run, handed_over_at) VALUES (?, ?, ?)"
            " ON CONFLICT DO NOTHING"
        )
        await self._do(lambda connection: connection.execute(sql, row))

    async def has_label(self, certificate_sha256: bytes) -> bool:
        """See `Journal`."""
        sql = "SELECT 1 FROM label WHERE certificate_sha256 = ?"
        row = await self._do(lambda connection: connection.execute(sql, (certificate_sha256,)).fetchone())
        return row is not None

    async def last_on(self, port: str) -> tuple[str, str] | None:
        """See `Journal`."""
        sql = (
            "SELECT chip_id, outcome FROM run WHERE port = ? AND chip_id <> '' AND outcome IS NOT NULL"
            " ORDER BY id DESC LIMIT 1"
        )
        row = await self._do(lambda connection: connection.execute(sql, (port,)).fetchone())
        return None if row is None else (str(row[0]), str(row[1]))

    async def finish(self, run: int, result: Result) -> None:
        """See `Journal`. A crash before the commit: the run shows as cut off, the board is done all the same;
        presented again, it is found to hold all it was given, and passes.
        """
        row = (
            _now(),
            result.outcome,
            result.serial_number,
            result.certificate_sha256,
            result.step,
            result.code,
            result.detail,
            result.remedy,
            result.seconds,
            run,
        )
        sql = (
            "UPDATE run SET ended_at = ?, outcome = ?, serial_number = ?, certificate_sha256 = ?, step = ?,"
            " code = ?, detail = ?, remedy = ?, seconds = ? WHERE id = ?"
        )
        await self._do(lambda connection: connection.execute(sql, row))

    async def queue_stamp(self, run: int, queued: QueuedStamp) -> None:
        """See `Journal`. A crash before the commit: nobody was told of the stamp; the board makes another in
        its next session. After it: the outbox sends this one, before the board may make another.
        """
        row = (
            run,
            queued.work_order,
            queued.chip_id,
            queued.serial_number,
            queued.certificate_sha256,
            queued.session,
            queued.stamp.stamp,
            queued.stamp.signature,
            _now(),
        )
        sql = (
            "INSERT INTO outbox (run, work_order, chip_id, serial_number, certificate_sha256, session, stamp,"
            " signature, queued_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        await self._do(lambda connection: connection.execute(sql, row))

    async def queued_stamps(self) -> tuple[QueuedStamp, ...]:
        """See `Journal`."""
        sql = (
            "SELECT work_order, chip_id, serial_number, certificate_sha256, session, stamp, signature"
            " FROM outbox WHERE answered_at IS NULL ORDER BY id"
        )
        rows = await self._do(lambda connection: connection.execute(sql).fetchall())
        return tuple(
            QueuedStamp(
                work_order=row[0],
                chip_id=row[1],
                serial_number=row[2],
                certificate_sha256=row[3],
                session=row[4],
                stamp=BoardStamp(row[5], row[6]),
            )
            for row in rows
        )

    async def stamp_recorded(self, queued: QueuedStamp, receipt: Receipt) -> None:
        """See `Journal`. A crash before the commit: the stamp is sent again, and answered as before."""
        await self._answer(
            queued,
            "answered_at = ?, ledger_index = ?, entry = ?, receipt = ?",
            (_now(), receipt.index, receipt.entry, receipt.proof),
            "outcome = 'PASS', code = '', detail = '', remedy = ''",
            (),
        )

    async def stamp_refused(self, queued: QueuedStamp, code: str, remedy: str) -> None:
        """See `Journal`. A crash before the commit: the stamp is sent again, and refused again."""
        await self._answer(
            queued,
            "answered_at = ?, code = ?",
            (_now(), code),
            "outcome = 'FAIL', code = ?, detail = 'signerd refused the stamp', remedy = ?",
            (code, remedy),
        )

    async def _answer(
        self, queued: QueuedStamp, answer: str, values: tuple[Any, ...], result: str, results: tuple[Any, ...]
    ) -> None:
        key = (queued.certificate_sha256, queued.stamp.stamp)

        def work(connection: sqlite3.Connection) -> None:
            where = "certificate_sha256 = ? AND stamp = ?"
            sql = f"UPDATE outbox SET {answer} WHERE {where} AND answered_at IS NULL"  # noqa: S608  (our own texts)
            connection.execute(sql, (*values, *key))
            # Only a run that has ended: one under way writes its own end. One that failed at `record` failed
            # because signerd could not answer: now it has.
            sql = (
                f"UPDATE run SET {result} WHERE (outcome = 'PARKED' OR outcome = 'FAIL' AND step = 'record')"  # noqa: S608  (our own texts)
                f" AND id = (SELECT run FROM outbox WHERE {where})"
            )
            connection.execute(sql, (*results, *key))

        await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if not self._thread.is_alive():
            raise JournalError(f"the journal is closed: {self._failure or self._path}")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: Exception | None) -> None:
            if future.done():  # its caller was cancelled
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]

        def done(value: Any, error: Exception | None) -> None:
            loop.call_soon_threadsafe(settle, value, error)

        self._jobs.put(_Job(work, done))
        return await future

    def _write(self) -> None:
        """The writing thread: batches until `None` comes."""
        connection: sqlite3.Connection | None = None
        ending = False
        while not ending:
            batch, ending = self._batch()
            try:
                if connection is None:
                    connection = open_for_writing(self._path)
                values = _commit(connection, batch)
            except JournalError as error:
                self._failure = error
                _settle_all(batch, [None] * len(batch), error)
            except Exception as error:  # noqa: BLE001  (a value that SQLite cannot hold, too: nobody waits for ever)
                self._failure = error
                _settle_all(batch, [None] * len(batch), JournalError(f"cannot write {self._path}: {error}"))
            else:
                _settle_all(batch, values, None)
        if connection is not None:
            connection.close()

    def _batch(self) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == _BATCH or self._jobs.empty():
                return batch, False
            job = self._jobs.get()
        return batch, True


def _commit(connection: sqlite3.Connection, batch: list[_Job]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        values = [job.work(connection) for job in batch]
        connection.execute("COMMIT")
    except Exception:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return values


def _settle_all(batch: list[_Job], values: list[Any], error: Exception | None) -> None:
    for job, value in zip(batch, values, strict=True):
        if job.done is not None:
            job.done(value, error)


def _end_cut_off(connection: sqlite3.Connection, port: str, chip_id: str, now: str) -> None:
    """A port is open once: a run that is still under way on it was cut off. So was one of this chip.

    Where the outbox has had an answer since, that is how the run ended.
    """
    connection.execute(
        "UPDATE run SET ended_at = ?, step = 'record', serial_number = outbox.serial_number,"
        " certificate_sha256 = lower(hex(outbox.certificate_sha256)), code = outbox.code,"
        " outcome = CASE outbox.code WHEN '' THEN 'PASS' ELSE 'FAIL' END FROM outbox"
        " WHERE outbox.run = run.id AND outbox.answered_at IS NOT NULL AND run.ended_at IS NULL"
        " AND (run.port = ? OR run.chip_id = ?)",
        (now, port, chip_id),
    )
    connection.execute(
        "UPDATE run SET ended_at = ?, outcome = 'PARKED', code = 'interrupted'"
        " WHERE ended_at IS NULL AND (port = ? OR chip_id = ?)",
        (now, port, chip_id),
    )


def _prune(connection: sqlite3.Connection, last: int) -> None:
    connection.execute(
        "DELETE FROM run WHERE id <= ?"
        " AND id NOT IN (SELECT run FROM outbox WHERE answered_at IS NULL OR code <> '')",
        (last,),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
