"""Opening the database: engines, pragmas, schema.

Guarantees that a daemon never makes or changes a schema: `create_database` and `upgrading.upgrade_database`
alone do, and `check_database` refuses a database that is missing or of another schema.

SQLite runs with WAL and synchronous=FULL: what was committed survives a power cut, because the log is
synced at each commit. The driver's own transaction handling is off, since it would begin
transactions late and end them at SAVEPOINTs; a writing transaction begins IMMEDIATE, so that it never
fails half-way for want of the write lock.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from signerd.adapters import durable_files, migrations
from signerd.adapters.start_faults import from_system
from signerd.errors import ConfigError, NotNow

_VERSION_TABLE = "alembic_version"
_BUSY_TIMEOUT_MS = 5_000  # how long a connection waits for another process's lock, e.g. a backup's
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)
_MORE_PRAGMAS = {
    "read": ("PRAGMA query_only = ON",),
    "snapshot": ("PRAGMA query_only = ON",),
    "upgrade": ("PRAGMA foreign_keys = OFF",),
}

Mode = Literal["read", "snapshot", "write", "upgrade"]


def make_engine(url: str, mode: Mode) -> Engine:
    """An engine whose connections belong to the thread that opens them.

    In mode "snapshot" its user begins and ends transactions on the driver's connection. In mode "upgrade",
    SQLite lets tables that others refer to be written anew; its user checks the references in the end.
    """
    try:
        engine = create_engine(url, poolclass=NullPool)
    except (ArgumentError, ImportError) as error:
        raise ConfigError(f"database.url is not usable: {error}") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, mode)
    return engine


def _prepare_sqlite(engine: Engine, mode: Mode) -> None:
    pragmas = (*_PRAGMAS, *_MORE_PRAGMAS.get(mode, ()))
    begin = "BEGIN" if mode == "read" else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma).close()

    if mode == "snapshot":
        return

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


# What passes by itself; the low byte of a code of SQLite's is its kind. A damaged file is not among it.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def start_fault(doing: str, error: SQLAlchemyError) -> ConfigError:
    """What keeps signerd from starting: NotNow where the same start may succeed later."""
    text = f"{doing}: {error}"
    if not isinstance(error, OperationalError):
        return ConfigError(text)
    code = getattr(error.orig, "sqlite_errorcode", None)  # None: another database, which does not answer
    return NotNow(text) if code is None or code & 0xFF in _PASSING else ConfigError(text)


@contextmanager
def reading_database(url: str, failed: str) -> Iterator[Connection]:
    """One snapshot, for a start or a command. `failed`: what an error begins with. Raises ConfigError, as
    `start_fault` has it."""
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise start_fault(failed, error) from error
    finally:
        engine.dispose()


def create_database(url: str) -> None:
    """Creates the database, empty, at the newest schema. A SQLite file gets mode 0600.

    Raises:
        ConfigError: it exists already, or it cannot be made.
    """
    path = sqlite_file(url)
    if path is not None:
        try:
            durable_files.write_new(path, b"", 0o600)
        except OSError as error:
            raise ConfigError(f"cannot create the database {path}: {error.strerror}") from error
    engine = make_engine(url, "write")
    try:
        # One transaction: a crash in it leaves an empty file, which `check_database` refuses and which
        # has to be removed by hand before `signerd init` runs again.
        with engine.begin() as connection:
            if revision_of(connection) is not None:
                raise ConfigError("the database exists already")
            migrate(connection)
    except SQLAlchemyError as error:
        raise ConfigError(f"cannot create the database: {error}") from error
    finally:
        engine.dispose()


def check_database(url: str) -> None:
    """Refuses to go on without a database of this program's schema.

    Raises:
        ConfigError: it is missing, empty, or of another schema. The text names the remedy.
    """
    check_file(url)
    with reading_database(url, "cannot read the database") as connection:
        found = revision_of(connection)
    if is_behind(found):
        raise ConfigError(
            f"the database has schema {found}, not {migrations.HEAD}: back it up, then run"
            " `signerd database upgrade`"
        )


def is_behind(found: str | None) -> bool:
    """True for an earlier schema, False for the newest."""
    if found is None:
        raise ConfigError("the database is empty: remove it, and `signerd init` makes one")
    if found != migrations.HEAD and found not in migrations.EARLIER:
        raise ConfigError(
            f"the database has schema {found}, which this signerd does not know: run the signerd that made it"
        )
    return found != migrations.HEAD


def check_file(url: str) -> None:
    """Raises ConfigError: there is no file of a SQLite URL, or it cannot be written."""
    path = sqlite_file(url)
    if path is None:
        return
    if not path.is_file():
        raise ConfigError(
            f"there is no database {path}: is its disk mounted? If it is lost: docs/operations.md,"
            ' "A backup was restored"; `signerd init` makes one for a new installation alone'
        )
    # Asked, and not opened: a running signerd looks too, at each reload, and closing a descriptor of a file
    # gives up all locks that the process has on it (fcntl(2)). Whoever then closed the database elsewhere
    # would take itself for the last one, and remove the log that signerd goes on writing into.
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        number = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        error = OSError(number, os.strerror(number))
        raise from_system(f"cannot write the database {path}: {error.strerror}", error)


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to a revision, in the caller's transaction."""
    # Loaded by `signerd init` and `signerd database upgrade` alone: a daemon never changes a schema, and
    # Alembic costs it 11 MB.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "signerd.adapters:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revision_of(connection: Connection) -> str | None:
    """The revision in Alembic's own table; None in an empty database."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}")  # noqa: S608 (a constant)
    return found.scalar_one_or_none()


def sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; None for other databases."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"database.url is not a URL: {error}") from error
    if not parsed.drivername.startswith("sqlite"):
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError("database.url names no file")
    return Path(parsed.database)
