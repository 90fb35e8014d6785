"""The database itself: pragmas, schema, and constraints that hold without any look before."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from harness.doctored_store import log_of
from harness.store_world import NOW, World, digest, intent, issue, stock
from signerd.adapters import migrations
from signerd.adapters.commit_keys import StartKey
from signerd.adapters.store import SqlStore, check_database, create_database, listing
from signerd.adapters.store.boards import open_intents
from signerd.adapters.store.boards.intents import IntentKeys
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables import database
from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import metadata, orders, peers, places, records
from signerd.adapters.store.values import RecordFilter
from signerd.adapters.store.writer import Transaction
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.state.administration import State
from signerd.core.state.boards import Boards
from signerd.errors import Code, ConfigError, Fault, Refused, Unavailable
from signerd.ports import RecordState


@pytest.mark.parametrize("mode", ["read", "write"])
def test_pragmas(world: World, mode: Any) -> None:
    with make_engine(world.url, mode).begin() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "query_only": 1 if mode == "read" else 0,
    }


def test_a_writing_transaction_takes_the_lock_at_once(world: World) -> None:
    one, other = make_engine(world.url, "write"), make_engine(world.url, "write")
    with one.connect() as first, other.connect() as second:
        second.exec_driver_sql("PRAGMA busy_timeout = 0")
        second.rollback()
        with first.begin(), pytest.raises(OperationalError, match="locked"):
            second.begin()


def test_the_migrations_make_the_schema(world: World) -> None:
    with make_engine(world.url, "read").begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert stat.S_IMODE(world.database.stat().st_mode) == 0o600


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "signerd.sqlite"
    with pytest.raises(ConfigError, match="signerd init"):
        check_database(f"sqlite:///{missing}")
    assert not missing.exists()


def test_an_existing_database_is_not_made_again(world: World) -> None:
    with pytest.raises(ConfigError, match="File exists"):
        create_database(world.url)
    check_database(world.url)


def test_an_empty_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "signerd.sqlite").touch()
    with pytest.raises(ConfigError, match="empty"):
        check_database(f"sqlite:///{tmp_path}/signerd.sqlite")


def test_the_named_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "signerd.adapters:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_another_schema_is_refused(world: World) -> None:
    with make_engine(world.url, "write").begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="9999"):
        check_database(world.url)


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "nodb:///x"])
def test_urls_that_name_no_database(url: str) -> None:
    with pytest.raises(ConfigError):
        check_database(url)


CHANGES = [
    # What a second row changes so that one constraint alone stops it.
    ({"spki_sha256": b"other", "certificate_serial": "0f"}, Code.CHIP_ALREADY_CERTIFIED),
    ({"superseded": True, "certificate_serial": "0f"}, Code.KEY_ALREADY_CERTIFIED),
]


@pytest.mark.parametrize(("change", "code"), CHANGES)
async def test_records_are_unique_without_a_look_before(
    world: World, store: SqlStore, change: dict[str, Any], code: Code
) -> None:
    await issue(store, intent("chip-1"))
    await store.close()
    with make_engine(world.url, "write").connect() as connection:
        row = dict(connection.execute(select(records)).mappings().one())
        row |= {"id": None, "certificate_sha256": None} | change
        with pytest.raises(IntegrityError) as caught:
            connection.execute(insert(records), row)
        error = translated(caught.value)
        assert isinstance(error, Refused)
        assert error.code is code
        row |= {"superseded": True, "spki_sha256": b"other"}
        connection.execute(insert(records), row)


async def test_places_and_quantity_hold_without_a_look_before(world: World, store: SqlStore) -> None:
    await issue(store, intent("chip-1"))
    await store.close()
    with make_engine(world.url, "write").connect() as connection:
        second = {"work_order": "WO-1", "number": 2, "chip": 1}
        with pytest.raises(IntegrityError) as caught:
            connection.execute(insert(places), second)
        assert getattr(translated(caught.value), "code", None) is Code.CHIP_ALREADY_CERTIFIED
        with pytest.raises(IntegrityError) as caught:
            connection.execute(orders.update().values(places=11))
        assert getattr(translated(caught.value), "code", None) is Code.ORDER_FULL
        with pytest.raises(IntegrityError) as caught:
            connection.execute(insert(places), second | {"chip": 77})
        assert isinstance(translated(caught.value), Fault)  # a foreign key: nobody's doing but ours


async def test_a_registered_uri_is_unique_without_a_look_before(world: World, store: SqlStore) -> None:
    await store.close()
    with make_engine(world.url, "write").connect() as connection:
        row = dict(connection.execute(select(peers)).mappings().one())
        row |= {"id": None, "spki_sha256": digest("other")}
        with pytest.raises(IntegrityError) as caught:
            connection.execute(insert(peers), row)
        assert getattr(translated(caught.value), "code", None) is Code.ALREADY_EXISTS


async def test_a_locked_database_is_unavailable_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_PRAGMAS", ("PRAGMA busy_timeout = 1", *database._PRAGMAS[1:]))
    async with world.opened() as store:
        await stock(store)
        with make_engine(world.url, "write").begin(), pytest.raises(Unavailable, match="locked"):
            await store.add_product("other", 'name = "other"', NOW)
        index = await store.add_product("other", 'name = "other"', NOW)
        assert index == 3  # log_opened, station_added, product_added
        await store.published(index)


async def test_a_head_that_someone_else_moved_stops_all_writing(world: World) -> None:
    async with world.opened() as store:
        await stock(store)
        with make_engine(world.url, "write").begin() as connection:
            connection.exec_driver_sql("UPDATE head SET size = size + 1")
        for _ in range(2):
            with pytest.raises(Fault, match="head"):
                await store.add_product("other", 'name = "other"', NOW)
        assert store.fault is not None
        assert await store.product("other") is None


async def test_reads_by_state_and_by_chip_use_their_indexes(world: World, store: SqlStore) -> None:
    await store.close()
    engine = make_engine(world.url, "read")
    seen: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    no_intents = IntentKeys(StartKey(bytes(16), bytes(32)), "test.example/line", {})
    states = States(State(), Boards(), no_intents, log_of(world).__getitem__)
    with engine.connect() as connection:
        for state in (RecordState.REVOKED, RecordState.INTENT, RecordState.ISSUED):
            listing.find_records(connection, RecordFilter(state=state), after_record_id=0, page_size=10)
        open_intents.enter_open_intents(
            Transaction(connection, 0, LogKeys.first(world.log_key.verifier), states), NOW
        )
        selects = [statement for statement in seen if statement.startswith("SELECT")]
        plans = [
            connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (0,) * statement.count("?")).all()
            for statement in selects
        ]
    used = [re.findall(r"USING (?:COVERING )?INDEX (\w+)", str(plan)) for plan in plans]
    assert used == [["revoked_records"], ["open_intents"], ["issued_records"], ["open_intents"]]


async def test_a_look_at_the_file_leaves_signerd_its_locks(world: World) -> None:
    """A reload looks at the database too. Without its locks, another process that reads and goes would remove
    the log that signerd writes into, and with it all that comes after."""
    reads = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute(sys.argv[2]).fetchone()[0])"
    )
    path = world.url.removeprefix("sqlite:///")
    count = (sys.executable, "-I", "-c", reads, path, "SELECT count(*) FROM products")
    async with world.opened() as store:
        check_database(world.url)
        for number in (1, 2):
            await store.add_product(f"other-{number}", f'name = "other-{number}"', NOW)
            assert subprocess.run(count, capture_output=True, text=True, check=True).stdout == f"{number}\n"  # noqa: ASYNC221
