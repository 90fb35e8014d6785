"""Keys of the log in the store: each step is one transaction, and what is published bears all signatures."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from harness.log_keys_that_die import STEPS, take, world_with_two
from harness.process import REPOSITORY
from harness.store_that_dies import Point
from harness.store_world import NOW, World
from signerd.adapters.store import SqlStore
from signerd.core.checkpoint_keys import KeyState, LogKeys, Reason
from signerd.errors import Refused, Unavailable

AFTER = [Point.CERTIFICATE_COMMITTED, Point.CHECKPOINT_SIGNED, Point.HEAD_NOT_RENAMED, Point.HEAD_RENAMED]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = world_with_two(tmp_path)
    made.create()
    return made


def signers(world: World, note: bytes) -> list[str]:
    """Key ids on a note."""
    keys = [key.verifier for key in (world.log_key, *world.further)]
    return [key.key_id.hex() for key in keys if opens(LogKeys.first(key), note)]


def opens(keys: LogKeys, note: bytes) -> bool:
    try:
        keys.open(note)
    except ValueError:
        return False
    return True


async def steps(world: World, store: SqlStore, *names: str) -> None:
    for name in names:
        await store.published(await take(world, store, name))


async def test_both_sign_from_the_activation_to_the_retirement(world: World) -> None:
    first, second = (key.verifier.key_id.hex() for key in (world.log_key, world.further[0]))
    expected = {"add": [first], "activate": [first, second], "retire": [second]}
    async with world.opened() as store:
        for step in STEPS:
            await steps(world, store, step)
            assert signers(world, world.head_file.read_bytes()) == expected[step]
    async with world.opened() as store:
        assert [key.state for key in store.log_keys.keys] == [KeyState.RETIRED, KeyState.SIGNING]
        await store.published(0)


async def test_without_the_old_key_nothing_is_published_until_it_is_retired(world: World) -> None:
    async with world.opened() as store:
        await steps(world, store, "add", "activate")
    world.has_first = False
    async with world.opened() as store:
        first = world.log_key.verifier.key_id.hex()
        index = await store.retire_checkpoint_key(first, Reason.LOST, NOW)
        await store.published(index)
    assert signers(world, world.head_file.read_bytes()) == [world.further[0].verifier.key_id.hex()]


async def test_a_lost_key_s_last_checkpoint_lets_its_successor_in(world: World) -> None:
    async with world.opened() as store:
        await steps(world, store, "add")
    world.has_first = False
    async with world.opened() as store:
        index = await take(world, store, "activate")
        with pytest.raises(Unavailable, match="--reason lost"):
            await store.published(index)
        await steps(world, store, "retire")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("point", [Point.CERTIFICATE_NOT_COMMITTED, *AFTER])
async def test_a_crash_leaves_the_step_whole_or_not_at_all(world: World, step: str, point: Point) -> None:
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'tests'}:{REPOSITORY / 'proto'}"}
    command = (sys.executable, "-m", "harness.log_keys_that_die", str(world.database.parent), step, point)
    died = await asyncio.create_subprocess_exec(*command, env=environment)
    assert await died.wait() == -signal.SIGKILL
    async with world.opened() as store:
        if point is Point.CERTIFICATE_NOT_COMMITTED:
            await steps(world, store, step)
        else:
            with pytest.raises(Refused):
                await take(world, store, step)
        await steps(world, store, *STEPS[STEPS.index(step) + 1 :])
        assert [key.state for key in store.log_keys.keys] == [KeyState.RETIRED, KeyState.SIGNING]


async def test_a_step_beside_others_in_one_commit(world: World) -> None:
    """Writers share commits: the keys are those of the newest entry of a commit, and a step that fails
    changes nothing."""
    async with world.opened() as store:
        await steps(world, store, "add")
        taken = await asyncio.gather(
            *(take(world, store, "activate") for _ in range(3)), return_exceptions=True
        )
        assert sum(isinstance(each, Refused) for each in taken) == 2
        await store.published(max(each for each in taken if isinstance(each, int)))
        assert len(store.log_keys.signers(10**9)) == 2
