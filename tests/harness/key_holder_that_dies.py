"""The real `signerd key-holder …`, which kills itself with SIGKILL at a named point of its work.

    PYTHONPATH=tests python -m harness.key_holder_that_dies CONTROL key-holder run --config FILE

As `harness.signerd_that_dies`: while the file CONTROL holds the name of a point, the next call that reaches
it ends the process. `commit 2` is before the second COMMIT of the notes from then on, `close 2` after it,
with their write-ahead log still beside them.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

from harness.signerd_that_dies import deadly, die_if
from signerd.__main__ import main
from signerd.adapters import installed_files
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.adapters.keyholder.service import notes, taking_over

RUNNING: dict[str, tuple[Any, str]] = {
    "note": (notes.Notes, "note"),
    "sign": (KeyHolderPool, "sign_certificate"),
}
TAKING_OVER: dict[str, tuple[Any, str]] = {
    "settings": (installed_files, "replace"),
    "notes": (notes, "create_notes"),
    "filling": (taking_over, "_fill"),
    "giving": (taking_over, "_give"),
    "switch": (taking_over, "_switch"),
}
NOTES = "notes.sqlite"
COMMAND = (sys.executable, "-m", "harness.key_holder_that_dies")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def arm(control: Path) -> None:
    """Puts the points around the functions."""
    for name, (owner, attribute) in {**RUNNING, **TAKING_OVER}.items():
        setattr(owner, attribute, deadly(getattr(owner, attribute), [name], control))
    counted: Counter[str] = Counter()

    def reached(point: str) -> None:
        if control.exists() and control.read_text("ascii").startswith(point):
            counted[point] += 1
            die_if(control, f"{point} {counted[point]}")

    def committing(connection: Connection) -> None:
        if str(connection.engine.url).endswith(NOTES):
            reached("commit")

    def closing(driver: sqlite3.Connection, _record: object) -> None:
        if driver.execute("PRAGMA database_list").fetchone()[2].endswith(NOTES):
            reached("close")

    event.listen(Engine, "commit", committing)
    event.listen(Pool, "close", closing)


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.argv = ["signerd", *sys.argv[2:]]
    main()
