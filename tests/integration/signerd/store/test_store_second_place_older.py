"""The second place is lost, and made anew from an older checkpoint that somebody else kept."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from harness.doctored_store import change, sql
from harness.store_world import ORDER, World, intent, issue, refusals, stock
from signerd.errors import ConfigError

MANY = 300  # entries after the older checkpoint


@pytest.fixture
async def older(world: World) -> World:
    """Without tiles, which were lost too."""
    async with world.opened() as store:
        await stock(store, ORDER)
        await store.published((await issue(store, intent("chip-1"))).issued_index or 0)
        kept = store.checkpoint()
        for count in (MANY, 1, 1):
            await store.append_refusals(refusals(count))
            await store.published(store._writer._tree.size - 1)
    world.head_file.write_bytes(kept)
    shutil.rmtree(world.tiles)
    return world


def size_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    connection.close()
    return int(found)


async def test_an_older_checkpoint_is_taken(older: World) -> None:
    size = size_of(older.database)
    async with older.opened() as store:
        await store.published(size - 1)


async def test_an_entry_altered_after_it_is_not(older: World) -> None:
    change(older, 50, lambda entry: entry | {"chip_id": "chip-2"})
    with pytest.raises(ConfigError, match="entry 50 is not the one that was committed"):
        await older.open()


async def test_an_entry_that_is_text_is_damage(older: World) -> None:
    sql(older, "UPDATE entries SET data = 'text' WHERE entry_index = 50")
    with pytest.raises(ConfigError, match="damaged"):
        await older.open()


async def test_one_that_is_older_than_the_commits_is_told_apart(older: World) -> None:
    """As after an upgrade from before there were commits."""
    sql(older, "DELETE FROM commits WHERE id < (SELECT max(id) FROM commits)")
    with pytest.raises(ConfigError, match="the checkpoint is older than they are"):
        await older.open()
