"""Upgrading a database to this program's schema, by `signerd database upgrade` alone.

Order of writes, and what a crash after each means. Whatever it is, running the command again goes on, and no
signerd starts on the database before it is done.
  1. the tables of schema 0004, one transaction: before its commit, the schema is the one of before;
  2. the chips of the records, a transaction a batch: those that were committed are done;
  3. the newest schema, one transaction: its constraints hold over all that was read. What the next start
     says of it in the ledger is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import migrations
from signerd.adapters.store.boards.chips_of_records import pending, read_batch
from signerd.adapters.store.boards.merged_chips import MergedChip, merged_chips
from signerd.adapters.store.log.runs import note_upgrade
from signerd.adapters.store.tables.database import (
    check_file,
    is_behind,
    make_engine,
    migrate,
    reading_database,
    revision_of,
    start_fault,
)
from signerd.adapters.store.tables.schema import chips, head, identities, order_chips
from signerd.core.note import Checkpoint
from signerd.errors import ConfigError, Fault

_CHIPS = "0004"  # from here on records have a chip
_COMMITS = "0012"  # from here on commits have a MAC
_OF_INIT = 2  # entries that `signerd init` writes before any checkpoint is signed


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was done."""

    schema: str  # of before
    merged: tuple[MergedChip, ...]  # all that there are, of earlier runs too
    unproven: Mapping[str, int]  # table: chips of lists that no entry bears out, where there are some


def _nobody(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def upgrade_database(url: str, progress: Callable[[int, int], None] = _nobody) -> Upgraded | None:
    """Brings the database to the newest schema; None if it has it already.

    No signerd may run on the database meanwhile.

    Args:
        url: SQLAlchemy URL of the database.
        progress: told how many records of how many have their chip.

    Raises:
        ConfigError: it is missing, empty, of a schema that this program does not know, or cannot be written.
    """
    check_file(url)
    engine = make_engine(url, "upgrade")
    try:
        with engine.connect() as connection:
            with connection.begin():
                found = revision_of(connection)
                if not is_behind(found):
                    return None
                assert found is not None  # noqa: S101 - `is_behind` refuses an empty database
                if found < _CHIPS:
                    migrate(connection, _CHIPS)
                    note_upgrade(connection, found)
                    _check_references(connection)
            _read_evidence(connection, progress)
            with connection.begin():
                migrate(connection, migrations.HEAD)
                note_upgrade(connection, found)
                return Upgraded(found, tuple(merged_chips(connection)), _unproven(connection))
    except SQLAlchemyError as error:
        raise start_fault("cannot upgrade the database", error) from error
    finally:
        engine.dispose()


def demand_covered(url: str, published: Checkpoint) -> None:
    """Entries of a database without MACs of commits count by a checkpoint alone: one has to cover all of
    them.

    Raises:
        ConfigError: none does. Nothing was changed.
    """
    check_file(url)
    with reading_database(url, "cannot read the database") as connection:
        found = revision_of(connection)
        if found is None or found >= _COMMITS:
            return
        size = connection.execute(select(head.c.size)).scalar_one()
    if size > max(published.size, _OF_INIT if published.size == 0 else 0):
        raise ConfigError(
            f"the ledger has {size} entries, and the last checkpoint covers {published.size}: signerd was not"
            " stopped cleanly. Start the signerd of before once, stop it when `signerd status` says that it"
            " serves, and upgrade then"
        )


def _read_evidence(connection: Connection, progress: Callable[[int, int], None]) -> None:
    with connection.begin():
        total = pending(connection)
    done = last = 0
    while done < total:
        with connection.begin():
            count, last = read_batch(connection, last)
        if count == 0:
            raise Fault(f"{total - done} records are of a chip that has no place: the database is damaged")
        done += count
        progress(done, total)


def _unproven(connection: Connection) -> dict[str, int]:
    """See migration 0013."""
    counted = {
        table.name: connection.execute(
            select(func.count()).select_from(table).where(table.c.entry.is_(None))
        ).scalar_one()
        for table in (chips, order_chips, identities)
    }
    return {name: count for name, count in counted.items() if count}


def _check_references(connection: Connection) -> None:
    """SQLite does not look at them while tables are written anew."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise Fault(f"{len(broken)} rows refer to nothing after the upgrade, the first in {broken[0][0]}")
