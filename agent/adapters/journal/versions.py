"""Which agent wrote which runs: a row where another version begins to write.

A run is of the last row that begins at it or before. Runs of before there were such rows are of no known
version, and so are all runs of a journal that no newer agent has opened for writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.journal.schema import has_versions, journal_fault, open_for_reading

_MOST = 1_000  # of the newest; a station is given a few a year
_NOTE = (
    "INSERT INTO written_by (first_run, version, since) SELECT ?1, ?2, ?3"
    " WHERE (SELECT version FROM written_by ORDER BY first_run DESC LIMIT 1) IS NOT ?2"
)
_READ = "SELECT first_run, version, since FROM written_by ORDER BY first_run DESC LIMIT ?"


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """From this run on, this agent wrote."""

    first_run: int
    version: str  # empty: one that was not installed, and knew none
    since: str  # UTC, ISO 8601


def note_version(connection: sqlite3.Connection, run: int, version: str, now: str) -> None:
    """A row, if the last one has another version. In the transaction in which the run begins."""
    connection.execute(_NOTE, (run, version, now))


def read_versions(connection: sqlite3.Connection) -> tuple[WrittenBy, ...]:
    """All of them, oldest first; none of a journal of before."""
    if not has_versions(connection):
        return ()
    rows = connection.execute(_READ, (_MOST,)).fetchall()
    return tuple(WrittenBy(*row) for row in reversed(rows))


def versions_of(path: Path, runs: Sequence[int]) -> tuple[WrittenBy, ...]:
    """Those that wrote these runs, oldest first. Raises ConfigError and JournalError."""
    connection = open_for_reading(path)
    try:
        written = read_versions(connection)
    except sqlite3.Error as error:
        raise journal_fault(path, "read", error) from error
    finally:
        connection.close()
    meant = {writer_of(run, written) for run in runs}
    return tuple(each for each in written if each in meant)


def writer_of(run: int, written: Sequence[WrittenBy]) -> WrittenBy | None:
    """Who wrote this run; None where that is not known."""
    return next((each for each in reversed(written) if each.first_run <= run), None)
