"""Takes one step of the log's key and dies of SIGKILL at a named point. Run as a process:

python -m harness.log_keys_that_die DIRECTORY STEP POINT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sqlalchemy import Engine, event

from harness.store_that_dies import Point, arm, die_before_commit
from harness.store_world import NOW, SoftwareLogKey, World
from signerd.adapters.store import SqlStore
from signerd.core.checkpoint_keys import Reason
from signerd.core.entry import CheckpointKeyAdded

STEPS = ("add", "activate", "retire")


def world_with_two(directory: Path) -> World:
    """Both keys at hand."""
    world = World(directory)
    world.further = [SoftwareLogKey(b"second")]
    return world


async def take(world: World, store: SqlStore, step: str) -> int:
    """One step; its ledger index."""
    second = world.further[0].verifier
    if step == "add":
        entry = CheckpointKeyAdded(time=NOW, by="ann", vkey=second.text(), place="token", recipients=())
        return await store.add_checkpoint_key(entry)
    if step == "activate":
        return await store.activate_checkpoint_key(second.key_id.hex(), NOW, by="ann")
    first = world.log_key.verifier
    return await store.retire_checkpoint_key(first.key_id.hex(), Reason.SUPERSEDED, NOW, by="ann")


async def run(directory: Path, step: str, point: Point) -> None:
    """The steps before it, and it up to the point."""
    world = world_with_two(directory)
    store = await world.open()
    for before in STEPS[: STEPS.index(step)]:
        await store.published(await take(world, store, before))
    await store.published(0)
    if point is Point.CERTIFICATE_NOT_COMMITTED:
        event.listen(Engine, "commit", die_before_commit)
    else:
        arm(world, point)
        world.further[0].die_instead = world.log_key.die_instead
    await take(world, store, step)
    await asyncio.Event().wait()  # the publisher dies


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], Point(sys.argv[3])))
