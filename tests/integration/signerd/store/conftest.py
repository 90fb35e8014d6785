"""A store on a real SQLite file, with one order open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from harness.store_world import ORDER, World, stock
from signerd.adapters.store import SqlStore


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.create()
    return made


@pytest_asyncio.fixture
async def store(world: World) -> AsyncIterator[SqlStore]:
    async with world.opened() as opened:
        await stock(opened, ORDER)
        yield opened
