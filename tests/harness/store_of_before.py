"""Databases that earlier signerds left (tests/vectors/store-*), and their upgrade, also one that dies."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from harness.process import REPOSITORY
from harness.store_world import World
from signerd.adapters import migrations
from signerd.adapters.store.tables.database import make_engine

VECTORS = REPOSITORY / "tests" / "vectors"


def load(schema: str, directory: Path) -> World:
    """What a signerd of this schema left: a database and its second place."""
    world, vector = World(directory), VECTORS / f"store-{schema}"
    with sqlite3.connect(world.database) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((vector / "database.sql").read_text("utf-8"))
    connection.close()
    world.head_file.parent.mkdir()
    shutil.copy(vector / "checkpoint", world.head_file)
    return world


# What takes a migration back. A newer one wants a line of its own.
_BACK = {
    "0016": ("DROP TABLE kept_states",),
    "0015": ("DROP INDEX issued_records",),
    "0014": tuple(f"ALTER TABLE records DROP COLUMN {name}" for name in ("intent_start", "intent_mac")),
    "0013": tuple(
        statement
        for table in ("chips", "order_chips", "identities")
        for statement in (f"DROP INDEX {table}_by_entry", f"ALTER TABLE {table} DROP COLUMN entry")
    ),
}


def back_to(world: World, schema: str) -> None:
    """As a signerd of this schema, "0012" or later, would have kept it."""
    assert max(_BACK) == migrations.HEAD
    with closing(sqlite3.connect(world.database)) as connection, connection:
        for number, statements in _BACK.items():
            for statement in statements if number > schema else ():
                connection.execute(statement)
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))


def revision(world: World) -> str:
    """The schema that the database says."""
    with make_engine(world.url, "read").begin() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def dump(world: World) -> list[str]:
    """All that is in it."""
    connection = sqlite3.connect(world.database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def upgrade_and_die(world: World, number: int) -> subprocess.CompletedProcess[str]:
    """See `harness.upgrade_that_dies`."""
    command = [sys.executable, "-m", "harness.upgrade_that_dies", world.url, str(number)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "tests")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
