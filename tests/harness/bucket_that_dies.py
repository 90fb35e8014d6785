"""Publishes entries to a bucket and dies of SIGKILL at a write there. Run as a process:

python -m harness.bucket_that_dies DIRECTORY PORT POINT COUNT
"""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path

from harness.s3_server import S3Server
from harness.store_that_dies import die
from harness.store_world import World, refusals
from signerd.adapters.tiles import BucketPublisher
from signerd.adapters.tiles.bucket_line import BucketAnswer, BucketLine


class BucketPoint(StrEnum):
    """Where it dies, in the order of the writes."""

    NONE_WRITTEN = "none-written"
    ONE_WRITTEN = "one-written"
    CHECKPOINT_NOT_WRITTEN = "checkpoint-not-written"
    CHECKPOINT_WRITTEN = "checkpoint-written"
    ONE_PARTIAL_REMOVED = "one-partial-removed"


def arm(point: BucketPoint) -> None:
    """Lays the trap around each request."""
    defaults = BucketPublisher.__init__.__kwdefaults__
    assert defaults is not None
    defaults["every_s"] = 0.01
    ask = BucketLine.ask

    def asked(self: BucketLine, method: str, path: str, **of: object) -> BucketAnswer:
        writes, of_checkpoint = method == "PUT", path == "checkpoint"
        if writes and (
            point is BucketPoint.NONE_WRITTEN
            or (of_checkpoint and point is BucketPoint.CHECKPOINT_NOT_WRITTEN)
        ):
            die()
        answer = ask(self, method, path, **of)  # type: ignore[arg-type]
        if (
            (writes and point is BucketPoint.ONE_WRITTEN)
            or (writes and of_checkpoint and point is BucketPoint.CHECKPOINT_WRITTEN)
            or (method == "DELETE" and point is BucketPoint.ONE_PARTIAL_REMOVED)
        ):
            die()
        return answer

    BucketLine.ask = asked  # type: ignore[method-assign]


async def run(directory: Path, port: int, point: BucketPoint, count: int) -> None:
    """Enters refusals; the publisher to the bucket dies."""
    world, server = World(directory), S3Server()
    server.port = port
    world.bucket = server.bucket
    arm(point)
    store = await world.open()
    await store.append_refusals(refusals(count))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), BucketPoint(sys.argv[3]), int(sys.argv[4])))
