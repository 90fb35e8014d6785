"""`signerd database`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command as alembic
from alembic.config import Config
from sqlalchemy import create_engine

from harness.installation import Installation
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check


def test_a_database_of_before_is_upgraded_by_its_command(fresh: Installation) -> None:
    assert "the newest schema already" in fresh.admin("database", "upgrade")
    database, before = fresh.home / "signerd.sqlite", fresh.directory / "before.sqlite"
    make_at(before, "0001")
    with closing(sqlite3.connect(before)) as old:
        old.execute("ATTACH ? AS new", (str(database),))
        for table, columns in (("entries", "*"), ("head", "id, size, root")):
            old.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
        old.commit()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    before.rename(database)
    for refused in ("run", "check-config"):
        code, said = signerd(fresh, refused)
        assert (code, "signerd database upgrade" in said) == (3, True), said
    assert "upgraded the database from schema 0001" in fresh.admin("database", "upgrade")
    fresh.start_signerd()
    assert "another signerd holds" in signerd(fresh, "database", "upgrade")[1]
    assert signerd(fresh, "order", "list")[0] == 0


def make_at(path: Path, revision: str) -> None:
    """A database of an earlier schema, empty."""
    config = Config()
    config.set_main_option("script_location", "signerd.adapters:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, revision)
    engine.dispose()
