"""Chips that administrators entered by lists, beside the ledger's digests of these lists.

A row of `chips`, `order_chips` or `identities` has the index of the entry that it came with. Before the first
row of an entry is used, all its rows are read, and have to give what the entry says: count, digest, and what
it says of all of them. Their hashes are kept, so that a row which is added or altered later is found too.

A row that is taken away later is not missed here: signerd does not know that chip, and refuses it.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Select, func, select

from signerd.adapters.store.state.compared import Differs, differs
from signerd.adapters.store.tables.schema import chips, identities, order_chips
from signerd.core.entry import chip_line, digest_lines, identity_line
from signerd.core.state.administration import State
from signerd.core.state.values import NamedList

_MAX_KEPT = 4_000_000  # rows whose hashes are kept: 32 MB
_BATCH = 10_000  # rows at once
_HASH = 8  # bytes of a row's hash; it is keyed, so that nobody finds a row of the same hash
_c, _i, _o = chips.c, identities.c, order_chips.c


@dataclass(frozen=True, slots=True)
class _Kind:
    """One table of rows that come with entries."""

    table: str
    lists: Callable[[State], Sequence[NamedList]]
    rows: Select[Any]  # those of `entry`
    line: Callable[[Any], str]  # what the digest is over
    of: Callable[[Any], tuple[str, ...]]  # what the entry says of all rows
    locked: Callable[[Any], bool] = lambda _row: False


_PERSONALIZED = _Kind(
    chips.name,
    attrgetter("personalized"),
    select(_c.entry, _c.chip_id, _c.key, _c.site, _c.by, _c.locked),
    lambda row: chip_line(row.chip_id),
    lambda row: (row.key, row.site, row.by or ""),
    lambda row: bool(row.locked),
)
_LISTED = _Kind(
    order_chips.name,
    attrgetter("lists"),
    select(_o.entry, _o.chip_id, _o.work_order),
    lambda row: chip_line(row.chip_id),
    lambda row: (row.work_order,),
)
_IMPORTED = _Kind(
    identities.name,
    attrgetter("identities"),
    select(_i.entry, _i.chip_id, _i.key_id, _i.spki, _i.product, _i.method),
    lambda row: identity_line(row.chip_id, row.key_id, hashlib.sha256(row.spki).digest()),
    lambda row: (row.product, row.method),
)


class ProvenLists:
    """The hashes of rows that were compared with their entry. Any thread may ask."""

    def __init__(self, *, max_kept: int = _MAX_KEPT) -> None:
        """`max_kept`: rows. Beyond it the list that was read first is read again when it is used."""
        self._key = secrets.token_bytes(16)
        self._max_kept = max_kept
        self._proven: dict[NamedList, array[int]] = {}
        self._changing = threading.Lock()

    def demand_personalized(
        self, connection: Connection, state: State, chip_id: str, entry: object, *, locked: bool
    ) -> None:
        """A row of `chips` that is about to be used is one of its entry's.

        Raises:
            Fault: it is not, or the rows of its entry are not what the entry says.
        """
        said = self._demand(connection, state, _PERSONALIZED, chip_id, entry, chip_line(chip_id))
        if said.locked is not locked:
            raise differs(_PERSONALIZED.table, f"chip {chip_id}", said.index, "locked is another")

    def demand_listed(
        self, connection: Connection, state: State, work_order: str, chip_id: str, entry: object
    ) -> None:
        """The same of `order_chips`."""
        said = self._demand(connection, state, _LISTED, chip_id, entry, chip_line(chip_id))
        if said.of != (work_order,):
            raise differs(_LISTED.table, f"chip {chip_id}", said.index, f"it is in the list of {work_order}")

    def demand_imported(
        self, connection: Connection, state: State, list_of: tuple[str, str], chip_id: str, row: Any
    ) -> None:
        """The same of `identities`. `list_of`: product and method; `row` has `entry`, `chip_id`, `key_id`
        and `spki`."""
        line = _line(_IMPORTED, row)
        said = self._demand(connection, state, _IMPORTED, chip_id, row.entry, line)
        if said.of != list_of:
            raise differs(_IMPORTED.table, f"chip {chip_id}", said.index, "it is of another list")

    def _demand(
        self, connection: Connection, state: State, kind: _Kind, chip_id: str, entry: object, line: str
    ) -> NamedList:
        said = _said(kind.lists(state), entry)
        if said is None:
            raise differs(kind.table, f"chip {chip_id}", None, "there is a row")
        proven = self._proven.get(said)
        if proven is None:
            proven = _read(connection, kind, said, self._hash)
            self._keep(said, proven)
        wanted = self._hash(line)
        place = bisect_left(proven, wanted)
        if place == len(proven) or proven[place] != wanted:
            raise differs(kind.table, f"chip {chip_id}", said.index, "it is added or altered")
        return said

    def _hash(self, line: str) -> int:
        return int.from_bytes(
            hashlib.blake2b(line.encode(), key=self._key, digest_size=_HASH).digest(), "big"
        )

    def _keep(self, said: NamedList, proven: array[int]) -> None:
        with self._changing:
            self._proven[said] = proven
            while len(self._proven) > 1 and sum(map(len, self._proven.values())) > self._max_kept:
                del self._proven[next(iter(self._proven))]


def compare_lists(connection: Connection, state: State) -> Iterator[Differs | None]:
    """All rows of each entry with a list, one entry after the other: in what they differ, or None. Then rows
    that are of no such entry."""
    for kind in (_PERSONALIZED, _LISTED, _IMPORTED):
        lists = kind.lists(state)
        for said in lists:
            try:
                _read(connection, kind, said, lambda _line: 0)
                yield None
            except Differs as error:
                yield error
        known = {said.index for said in lists}
        entry = kind.rows.selected_columns.entry
        counted = select(entry, func.count()).select_from(kind.rows.get_final_froms()[0]).group_by(entry)
        for index, count in connection.execute(counted):
            if index not in known:
                yield differs(kind.table, f"{count} rows with entry {index}", None, "they are there")


def _said(lists: Sequence[NamedList], index: object) -> NamedList | None:
    """What the entry of this index says, if it is one of these, which are in order."""
    if not isinstance(index, int):  # null: the upgrade could not tell whose row it is
        return None
    place = bisect_left(lists, index, key=attrgetter("index"))
    return lists[place] if place < len(lists) and lists[place].index == index else None


def _read(connection: Connection, kind: _Kind, said: NamedList, hashed: Callable[[str], int]) -> array[int]:
    """All rows of an entry. Raises Fault: they are not what it says."""
    lines: list[str] = []
    asked = kind.rows.where(kind.rows.selected_columns.entry == said.index).limit(said.count + 1)
    with connection.execution_options(yield_per=_BATCH).execute(asked) as rows:
        for row in rows:
            if kind.of(row) != said.of or kind.locked(row) is not said.locked:
                raise differs(kind.table, f"chip {row.chip_id}", said.index, "it is another")
            lines.append(_line(kind, row))
    if len(lines) != said.count or digest_lines(lines) != said.sha256:
        what = "chips are missing, added or altered"
        raise differs(kind.table, f"rows of entry {said.index}", said.index, what)
    return array("Q", sorted(map(hashed, lines)))


def _line(kind: _Kind, row: Any) -> str:
    try:
        return kind.line(row)
    except (TypeError, ValueError, AttributeError) as error:
        what = f"it is damaged ({error})"
        raise differs(kind.table, f"chip {row.chip_id}", row.entry, what) from error
