"""A store that cannot go on says so to whoever can end the program."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from harness.store_world import NOW, ORDER, World, intent, issue, stock
from signerd.core.names import parse_peer_uri
from signerd.errors import Fault

PATIENCE_S = 20.0


async def test_a_database_that_was_exchanged_stops_it_for_good(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER)
        stopped = asyncio.create_task(store.wait_stopped())
        with sqlite3.connect(world.database) as other:
            other.execute("UPDATE head SET size = size + 1")
        other.close()
        with pytest.raises(Fault):
            await issue(store, intent("a"))
        async with asyncio.timeout(PATIENCE_S):
            assert "another writer" in (await stopped).detail


async def test_an_entry_is_unpublished_while_the_key_holder_does_not_sign(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        world.log_key.available = False
        peer = parse_peer_uri("birthmark://test/station/plant1/pc9")
        _, index = await store.add_peer(peer, bytes(32), NOW)
        assert await store.unpublished(index, within_s=5) == "the key holder is being replaced"
        world.log_key.available = True
        async with asyncio.timeout(PATIENCE_S):
            while await store.unpublished(index, within_s=5):
                pass
