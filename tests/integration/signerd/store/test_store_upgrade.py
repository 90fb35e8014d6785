"""A database of an earlier signerd: the daemon refuses it, the command upgrades it, all of it or none."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from harness.store_of_before import dump, load, revision, upgrade_and_die
from harness.store_world import (
    NOW,
    STATION,
    World,
    certificate_of,
    digest,
    grant_of,
    intent,
    issue,
    prepare,
    with_terms,
)
from signerd.adapters import migrations
from signerd.adapters.store import SqlStore, check_database, upgrade_database
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import chips, metadata
from signerd.adapters.store.tables.upgrading import Upgraded
from signerd.adapters.store.values import RecordFilter
from signerd.core.order import FirmwareBundle
from signerd.errors import ConfigError
from signerd.ports import Record, RecordState

OLD = {"chip-1": "issued", "chip-2": "stamped", "chip-3": "revoked", "chip-4": "intent"}


@pytest.fixture(params=["0001", "0002", "0003"])
def schema(request: pytest.FixtureRequest) -> str:
    """Each schema that a signerd ran on. 0004 is on the way to 0005."""
    return str(request.param)


@pytest.fixture
def old(schema: str, tmp_path: Path) -> World:
    """What a signerd of this schema left."""
    return load(schema, tmp_path)


def tables_of(world: World) -> set[str]:
    with make_engine(world.url, "read").begin() as connection:
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        return set(rows.scalars())


async def records_of(store: SqlStore) -> dict[str, Record]:
    page = await store.find_records(RecordFilter())
    return {record.place.chip_id: record for record in page.records}


def test_the_daemon_refuses_it_and_names_the_command(old: World) -> None:
    before = dump(old)
    with pytest.raises(ConfigError, match="signerd database upgrade"):
        check_database(old.url)
    assert dump(old) == before


async def test_opening_it_refuses_too(old: World) -> None:
    with pytest.raises(ConfigError, match="signerd database upgrade"):
        await old.open()


def test_upgrading_gives_the_newest_schema_and_again_does_nothing(old: World, schema: str) -> None:
    assert upgrade_database(old.url) == Upgraded(schema, merged=(), unproven={})
    check_database(old.url)
    after = dump(old)
    assert upgrade_database(old.url) is None
    assert dump(old) == after
    with make_engine(old.url, "read").begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_every_earlier_migration_is_one_that_is_upgraded() -> None:
    config = Config()
    config.set_main_option("script_location", "signerd.adapters:migrations")
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert revisions == [migrations.HEAD, *reversed(migrations.EARLIER)]


def test_a_schema_of_the_future_is_left_alone(old: World) -> None:
    with make_engine(old.url, "write").begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = dump(old)
    with pytest.raises(ConfigError, match="does not know"):
        upgrade_database(old.url)
    assert dump(old) == before


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="signerd init"):
        upgrade_database(f"sqlite:///{tmp_path}/none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(ConfigError, match="empty"):
        upgrade_database(f"sqlite:///{tmp_path}/empty.sqlite")


async def test_what_was_recorded_is_kept_and_goes_on(old: World, schema: str) -> None:
    upgrade_database(old.url)
    measured = {} if schema == "0001" else {"app": "1.2.0"}
    async with old.opened() as store:
        records = await records_of(store)
        assert {chip: record.state.value for chip, record in records.items()} == OLD
        assert all(record.measured == measured for record in records.values())
        attesters = {chip: digest(f"attester of {chip}") if measured else b"" for chip in OLD}
        assert {chip: record.attester for chip, record in records.items()} == attesters
        # The certificate of before is stamped, with its own grant.
        context = await store.call_context(
            peer_uri=STATION,
            work_order="WO-1",
            chip_id="chip-1",
            session_sha256=intent("chip-1").session_sha256,
        )
        assert context.granted == records["chip-1"]
        assert context.chip is not None
        assert context.chip.locked
        assert context.order is not None
        assert context.order.bundle is None
        stamped = await store.record_stamp(
            records["chip-1"], stamp=b"stamp", signature=b"signature", station=STATION, now=NOW
        )
        assert stamped.state is RecordState.STAMPED
        # The open intent is begun again: its serial number is that of before, its evidence the retry's.
        resumed = await store.take_place(intent("chip-4"), prepare)
        assert (resumed.record_id, resumed.place) == (records["chip-4"].record_id, records["chip-4"].place)
        done = await store.complete(
            resumed, certificate_of(resumed), grant_of(intent("chip-4"), resumed), NOW
        )
        assert done.issued_index is not None
        entry = (await store.published(done.issued_index)).entry
        assert json.loads(entry)["measured"] == {"app": "1.2.0"}
        assert json.loads(entry)["attester_sha256"] == hashlib.sha256(resumed.attester).hexdigest()
        assert b'"firmware":{"app":["1.2.0","' in entry
        # A new chip gets the next place.
        fresh = await issue(store, intent("chip-5"))
        assert fresh.place.serial_number == "BM-000005"


async def test_orders_that_are_opened_after_it_name_their_bundle(old: World) -> None:
    upgrade_database(old.url)
    bundle = FirmwareBundle(digest("bundle"), {"app": ("1.4.0", digest("app"))})
    async with old.opened() as store:
        terms = with_terms(work_order="WO-2", serial_pattern="S-{number}", bundle=bundle)
        await store.open_order(terms, NOW)
    async with old.opened() as store:
        orders = [(state.order.work_order, state.order.bundle) for state in await store.list_orders()]
    assert orders == [("WO-1", None), ("WO-2", bundle)]


async def test_chips_of_before_have_the_one_key_of_that_time(old: World, schema: str) -> None:
    upgrade_database(old.url)
    with make_engine(old.url, "read").begin() as connection:
        rows = connection.execute(select(chips.c.key, chips.c.by)).all()
    assert set(rows) == {("hmac-sha256", None if schema == "0001" else "ann")}
    async with old.opened() as store:
        again = await store.personalize_chips(
            ["chip-1"], locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW
        )
        assert again[0] == 0


def test_uniqueness_of_before_still_holds(old: World) -> None:
    upgrade_database(old.url)
    table = metadata.tables["records"]
    with make_engine(old.url, "write").connect() as connection:
        row = dict(connection.execute(select(table).where(table.c.chip_id == "chip-1")).mappings().one())
        row |= {"id": None, "certificate_sha256": None, "certificate_serial": "0f"}
        with pytest.raises(IntegrityError, match=r"records\.spki_sha256"):
            connection.execute(insert(table), row | {"superseded": True})
        with pytest.raises(IntegrityError, match=r"records\.chip\n"):
            connection.execute(insert(table), row | {"spki_sha256": digest("other")})


@pytest.mark.check
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
async def test_after_a_crash_the_upgrade_goes_on(old: World, schema: str, step: int, tmp_path: Path) -> None:
    """At each write, or at every fifth."""
    before = dump(old)
    kept = tmp_path / "kept.sqlite"
    kept.write_bytes(old.database.read_bytes())
    lived = upgrade_and_die(old, 0)
    assert lived.returncode == 0, lived.stderr
    after, last = dump(old), int(lived.stdout)
    assert last >= 15  # each column and table, the batches, the versions, the commits, and the end
    revisions = []
    for number in (*range(1, last, step), last):
        old.restore(kept)
        assert upgrade_and_die(old, number).returncode == -signal.SIGKILL
        found = dump(old)
        revisions.append(revision(old))
        assert (found == before) == (revisions[-1] == schema)
        assert (found == after) == (number == last)
        if number < last:
            with pytest.raises(ConfigError, match="signerd database upgrade"):
                check_database(old.url)
        upgrade_database(old.url)
        assert dump(old) == after
    assert revisions == sorted(revisions)
    assert set(revisions) == {schema, "0004", migrations.HEAD}
    async with old.opened() as store:
        assert {chip: record.state.value for chip, record in (await records_of(store)).items()} == OLD
