"""Results for the MES: files of a day, each result in them once, whatever crashes.

    exporter = Exporter(state, folder)
    for row in exporter.export(whole=True): ...

A result is in the journal before it comes here, and here it is copied: `results.sqlite` in the state
directory says which rows were, and how long each file was then. What a file holds beyond that length was
appended and not noted, because the power failed in between: such rows are not written again, and a torn last
line is cut off. The folder may be emptied by whoever reads it. Several processes may share one
state directory; one lock, that of `results.sqlite`, orders them.

Rows that stood in the journal when results were first asked for are not copied (`birthmark-agent results` is
for them). A file belongs to the UTC day on which the board ended: a day that has 24 hours everywhere.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.durable_files import sync_directory
from agent.adapters.journal.schema import FILE_NAME as JOURNAL
from agent.adapters.journal.schema import open_for_reading
from agent.core.result_row import CSV_HEADER, ResultRow, csv_key, csv_line, json_key, json_line
from agent.errors import AgentError, JournalError, Verdict

STATE_NAME = "results.sqlite"
_BUSY_MS = 10_000
_BATCH = 500  # rows in one transaction
_RECENT_RUNS = 5_000  # looked at after each board; all of them at start and when a stamp is settled
_TABLES = """
CREATE TABLE IF NOT EXISTS exported (
    run INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS file (name TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_ROW = (
    "id, started_at, ended_at, port, work_order, chip_id, serial_number, certificate_sha256, outcome, step,"
    " code, detail, remedy, seconds"
)
_PENDING = (
    f"SELECT {_ROW} FROM journal.run AS run WHERE ended_at IS NOT NULL AND id > ? AND NOT EXISTS"  # noqa: S608  (our own texts)
    " (SELECT 1 FROM exported WHERE exported.run = run.id AND exported.started_at = run.started_at"
    " AND exported.outcome = run.outcome AND exported.code = run.code) ORDER BY ended_at, id LIMIT ?"
)


class ResultsError(AgentError):
    """Results cannot be written. Boards go on; what is missing is written as soon as it can be."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "results",
            detail,
            verdict=Verdict.AGAIN,
            remedy="See that the folder is there, may be written and has room, and nothing locks its files.",
        )


@dataclass(frozen=True, slots=True)
class _Form:
    suffix: str
    header: str
    line: Callable[[ResultRow], str]
    key: Callable[[bytes], tuple[int, str, str, str] | None]


_FORMS = (
    _Form(".jsonl", "", json_line, json_key),
    _Form(".csv", CSV_HEADER, csv_line, csv_key),
)


class Exporter:
    """Copies results out of the journal. Blocks for some milliseconds: call it in a thread, one at a time."""

    def __init__(self, state: Path, folder: Path | None) -> None:
        """`folder`: where files go; None: rows are handed out, and no file is written."""
        self._journal = state / JOURNAL
        self._path = state / STATE_NAME
        self._folder = folder

    def export(self, *, whole: bool) -> list[ResultRow]:
        """Writes and returns the rows that were not written before, oldest first.

        Args:
            whole: look at all runs that the journal has, and not at the last 5,000 alone.

        Raises:
            ConfigError: there is no journal.
            JournalError: it is unusable.
            ResultsError: a file or `results.sqlite` cannot be written.
        """
        open_for_reading(self._journal).close()  # says best what is wrong with it
        rows: list[ResultRow] = []
        try:
            with self._opened() as connection:
                full = True
                while full:
                    batch = self._export_batch(connection, whole=whole)
                    rows += batch
                    full = len(batch) == _BATCH
        except OSError as error:
            raise ResultsError(f"{error.filename or self._folder}: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise ResultsError(f"{self._path}: {error}") from error
        return rows

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.resolve().as_uri()}?mode=rwc"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("ATTACH ? AS journal", (f"{self._journal.resolve().as_uri()}?mode=ro",))
            with _transaction(connection):
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in filter(str.strip, _TABLES.split(";")):
                        connection.execute(statement)
                    # From now on: what was there before is nobody's news.
                    connection.execute(
                        "INSERT INTO exported SELECT id, started_at, outcome, code FROM journal.run"
                        " WHERE ended_at IS NOT NULL"
                    )
                    connection.execute("PRAGMA user_version = 1")
            yield connection

    def _export_batch(self, connection: sqlite3.Connection, *, whole: bool) -> list[ResultRow]:
        """One transaction. A crash before its commit leaves lines in files that the next one finds there."""
        with _transaction(connection):
            newest = connection.execute("SELECT max(id) FROM journal.run").fetchone()[0] or 0
            first = 0 if whole else newest - _RECENT_RUNS
            rows = list(read_rows(connection, _PENDING, (first, _BATCH), schema="journal"))
            if rows and self._folder is not None:
                self._append(connection, self._folder, rows)
            connection.executemany(
                "INSERT OR REPLACE INTO exported VALUES (?, ?, ?, ?)", [row.key for row in rows]
            )
            connection.execute("DELETE FROM exported WHERE run < (SELECT min(id) FROM journal.run)")
        return rows

    def _append(self, connection: sqlite3.Connection, folder: Path, rows: list[ResultRow]) -> None:
        days: dict[str, list[ResultRow]] = {}
        for row in rows:
            days.setdefault(row.ended_at[:10], []).append(row)
        for day, of_day in days.items():
            for form in _FORMS:
                path = folder / f"{day}{form.suffix}"
                noted = connection.execute("SELECT size FROM file WHERE name = ?", (path.name,)).fetchone()
                size = _append_once(path, form, of_day, 0 if noted is None else noted[0])
                connection.execute("INSERT OR REPLACE INTO file VALUES (?, ?)", (path.name, size))


def read_rows(
    connection: sqlite3.Connection, sql: str, arguments: tuple[object, ...], *, schema: str = "main"
) -> Iterator[ResultRow]:
    """The rows that a query for the columns of `_ROW` finds, with the time of each step."""
    names = [name.strip() for name in _ROW.replace("id,", "run,", 1).split(",")]
    for row in connection.execute(sql, arguments).fetchall():
        times = connection.execute(f"SELECT step, seconds FROM {schema}.step WHERE run = ?", (row[0],))  # noqa: S608  (our own)
        yield ResultRow(**dict(zip(names, row, strict=True)), times=dict(times.fetchall()))


def read_results(state: Path, since: str, until: str) -> Iterator[ResultRow]:
    """Results of boards that ended from `since` until before `until` (UTC, ISO 8601), oldest first.

    Raises as `read_report` does.
    """
    sql = f"SELECT {_ROW} FROM run WHERE ended_at >= ? AND ended_at < ? ORDER BY ended_at, id"  # noqa: S608  (our own)
    with _reading(state) as connection:
        yield from read_rows(connection, sql, (since, until))


def count_outcomes(state: Path, since: str) -> dict[str, int]:
    """How many boards ended with which outcome from `since` on. Raises as `read_report` does."""
    sql = "SELECT outcome, count(*) FROM run WHERE ended_at >= ? GROUP BY outcome"
    with _reading(state) as connection:
        return dict(connection.execute(sql, (since,)).fetchall())


@contextmanager
def _reading(state: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_for_reading(state / JOURNAL)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            raise JournalError(f"cannot read {state / JOURNAL}: {error}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _append_once(path: Path, form: _Form, rows: Iterable[ResultRow], noted: int) -> int:
    """Appends, durably, the rows that are not there beyond the first `noted` bytes. Returns the new size."""
    made = not path.exists()
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        file.seek(min(noted, size))
        tail = file.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        if len(whole) < len(tail):  # torn by a power cut
            file.truncate(size - len(tail) + len(whole))
        there = {form.key(line) for line in whole.splitlines()}
        lines = [form.line(row).encode("utf-8", errors="replace") for row in rows]
        file.seek(0, os.SEEK_END)
        if file.tell() == 0:
            file.write(form.header.encode())
        file.write(b"".join(line for line in lines if form.key(line) not in there))
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    if made:
        sync_directory(path.parent)  # the new name, too, is to outlive a power cut
    return size
