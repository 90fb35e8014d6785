"""The journal's tables, and how a journal is made and opened. SQLite, WAL, synchronous=FULL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agent.errors import ConfigError, JournalError

FILE_NAME = "journal.sqlite"
_VERSION = 1
_BUSY_MS = 5_000  # `provision` and `run` may write the same journal
_TABLES = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    port TEXT NOT NULL,
    work_order TEXT NOT NULL,
    chip_id TEXT NOT NULL,
    started_at TEXT NOT NULL,           -- UTC, ISO 8601
    ended_at TEXT,                      -- NULL: under way, or cut off
    outcome TEXT,                       -- PASS, FAIL, PARKED
    serial_number TEXT NOT NULL DEFAULT '',
    certificate_sha256 TEXT NOT NULL DEFAULT '',
    step TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    remedy TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_under_way ON run (port) WHERE ended_at IS NULL;
CREATE TABLE step (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    work_order TEXT NOT NULL,
    chip_id TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    certificate_sha256 BLOB NOT NULL,
    session BLOB NOT NULL,
    stamp BLOB NOT NULL,
    signature BLOB NOT NULL,
    queued_at TEXT NOT NULL,
    answered_at TEXT,                   -- NULL: signerd has not answered
    code TEXT NOT NULL DEFAULT '',      -- of a refusal
    ledger_index INTEGER,
    entry BLOB,
    receipt BLOB,
    UNIQUE (certificate_sha256, stamp)
) STRICT;
CREATE INDEX outbox_open ON outbox (id) WHERE answered_at IS NULL;
"""


def create(path: Path) -> None:
    """Makes an empty journal, unless there is one.

    Raises:
        JournalError: it cannot be written, or something else lies there.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise JournalError(f"cannot make {path}: {error}") from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection for the thread that calls.

    Raises:
        ConfigError: there is no journal. It is never made here: a missing one may mean lost stamps.
        JournalError: it cannot be opened.
    """
    return _open(path, "rw")


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for reports beside a running station. Raises as its sister does."""
    return _open(path, "ro")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    if not path.is_file():
        raise ConfigError(
            f"no journal at {path}",
            remedy="A lost journal may mean stamps that were never sent: look for it first. "
            "birthmark-agent enroll --install makes a new one.",
        )
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise JournalError(f"cannot open {path}: {error}") from error
    if version != _VERSION:
        connection.close()
        raise JournalError(f"{path} is of version {version}, this agent writes version {_VERSION}")
    return connection
