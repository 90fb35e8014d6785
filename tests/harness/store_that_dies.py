"""Issues one certificate and dies of SIGKILL at a named point. Run as a process:

python -m harness.store_that_dies DIRECTORY POINT
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, event

from harness.store_world import NOW, World, certificate_of, grant_of, intent, prepare
from signerd.adapters.head_file import HeadFile


class Point(StrEnum):
    """Where it dies, in the order of the writes."""

    INTENT_NOT_COMMITTED = "intent-not-committed"
    INTENT_COMMITTED = "intent-committed"
    CERTIFICATE_NOT_COMMITTED = "certificate-not-committed"
    CERTIFICATE_COMMITTED = "certificate-committed"
    CHECKPOINT_SIGNED = "checkpoint-signed"
    HEAD_NOT_RENAMED = "head-not-renamed"
    HEAD_RENAMED = "head-renamed"


def die() -> None:
    """No handler runs, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_commit(_connection: Connection) -> None:
    """For SQLAlchemy's event, which comes before the COMMIT."""
    die()


async def run(directory: Path, point: Point) -> None:
    """Steps 6 to 11 and the checkpoint, up to the point."""
    world = World(directory)
    store = await world.open()
    await store.published(0)
    request = intent("chip-1")
    if point is Point.INTENT_NOT_COMMITTED:
        event.listen(Engine, "commit", die_before_commit)
    record = await store.take_place(request, prepare)
    if point is Point.INTENT_COMMITTED:
        die()
    arm(world, point)
    await store.complete(record, certificate_of(record), grant_of(request, record), NOW)
    await asyncio.Event().wait()  # the publisher dies


def arm(world: World, point: Point) -> None:
    """Lays the trap for the points after the intent."""
    replace = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        if target != world.head_file:  # tiles are written meanwhile
            return replace(self, target)
        if point is Point.HEAD_NOT_RENAMED:
            die()
        done = replace(self, target)
        die()
        return done

    if point is Point.CERTIFICATE_NOT_COMMITTED:
        event.listen(Engine, "commit", die_before_commit)
    elif point is Point.CERTIFICATE_COMMITTED:
        world.log_key.die_instead = die
    elif point is Point.CHECKPOINT_SIGNED:
        HeadFile.swap = lambda *_: die()  # type: ignore[method-assign]
    elif point in {Point.HEAD_NOT_RENAMED, Point.HEAD_RENAMED}:
        Path.replace = replaced  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Point(sys.argv[2])))
