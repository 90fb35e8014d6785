"""The starts and stops of signerd in the ledger, and what happened to its database between two of them.

Commands that work on a database which no signerd has open leave a note in it (`note_upgrade`,
`note_restored`). The next start enters the note and takes it away, in one transaction: after a crash it is in
the ledger or still in the database.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import migrations
from signerd.adapters.store.tables.database import make_engine, start_fault
from signerd.adapters.store.tables.rows import moment_of, seconds
from signerd.adapters.store.tables.schema import BACKUP_MADE, BACKUP_SIZE, UPGRADED_FROM, counters
from signerd.adapters.store.writer import Transaction
from signerd.core.entry import SignerdStarted, SignerdStopped

_NOTES = (UPGRADED_FROM, BACKUP_MADE, BACKUP_SIZE)


def enter_start(tx: Transaction, run: bytes, version: str, now: datetime) -> int:
    """`SqlStore.enter_start`."""
    noted = _noted(tx.connection)
    upgraded, made = noted.get(UPGRADED_FROM), noted.get(BACKUP_MADE)
    index = tx.append(
        SignerdStarted(
            time=now,
            run=run,
            version=version,
            schema=migrations.HEAD,
            upgraded_from=None if upgraded is None else f"{upgraded:04}",
            backup_made=None if made is None else moment_of(made),
            backup_size=noted.get(BACKUP_SIZE),
        )
    )
    if noted:
        tx.connection.execute(delete(counters).where(counters.c.name.in_(_NOTES)))
    return index


def enter_stop(tx: Transaction, run: bytes, now: datetime) -> int:
    """`SqlStore.enter_stop`."""
    return tx.append(SignerdStopped(time=now, run=run))


def note_upgrade(connection: Connection, schema: str) -> None:
    """The database had this schema. The oldest one since the last start is kept."""
    if UPGRADED_FROM not in _noted(connection):
        connection.execute(insert(counters), {"name": UPGRADED_FROM, "value": int(schema)})


def note_restored(url: str, made: datetime, size: int) -> None:
    """The database was restored from a backup of then, of so many entries. The newest one is kept.

    Raises:
        ConfigError: the database cannot be written.
    """
    rows = [{"name": BACKUP_MADE, "value": seconds(made)}, {"name": BACKUP_SIZE, "value": size}]
    engine = make_engine(url, "write")
    try:
        with engine.begin() as connection:
            connection.execute(delete(counters).where(counters.c.name.in_((BACKUP_MADE, BACKUP_SIZE))))
            connection.execute(insert(counters), rows)
    except SQLAlchemyError as error:
        raise start_fault("cannot write the restored database", error) from error
    finally:
        engine.dispose()


def _noted(connection: Connection) -> dict[str, int]:
    asked = select(counters.c.name, counters.c.value).where(counters.c.name.in_(_NOTES))
    return {row.name: row.value for row in connection.execute(asked)}
