"""Counts by station and day, gathered within a transaction and written at its end.

An entry adds to counts in memory. The counts in the database grow by them once a transaction, so that a day
of a station is one row, and not one write a board.
"""

from __future__ import annotations

import sqlite3

DAY = 86_400  # seconds
_COLUMNS = ("issued", "stamped", "revoked", "stamps")
MAX_COUNT = 2**53 - 1  # a count of an entry may be as large; the sum stays an integer of the database


class Tallies:
    """See the module."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._boards: dict[tuple[int, int, int, int], list[int]] = {}
        self._refusals: dict[tuple[int, int, int, int], int] = {}

    def add(self, station: int, at: int, order: int, kind: int, column: str) -> None:
        """One more. `station`, `order` and `kind` are words, `at` is seconds since 1970."""
        counts = self._boards.setdefault((station, at // DAY, order, kind), [0, 0, 0, 0])
        counts[_COLUMNS.index(column)] += 1

    def refuse(self, peer: int, at: int, order: int, code: int, count: int) -> None:
        """So many more refusals."""
        key = (peer, at // DAY, order, code)
        self._refusals[key] = min(self._refusals.get(key, 0) + count, MAX_COUNT)

    def write(self) -> None:
        """What is in memory, into the database: part of its transaction."""
        self._db.executemany(
            "INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " issued = issued + excluded.issued, stamped = stamped + excluded.stamped,"
            " revoked = revoked + excluded.revoked, stamps = stamps + excluded.stamps",
            [(*key, *counts) for key, counts in self._boards.items()],
        )
        self._db.executemany(
            "INSERT INTO refusals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"  # noqa: S608 (a constant)
            f" count = min(count + excluded.count, {MAX_COUNT})",
            [(*key, count) for key, count in self._refusals.items()],
        )
        self.forget()

    def forget(self) -> None:
        """What is in memory."""
        self._boards.clear()
        self._refusals.clear()
