"""`signerd check-config` beside a checkpoint that a station saw and a ledger did not continue."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.store_world import World, refusals
from signerd.adapters.checks import compare_with_seen
from signerd.adapters.contradiction_file import contradiction_file
from signerd.errors import ConfigError


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.create()
    async with made.opened() as store:
        await store.append_refusals(refusals(5))
    return made


def checked(world: World) -> str:
    return compare_with_seen(world.url, world.head_file, world.log_key.verifier)


async def test_without_one_nothing_is_read(world: World) -> None:
    world.database.unlink()
    assert "no station saw" in checked(world)


async def test_a_database_that_lacks_what_was_seen_is_named_with_the_remedy(world: World) -> None:
    kept = contradiction_file(world.head_file)
    before, head = world.database.with_name("before"), world.database.with_name("head-before")
    shutil.copy(world.database, before)
    shutil.copy(world.head_file, head)
    async with world.opened() as store:
        await store.append_refusals(refusals(3))
    seen = world.head_file.read_bytes()
    kept.write_bytes(seen)
    assert "this ledger continues it: a start removes it" in checked(world)  # the right database
    world.restore(before)
    shutil.copy(head, world.head_file)
    with pytest.raises(ConfigError, match=r"a station saw a checkpoint over 9 .*A backup was restored"):
        checked(world)
    assert kept.read_bytes() == seen  # a look changes nothing


async def test_a_file_that_is_no_checkpoint_is_named(world: World) -> None:
    contradiction_file(world.head_file).write_bytes(b"\xff" * 5_000)
    with pytest.raises(ConfigError, match=r"contradicted holds no checkpoint"):
        checked(world)
