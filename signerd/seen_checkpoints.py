"""Stations as witnesses: signerd does not go on behind what one of them saw, or beside it.

A station sends the newest checkpoint of its receipts with `OpenSession`. Whoever restored a backup together
with its second place, started a snapshot, or runs a clone, has a ledger that lacks what a station was shown:
it is found at that station's first call. Nothing that a station can make itself stops signerd: a checkpoint
counts by the log's own signature (`core/seen_checkpoint.py`), and all else is passed over.

A tile that cannot be read, or is wrong, refuses nobody: what a station saw is passed over for this call, and
looked at again at its next one. A checkpoint over more entries than are here needs no tile.

What it costs: a note that this process published is known by its bytes, as is the last one that each station
sent. Of any other, one signature a key is verified.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from signerd.core.checkpoint_keys import LogKeys
from signerd.core.note import Checkpoint, NoteError, VerifierKey
from signerd.core.seen_checkpoint import Standing, counting_keys, open_seen
from signerd.core.succession import origin_of
from signerd.errors import Code, Fault

_SAY_S = 60.0  # between two lines of what could not be compared, whichever stations it was of

_log = structlog.get_logger(__name__)


class PublishedLog(Protocol):
    """The ledger that is here."""

    @property
    def log_keys(self) -> LogKeys:
        """As of the last entry."""
        ...

    async def succession(self) -> bytes:
        """The newest succession of the log, for followers; empty: it has none."""
        ...

    def published_here(self, note: bytes) -> bool:
        """Whether this process published exactly this, not long ago."""
        ...

    async def standing(self, seen: Checkpoint) -> Standing:
        """What this checkpoint says of the tree that is committed. Raises Fault: a tile of it is wrong, or
        cannot be read in time."""
        ...

    async def demand_no_newer_head(self, seen: Checkpoint) -> None:
        """Raises Unavailable if the database holds a tree of that size by now, which is not read yet."""
        ...

    async def contradicted(self, note: bytes, fault: Fault) -> None:
        """Nothing is written, published or started again while the ledger is not the one of this note."""
        ...


class SeenCheckpoints:
    """What stations sent, beside this ledger."""

    def __init__(
        self,
        log: PublishedLog,
        named: Sequence[VerifierKey] = (),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`named`: the log's keys that the settings name. A copy of the database may not know them yet."""
        self._log = log
        self._seconds = seconds
        self._said_at = -_SAY_S
        self._unsaid = 0  # calls since then whose checkpoint could not be compared
        self._named = tuple(named)
        self._keys: LogKeys | None = None
        self._last: dict[
            str, bytes
        ] = {}  # by station: digest of what was looked at last; as many as stations
        self._passed_over: set[str] = set()  # stations of which it was said

    async def succession(self) -> bytes:
        """What stations are told of the log's successor; empty: it has none. Raises Fault."""
        return await self._log.succession()

    async def check(self, station: str, note: bytes) -> None:
        """Looks at what a station saw; empty: nothing.

        Raises:
            Fault: `ledger_differs`: this ledger is not the one that was signed. signerd is told to end.
            Unavailable: it may be another signerd's newer head.
        """
        if not note or self._log.published_here(note):
            return
        keys, digest = self._log.log_keys, hashlib.sha256(note).digest()
        if keys is not self._keys:  # what did not count may count now
            self._keys = keys
            self._last.clear()
        if self._last.get(station) == digest:
            return
        try:
            seen = open_seen(note, counting_keys(keys, self._named))
        except NoteError as error:
            self._pass_over(station, error)
        else:
            try:
                standing = await self._log.standing(seen)
            except Fault as error:  # of the tiles: says nothing of the ledger
                self._not_compared(station, seen, error)
                return
            await self._demand_held(station, seen, note, standing)
        self._last[station] = digest

    def _pass_over(self, station: str, error: NoteError) -> None:
        """Said once of a station: it can send another one with each call."""
        if station not in self._passed_over:
            self._passed_over.add(station)
            _log.warning("seen_checkpoint_passed_over", station=station, detail=str(error))

    def _not_compared(self, station: str, seen: Checkpoint, error: Fault) -> None:
        self._unsaid += 1
        now = self._seconds()
        if now - self._said_at >= _SAY_S:
            calls, self._unsaid, self._said_at = self._unsaid, 0, now
            _log.error(
                "seen_checkpoint_not_compared",
                station=station,
                size=seen.size,
                calls=calls,
                detail=error.detail,
                exc_info=error.__cause__,
            )

    async def _demand_held(self, station: str, seen: Checkpoint, note: bytes, standing: Standing) -> None:
        keys = self._log.log_keys
        if standing is Standing.AHEAD and seen.origin == origin_of(keys.origin, keys.number):
            await self._log.demand_no_newer_head(seen)
        if standing is Standing.HELD:
            return
        detail = (
            f"{station} saw a checkpoint over {seen.size} entries with root {seen.root.hex()}, signed by a"
            f" key of this log, and {_here(standing)}: a restored backup, a snapshot or a copy?"
            ' See docs/operations.md, "A backup was restored"'
        )
        fault = Fault(detail, code=Code.LEDGER_DIFFERS)
        await self._log.contradicted(note, fault)
        raise Fault(detail, code=Code.LEDGER_DIFFERS)


def _here(standing: Standing) -> str:
    if standing is Standing.AHEAD:
        return "the ledger here is shorter"
    return "the ledger here had another root at this size: a fork"
