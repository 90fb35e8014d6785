"""Upgrades a database and dies of SIGKILL around one of its statements. Run as a process:

python -m harness.upgrade_that_dies URL NUMBER

NUMBER counts what changes the database, from 1. It dies right after that statement, at the COMMIT's number
right before it, and at one more right after it. With 0 it lives, and prints the last number.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count

import structlog
from sqlalchemy import Connection, Engine, event

from signerd.adapters.store import upgrade_database
from signerd.adapters.store.boards import chips_of_records

_CHANGES = ("ALTER", "CREATE", "UPDATE", "INSERT", "DELETE")


def run(url: str, number: int) -> None:
    """The upgrade, up to the statement."""
    numbers = count(1)
    seen = 0

    def passed() -> None:
        nonlocal seen
        seen = next(numbers)
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "after_cursor_execute")
    def _executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith(_CHANGES):
            passed()

    @event.listens_for(Engine, "commit")
    def _committing(_connection: Connection) -> None:
        passed()

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    chips_of_records.BATCH = 2  # several batches, also of a few records
    upgrade_database(url)
    passed()
    sys.stdout.write(f"{seen}\n")


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
