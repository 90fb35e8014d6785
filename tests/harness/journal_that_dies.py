"""Opens a journal for writing and dies of SIGKILL right before one of its statements. Run as a process:

python -m harness.journal_that_dies PATH NUMBER

NUMBER counts statements from 1. With 0 it lives, and prints how many there were.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from functools import partial
from pathlib import Path

from agent.adapters.journal import schema as journal_schema


class Counting(sqlite3.Connection):
    """Counts what it executes."""

    seen = 0
    deadly = 0

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        Counting.seen += 1
        if Counting.seen == Counting.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(sql, parameters)  # type: ignore[arg-type]


def run(path: Path, number: int) -> None:
    """Opens it, up to the statement."""
    Counting.deadly = number
    sqlite3.connect = partial(sqlite3.connect, factory=Counting)  # type: ignore[assignment]
    journal_schema.open_for_writing(path).close()
    sys.stdout.write(f"{Counting.seen}\n")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
