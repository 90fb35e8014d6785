"""A state of an earlier version: its last checkpoint, its findings and what was said of them are brought
over, and all else is read anew.

Versions 3 to 5 kept a copy of each entry, and rows that this version has not. Version 6 had no tables for
questions, and no copy of the entries that they are made from. What these verified is soon verified again.
What no later run can find out is kept: which checkpoint the log showed then, for it must still pass through
that one, and what was found.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from auditor.adapters.schema import SCHEMA, VERSION
from auditor.core.proofs import translated
from auditor.errors import ConfigError
from birthmark.proof import Frontier

BROUGHT_OVER = (3, 4, 5, 6)
_WITH_WORDS = 6  # the first version that has acknowledgements, and checkpoints as JSON


def brought_over(path: Path) -> None:
    """Puts a state of this version in the place of an earlier one, if it is that.

    Raises:
        ConfigError: it is of a version that is not brought over.
        sqlite3.Error, OSError, ValueError, KeyError, Malformed: it cannot be read.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)  # of a start that was broken off before the last line
    if not path.exists():
        return
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as old:
        (version,) = old.execute("PRAGMA user_version").fetchone()
        if version in {0, VERSION}:
            return
        if version not in BROUGHT_OVER:
            raise ConfigError(
                f"the state is of version {version}, and this auditor reads {VERSION}: verify anew in another"
                " directory"
            )
        old.execute("PRAGMA journal_mode = DELETE")  # all of it in this one file
        passing = _checkpoint(old) if version < _WITH_WORDS else _passing(old)
        rows = [("secret", os.urandom(16)), *([] if passing is None else [("passing", passing)])]
        findings = old.execute(
            "SELECT id, code, detail, idx, serial_number, expected, found, found_at, 0 FROM findings"
        ).fetchall()
        said = []
        if version >= _WITH_WORDS:
            said = old.execute(
                "SELECT finding, statement, signature, at, id FROM acknowledgements"
            ).fetchall()
    _write(new, rows, findings, said)
    # A crash before this line leaves the earlier state as it was; after it, the new one.
    new.replace(path)


def _checkpoint(old: sqlite3.Connection) -> bytes | None:
    meta = dict(old.execute("SELECT key, value FROM meta WHERE key IN ('checkpoint', 'head')"))
    if "checkpoint" not in meta:
        return None
    head = json.loads(meta["head"])
    with translated():
        root = Frontier(head["size"], [bytes.fromhex(item) for item in head["frontier"]]).root()
    value = {"size": head["size"], "root": root.hex(), "note": bytes(meta["checkpoint"]).decode()}
    return json.dumps(value).encode()


def _passing(old: sqlite3.Connection) -> bytes | None:
    """The checkpoint that the log had still to pass through, else the last one: as these versions keep it."""
    meta = dict(old.execute("SELECT key, value FROM meta WHERE key IN ('checkpoint', 'passing')"))
    found: bytes | None = meta.get("passing", meta.get("checkpoint"))
    return found


def _write(
    path: Path,
    rows: list[tuple[str, bytes]],
    findings: list[tuple[Any, ...]],
    said: list[tuple[Any, ...]],
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as new:
        new.execute("PRAGMA synchronous = FULL")
        new.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION};")
        new.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        new.executemany("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", findings)
        new.executemany("INSERT INTO acknowledgements VALUES (?, ?, ?, ?, ?)", said)
        new.execute("COMMIT")
