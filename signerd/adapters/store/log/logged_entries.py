"""Entries as they were logged: what the database has is held against the tree before anybody is given it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.listing import read_entries
from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.database import make_engine
from signerd.core.merkle import Tree, leaf_hash
from signerd.errors import Fault

_RECENT = 4_096  # entries kept in memory


def altered(tree: Tree, start: int, found: Sequence[bytes]) -> int | None:
    """The index of the first of these entries, from index `start`, that is not the one in the tree."""
    for index, data in enumerate(found, start):
        if leaf_hash(data) != tree.leaf(index):
            return index
    return None


def altered_fault(index: int) -> Fault:
    """For our log; whoever asked is told that it is our fault, and nothing of the entry."""
    return Fault(
        f"entry {index} in the database is not the one that was logged: somebody altered it, or the disk is"
        ' damaged. See docs/operations.md, "An entry was altered"'
    )


def missing_fault(start: int, end: int) -> Fault:
    """As `altered_fault`."""
    return Fault(
        f"the database lacks ledger entries between {start} and {end}: see docs/operations.md,"
        ' "An entry was altered"'
    )


class RecentEntries:
    """The last entries that were committed, for the receipts and tiles that want them at once."""

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}

    def add(self, start: int, added: Sequence[bytes]) -> None:
        """Entries that are committed now, from index `start`."""
        self._entries.update(enumerate(added, start))
        while len(self._entries) > _RECENT:
            del self._entries[next(iter(self._entries))]

    def get(self, index: int) -> bytes | None:
        """The entry, if it is one of the last. Any thread may ask."""
        return self._entries.get(index)

    def forget(self) -> None:
        """From now on all are read from the database."""
        self._entries.clear()


class LoggedEntries:
    """Reads entries in whatever thread asks, with a connection of its own."""

    def __init__(self, url: str, tree: Tree, recent: Callable[[int], bytes | None]) -> None:
        """`recent` gives an entry if it is one of the last, as they were committed."""
        self._engine = make_engine(url, "read")
        self._tree = tree
        self._recent = recent

    def one(self, index: int) -> bytes:
        """The entry of this index. Raises as `read`."""
        return self.read(index, index + 1)[0]

    def read(self, start: int, end: int) -> list[bytes]:
        """Entries start…end. Raises Fault, Unavailable."""
        recent = [entry for index in range(start, end) if (entry := self._recent(index)) is not None]
        if len(recent) == end - start:
            return recent
        try:
            with self._engine.begin() as connection:
                found = list(read_entries(connection, start, end))
        except SQLAlchemyError as error:
            raise translated(error) from error
        if len(found) != end - start:
            raise missing_fault(start, end)
        wrong = altered(self._tree, start, found)
        if wrong is not None:
            raise altered_fault(wrong)
        return found
