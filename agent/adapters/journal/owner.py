"""Whose journal it is: the station's under whose name the first board in it was begun.

The name is the URI of the station's certificate. A renewed certificate has it, and so has a new key, or
another PC in this one's place. A journal without a board is nobody's yet, and so is one of before until the
next board.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agent.adapters.journal.schema import has_owner, journal_fault, open_for_reading
from agent.core.plain_text import plain
from agent.errors import JournalUnusable

_CLAIM = "INSERT INTO station (uri, since) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM station)"
_WAITING = "SELECT count(*) FROM outbox WHERE answered_at IS NULL"
_SHOWN = 400  # characters of a name that this program did not write
_ELSEWHERE = (
    "Give this station a folder of its own: `state` in agent.toml. birthmark-agent enroll --install makes a"
    " journal there. Keep this one: only the station that wrote it can send the stamps in it."
)


def claim(connection: sqlite3.Connection, path: Path, station: str, now: str) -> None:
    """The journal is this station's from now on, or was. In the transaction in which a board begins.

    Raises:
        JournalUnusable: it is another's.
    """
    connection.execute(_CLAIM, (station, now))
    _compare(connection, path, station)


def check_owner(path: Path, station: str) -> None:
    """Raises JournalUnusable where another station wrote it; ConfigError, JournalError as a reader does."""
    connection = open_for_reading(path)
    try:
        if has_owner(connection):
            _compare(connection, path, station)
    except sqlite3.Error as error:
        raise journal_fault(path, "read", error) from error
    finally:
        connection.close()


def _compare(connection: sqlite3.Connection, path: Path, station: str) -> None:
    row = connection.execute("SELECT uri FROM station").fetchone()
    if row is None or row[0] == station:
        return
    (waiting,) = connection.execute(_WAITING).fetchone()
    stamps = f", and {waiting} of its stamps wait" if waiting else ""
    detail = f"{path} is the journal of {plain(str(row[0]))[:_SHOWN]}{stamps}; this station is {station}"
    raise JournalUnusable(detail, remedy=_ELSEWHERE)
