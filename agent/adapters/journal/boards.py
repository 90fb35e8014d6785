"""Reads boards out of the journal for the page: a shift, the last boards, one board and all its runs.

Each read is bounded, in rows and in time, over a connection that cannot write: what a browser asks for holds
no board up. It blocks: call it in a thread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.adapters.journal.schema import open_for_reading
from agent.adapters.journal.versions import read_versions, writer_of
from agent.core.result_row import ResultRow
from agent.errors import JournalError

MAX_SHIFT = 20_000  # boards of a shift; of more, the last ones
MAX_FOUND = 100  # boards in a list
MAX_RUNS = 50  # of one board
MAX_KEY = 128  # characters of what is searched for
READ_S = 5.0  # for one question
_LOOK_STEPS = 10_000  # SQLite's own steps between two looks at the clock
_COLUMNS = (
    "run",
    "started_at",
    "ended_at",
    "port",
    "work_order",
    "chip_id",
    "serial_number",
    "certificate_sha256",
    "outcome",
    "step",
    "code",
    "detail",
    "remedy",
    "seconds",
)
_ROW = f"id, {', '.join(_COLUMNS[1:])}"
_SHIFT = f"SELECT {_ROW} FROM run WHERE ended_at >= ? ORDER BY id DESC LIMIT ?"  # noqa: S608  (our own texts)
_LAST = f"SELECT {_ROW} FROM run WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT ?"  # noqa: S608
_FIND = (
    f"SELECT {_ROW} FROM run WHERE ended_at IS NOT NULL AND"  # noqa: S608
    " (instr(lower(serial_number), ?1) OR instr(lower(chip_id), ?1)) ORDER BY id DESC LIMIT ?2"
)
_NAMED = (
    f"SELECT {_ROW} FROM run WHERE chip_id IN (SELECT chip_id FROM run WHERE chip_id <> ''"  # noqa: S608
    " AND (lower(chip_id) = ?1 OR lower(serial_number) = ?1)) ORDER BY id DESC LIMIT ?2"
)
_NUMBERED = (
    f"SELECT {_ROW} FROM run WHERE id = ?1 OR chip_id IN"  # noqa: S608
    " (SELECT chip_id FROM run WHERE id = ?1 AND chip_id <> '') ORDER BY id DESC LIMIT ?2"
)
_RECORDED = (
    "SELECT run, ledger_index, code, queued_at, answered_at FROM outbox WHERE run BETWEEN ? AND ? ORDER BY id"
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stamp of the board, and what signerd answered."""

    run: int
    ledger_index: int | None  # of the receipt; None: not answered, or refused
    code: str  # of the refusal
    queued_at: str
    answered_at: str | None


@dataclass(frozen=True, slots=True)
class BoardRuns:
    """One board: its runs, newest first. One that is under way has no end and no outcome yet."""

    runs: tuple[ResultRow, ...]
    stamps: tuple[Recorded, ...]
    agents: Mapping[int, str]  # by run, the version that wrote it; those of before say none


def shift_rows(path: Path, since: str) -> tuple[list[ResultRow], bool]:
    """Boards that ended from `since` on (UTC, ISO 8601), and whether those are all.

    Raises:
        ConfigError: there is no journal.
        JournalError: it is unusable, or took too long.
    """
    with _reading(path) as connection:
        rows = _rows(connection, _SHIFT, (since, MAX_SHIFT + 1))
    return rows[:MAX_SHIFT], len(rows) <= MAX_SHIFT


def find_boards(path: Path, text: str) -> list[ResultRow]:
    """The last runs whose serial number or chip id contains the text; all of them for an empty one.

    Raises as `shift_rows` does.
    """
    with _reading(path) as connection:
        if text:
            return _rows(connection, _FIND, (_key(text), MAX_FOUND))
        return _rows(connection, _LAST, (MAX_FOUND,))


def board_runs(path: Path, key: str) -> BoardRuns | None:
    """The board of this chip id or serial number, or else of the run of this number; None without one.

    Raises as `shift_rows` does.
    """
    with _reading(path) as connection:
        rows = _rows(connection, _NAMED, (_key(key), MAX_RUNS))
        if not rows and key.isdecimal() and key.isascii() and len(key) <= 18:
            rows = _rows(connection, _NUMBERED, (int(key), MAX_RUNS))
        if not rows:
            return None
        runs = {row.run for row in rows}
        answers = connection.execute(_RECORDED, (min(runs), max(runs)))
        stamps = tuple(Recorded(*answer) for answer in answers if answer[0] in runs)
        written = read_versions(connection)
        writers = {run: writer_of(run, written) for run in runs}
        agents = {run: writer.version for run, writer in writers.items() if writer is not None}
        return BoardRuns(tuple(rows), stamps, agents)


def _key(text: str) -> str:
    """SQLite folds ASCII alone, and so does this."""
    return (
        "".join(c.lower() if c.isascii() else c for c in text[:MAX_KEY]).encode("utf-8", "replace").decode()
    )


def _rows(connection: sqlite3.Connection, sql: str, arguments: tuple[object, ...]) -> list[ResultRow]:
    found = connection.execute(sql, arguments).fetchall()
    times: dict[int, dict[str, float]] = {row[0]: {} for row in found}
    if len(found) > MAX_FOUND:  # one pass over neighbours
        between = "SELECT run, step, seconds FROM step WHERE run BETWEEN ? AND ?"
        steps = connection.execute(between, (found[-1][0], found[0][0]))
    else:
        marks = ", ".join("?" * len(times))
        steps = connection.execute(
            f"SELECT run, step, seconds FROM step WHERE run IN ({marks})",  # noqa: S608  (marks alone)
            tuple(times),
        )
    for run, step, seconds in steps:
        if run in times:
            times[run][step] = seconds
    return [_row(values, times[values[0]]) for values in found]


def _row(values: tuple[Any, ...], times: Mapping[str, float]) -> ResultRow:
    """What is still empty, of a run that is under way, is an empty text."""
    columns: dict[str, Any] = {
        name: "" if value is None else value for name, value in zip(_COLUMNS, values, strict=True)
    }
    return ResultRow(**columns, times=times)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_for_reading(path)
    until = time.monotonic() + READ_S
    connection.set_progress_handler(lambda: time.monotonic() > until, _LOOK_STEPS)
    try:
        yield connection
    except sqlite3.Error as error:
        raise JournalError(f"cannot read {path}: {error}") from error
    finally:
        connection.close()
