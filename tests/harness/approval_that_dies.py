"""Opens an order that administrators approved, and dies of SIGKILL at a named point. Run as a process:

python -m harness.approval_that_dies DIRECTORY POINT

`DIRECTORY/approval.json` holds what administrators signed (`write_approval`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, event

from harness.store_world import NOW, ORDER, World, with_terms
from signerd.core.approval.actions import ShownApproval

APPROVED = with_terms(ORDER, work_order="WO-2", serial_pattern="X-{number:06d}")


class Point(StrEnum):
    """Where it dies, in the order of the writes."""

    NOT_COMMITTED = "not-committed"
    COMMITTED = "committed"


def write_approval(directory: Path, approval: ShownApproval) -> None:
    """For the process."""
    parts = [approval.statement.hex(), *(each.hex() for each in approval.signatures)]
    (directory / "approval.json").write_text(json.dumps(parts), "utf-8")


def _read_approval(directory: Path) -> ShownApproval:
    statement, *signatures = map(bytes.fromhex, json.loads((directory / "approval.json").read_text("utf-8")))
    return ShownApproval(statement, tuple(signatures))


def die(_connection: Connection | None = None) -> None:
    """No handler runs, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


async def run(directory: Path, point: Point) -> None:
    """Up to the point."""
    store = await World(directory).open()
    if point is Point.NOT_COMMITTED:
        event.listen(Engine, "commit", die)  # SQLAlchemy's event comes before the COMMIT
    await store.open_order(APPROVED, NOW, rehearsed=True, approval=_read_approval(directory))
    die()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Point(sys.argv[2])))
