"""Somebody with SQL write access to signerd's database, and nothing else: no PIN, no socket, no second place.

What they put in, take out or alter is refused at the start, or where it is used. docs/threat-model.md numbers
them under "Doctored stores".
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from harness.commit_keys import software_commit_keys
from harness.doctored_store import append, change, encoded, forge_row_of_order, forged_order, log_of, sql
from harness.store_world import NOW, ORDER, World, digest, intent, issue, stock
from harness.waiting import until
from signerd.adapters.store import SqlStore
from signerd.core.names import parse_peer_uri
from signerd.errors import ConfigError

OTHER = "birthmark://test/station/plant1/pc2"
BEYOND = "not what signerd committed"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A log with a station, a product, an order and a board, all of it under a checkpoint."""
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER)
        await issue(store, intent("chip-1"))
    return world


async def start(world: World) -> None:
    async with world.opened():
        pass


async def unpublished(world: World) -> None:
    """Another station, and no checkpoint over it: the key holder did not sign, and signerd was killed."""
    store = await world.open()
    world.log_key.available = False
    await store.add_peer(parse_peer_uri(OTHER), digest("other station"), NOW)
    await killed(store)
    world.log_key.available = True


async def killed(store: SqlStore) -> None:
    """As far as files go: nothing more is written, and the second place is free."""
    await store.close()


async def test_an_honest_store_starts(world: World) -> None:
    size = len(log_of(world))
    await start(world)
    assert len(log_of(world)) == size


async def test_what_a_crash_left_beyond_the_checkpoint_is_signed(world: World) -> None:
    await unpublished(world)
    async with world.opened() as store:
        await until(lambda: store.published_size == len(log_of(world)), "a checkpoint over all")
        assert await store.peer_of_key(digest("other station"))


async def test_an_order_forged_beyond_the_checkpoint(world: World) -> None:
    append(world, forged_order())
    forge_row_of_order(world)
    signed = len(world.log_key.signed)
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)
    assert len(world.log_key.signed) == signed


async def test_an_entry_forged_behind_honest_ones_that_no_checkpoint_covers(world: World) -> None:
    await unpublished(world)
    append(world, forged_order())
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)


async def test_an_honest_entry_beyond_the_checkpoint_altered(world: World) -> None:
    await unpublished(world)
    change(world, len(log_of(world)) - 1, lambda entry: entry | {"spki_sha256": digest("mallory").hex()})
    sql(world, "UPDATE peers SET spki_sha256 = ? WHERE uri = ?", digest("mallory"), OTHER)
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)


async def test_commits_taken_away(world: World) -> None:
    await unpublished(world)
    assert sql(world, "DELETE FROM commits") > 0
    with pytest.raises(ConfigError, match="no commit has entry"):
        await start(world)


@pytest.mark.parametrize(
    "change_of_row",
    [
        "epoch = epoch + 1",
        "published = 0",
        "start = zeroblob(16)",
        "mac = zeroblob(32)",
        "leaves = CAST(leaves || zeroblob(32) AS BLOB)",
    ],
)
async def test_a_commit_altered(world: World, change_of_row: str) -> None:
    await unpublished(world)
    last = "(SELECT max(id) FROM commits)"
    assert sql(world, f"UPDATE commits SET {change_of_row} WHERE id = {last}") == 1
    with pytest.raises(ConfigError, match=BEYOND):
        await start(world)


@pytest.mark.parametrize("value", ["'text'", "NULL", "1.5", "zeroblob(15)"])
async def test_a_commit_of_another_form(world: World, value: str) -> None:
    await unpublished(world)
    connection = sqlite3.connect(world.database)
    with connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'start BLOB NOT NULL', 'start BLOB')"
            " WHERE name = 'commits'"
        )
    connection.close()
    assert sql(world, f"UPDATE commits SET start = {value}") > 0
    with pytest.raises(ConfigError, match="another form"):
        await start(world)


async def test_an_honest_commit_put_in_once_more(world: World) -> None:
    """With its MAC: the boards since the administration changed last are the best that there is to repeat."""
    async with world.opened() as store:
        world.log_key.available = False
        await issue(store, intent("chip-2"))
    world.log_key.available = True
    (again,) = (data for data in log_of(world) if json.loads(data).get("chip_id") == "chip-2")
    append(world, again)
    size = len(log_of(world))
    columns = "start, epoch, published, leaves, mac"
    sql(
        world,
        f"INSERT INTO commits (size_after, {columns}) SELECT {size}, {columns} FROM commits"
        " WHERE id = (SELECT max(id) FROM commits)",
    )
    with pytest.raises(ConfigError, match="stands in the log before"):
        await start(world)


async def test_commits_of_another_installation(world: World) -> None:
    """The same log's name, and another secret."""
    await unpublished(world)
    honest, world.commit_keys = world.commit_keys, software_commit_keys(b"another")
    with pytest.raises(ConfigError, match="MAC of the commit"):
        await start(world)
    world.commit_keys = honest
    await start(world)


async def test_an_entry_under_the_checkpoint_altered_beside_its_old_hash(world: World) -> None:
    """The tree over the hashes is as it was signed, and the bytes are others."""
    entries = log_of(world)
    number = next(index for index, data in enumerate(entries) if b'"order_opened"' in data)
    doctored = entries[number].replace(b'"quantity":10', b'"quantity":99')
    assert doctored != entries[number]
    sql(world, "UPDATE entries SET data = ? WHERE entry_index = ?", doctored, number)
    with pytest.raises(ConfigError, match="not the one that was published"):
        await start(world)


async def test_an_epoch_that_the_log_does_not_give(world: World) -> None:
    sql(world, "UPDATE head SET epoch = epoch + 1")
    with pytest.raises(ConfigError, match="epoch"):
        await start(world)


async def test_entries_in_an_installation_that_never_started(tmp_path: Path) -> None:
    """Until the first checkpoint what `signerd init` wrote counts without a MAC, and nothing beside it."""
    world = World(tmp_path)
    world.create()
    time, key = "2026-11-15T12:00:00Z", bytes(32).hex()
    append(world, encoded(type="station_added", time=time, by=None, peer=OTHER, spki_sha256=key))
    with pytest.raises(ConfigError, match="no commit has entry 1"):
        await start(world)
