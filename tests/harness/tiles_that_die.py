"""Publishes entries and dies of SIGKILL at a write of their tiles. Run as a process:

python -m harness.tiles_that_die DIRECTORY POINT COUNT
"""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path

from harness.store_that_dies import die
from harness.store_world import World, refusals


class TilePoint(StrEnum):
    """Where it dies, in the order of the writes."""

    NONE_RENAMED = "none-renamed"
    ONE_RENAMED = "one-renamed"
    CHECKPOINT_NOT_RENAMED = "checkpoint-not-renamed"
    CHECKPOINT_RENAMED = "checkpoint-renamed"


def arm(tiles: Path, point: TilePoint) -> None:
    """Lays the trap: all files of ours get their names by `Path.replace`."""
    replace = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        if not target.is_relative_to(tiles):
            return replace(self, target)
        of_checkpoint = target.parent == tiles
        if point is TilePoint.NONE_RENAMED or (of_checkpoint and point is TilePoint.CHECKPOINT_NOT_RENAMED):
            die()
        done = replace(self, target)
        if point is TilePoint.ONE_RENAMED or of_checkpoint:
            die()
        return done

    Path.replace = replaced  # type: ignore[method-assign,assignment]


async def run(directory: Path, point: TilePoint, count: int) -> None:
    """Enters refusals; the publisher of tiles dies."""
    world = World(directory)
    store = await world.open()
    await store.published(0)
    arm(world.tiles, point)
    await store.append_refusals(refusals(count))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), TilePoint(sys.argv[2]), int(sys.argv[3])))
