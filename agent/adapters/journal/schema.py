"""The journal's tables, and how a journal is made, brought up to date and opened. SQLite, WAL,
synchronous=FULL.

A journal of an older version is brought up to date where it lies, in one transaction, when it is opened for
writing: a crash leaves the old journal or the new one. It is never the other way round; an older agent
refuses a newer journal.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from agent.errors import ConfigError, JournalError, JournalUnusable
from agent.program import is_version

FILE_NAME = "journal.sqlite"
_VERSION = 4
CHECKED_S = 2.0  # a start waits so long for a look through the journal
_BUSY_MS = 5_000  # `provision` and `run` may write the same journal
_LABEL = """
CREATE TABLE label (
    certificate_sha256 BLOB PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    handed_over_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX label_of_run ON label (run);
"""
_WRITTEN_BY = """
CREATE TABLE written_by (
    first_run INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT;
"""
_STATION = """
CREATE TABLE station (
    uri TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT;
"""
# What brings a journal of the version before to this one.
_MIGRATIONS = {2: _LABEL, 3: _WRITTEN_BY, 4: _STATION}
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
    seconds REAL NOT NULL,              -- over all tries; also of the step at which the run ended
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
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOST = (
    "Keep it: move it away, and let birthmark-agent enroll --install make a new one. Lost are this station's"
    " results, and stamps that were not sent yet. They come back: present the boards of the last shift again."
)
_IN_THE_WAY = (
    "Move it away, or name another folder: `state` in agent.toml. birthmark-agent enroll --install then makes"
    " a journal there."
)
_NEWER = "Install the agent that wrote it, or a newer one."
_READABLE = (1, 2, 3, 4)  # what reports read stands in all
_HAS_VERSIONS = 3  # who wrote which run, from there on
_HAS_OWNER = 4


def is_there(path: Path) -> bool:
    """True for a file, whatever is in it; False where one can be made.

    Raises:
        ConfigError: something else is in its place, or in that of a folder on the way to it.
        JournalError: it cannot be seen.
    """
    for folder in reversed(path.parents):
        if _is_there(folder) and not folder.is_dir():
            raise ConfigError(f"{folder} is {_kind(folder)}, and must be a folder", remedy=_IN_THE_WAY)
    if _is_there(path) and not path.is_file():
        raise ConfigError(f"{path} is {_kind(path)}, and must be the journal's file", remedy=_IN_THE_WAY)
    return path.is_file()


def _is_there(path: Path) -> bool:
    """True also for a link that leads nowhere."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalError(f"cannot open {path}: {error.strerror}") from error
    return True


def _kind(path: Path) -> str:
    if not path.exists():
        return "a link that leads nowhere"
    return "a folder" if path.is_dir() else "a file"


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
                version = f"PRAGMA user_version = {_VERSION};"
                tables = f"{_TABLES} {_LABEL} {_WRITTEN_BY} {_STATION}"
                connection.executescript(f"BEGIN; {tables} {version} COMMIT;")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise journal_fault(path, "make", error) from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection for the thread that calls; brings an older journal up to date first.

    Raises:
        ConfigError: there is no journal. It is never made here: a missing one may mean lost stamps.
        JournalError: it cannot be opened, or is of a newer agent.
    """
    connection = _open(path, "rw")
    try:
        _migrate(connection)
        _require_version(connection, path, (_VERSION,))
    except sqlite3.Error as error:
        connection.close()
        raise journal_fault(path, "bring up to date", error) from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for reports beside a running station. Raises as its sister does."""
    connection = _open(path, "ro")
    try:
        _require_version(connection, path, _READABLE)
    except sqlite3.Error as error:
        connection.close()
        raise journal_fault(path, "read", error) from error
    return connection


def journal_fault(path: Path, doing: str, error: sqlite3.Error) -> JournalError:
    """What SQLite says, as what a person can do: a damaged file is another matter than a full disk."""
    if _code(error) in _DAMAGED:
        return JournalUnusable(f"{path} is damaged: {error}", remedy=_LOST)
    return JournalError(f"cannot {doing} {path}: {error}")


def _code(error: sqlite3.Error) -> int:
    """The primary code: the low byte of an extended one."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def check_whole(path: Path, *, within_s: float | None = None) -> bool:
    """Looks through the pages of a journal, as far as that goes within `CHECKED_S`. False: that was a part.

    Raises:
        ConfigError: there is no journal.
        JournalError: it is damaged, or cannot be read.
    """
    connection = open_for_reading(path)
    end_s = time.monotonic() + (CHECKED_S if within_s is None else within_s)
    connection.set_progress_handler(lambda: int(time.monotonic() > end_s), 10_000)
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_INTERRUPT:  # a big one: what was seen is whole
            return False
        raise journal_fault(path, "read", error) from error
    finally:
        connection.close()
    if found != "ok":
        raise JournalUnusable(f"{path} is damaged: {found.splitlines()[-1]}", remedy=_LOST)
    return True


def _migrate(connection: sqlite3.Connection) -> None:
    """One transaction: a crash before its commit leaves the journal as it was, and the next start does this
    again.

    The version is read once more inside: two programs may open the journal at once.
    """
    if not 0 < _version(connection) < _VERSION:  # 0: something else lies there
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(_version(connection) + 1, _VERSION + 1):
            for statement in _statements(_MIGRATIONS[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """`executescript` would commit what was begun."""
    return [statement for statement in script.split(";") if statement.strip()]


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def has_versions(connection: sqlite3.Connection) -> bool:
    """True if it says which agent wrote which run. What later versions keep of it is the table."""
    return _version(connection) >= _HAS_VERSIONS


def has_owner(connection: sqlite3.Connection) -> bool:
    """True if it can say which station's it is."""
    return _version(connection) >= _HAS_OWNER


def _require_version(connection: sqlite3.Connection, path: Path, known: tuple[int, ...]) -> None:
    version = _version(connection)
    if version not in known:
        remedy = _newer(connection)
        connection.close()
        if version > _VERSION:
            detail = f"{path} is of version {version}, this agent writes version {_VERSION}"
            raise JournalUnusable(detail, remedy=remedy)
        raise JournalUnusable(f"{path} is damaged: no journal of a station (version {version})", remedy=_LOST)


def _newer(connection: sqlite3.Connection) -> str:
    """The remedy for a journal of a newer agent, by its name if it left one where ours do."""
    try:
        row = connection.execute("SELECT version FROM written_by ORDER BY first_run DESC LIMIT 1").fetchone()
    except sqlite3.Error:
        return _NEWER
    named = row is not None and isinstance(row[0], str) and is_version(row[0])
    return f"Install the agent that wrote it, birthmark-agent {row[0]}, or a newer one." if named else _NEWER


def _open(path: Path, mode: str) -> sqlite3.Connection:
    if not is_there(path):
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
        _version(connection)  # reads the file: it may be anything
    except sqlite3.Error as error:
        raise journal_fault(path, "open", error) from error
    return connection
