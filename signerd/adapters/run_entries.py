"""`RunEntries`: the ledger entries of this run of signerd, its start and its stop."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

import structlog

from signerd.adapters.store import SqlStore
from signerd.core.entry import ID_BYTES
from signerd.errors import Fault

_log = structlog.get_logger(__name__)


class RunEntries:
    """Guarantees one start, and a stop behind it only where signerd was asked to stop: who reads the ledger
    takes a start without one for a crash, or for a signerd that still runs."""

    def __init__(self, store: SqlStore, clock: Callable[[], datetime]) -> None:
        """`clock` gives the time of an entry, or raises ClockWrong."""
        self._store = store
        self._clock = clock
        self._run = secrets.token_bytes(ID_BYTES)
        self._started = False
        self._asked = False

    async def start(self) -> None:
        """Enters the start; once more does nothing. Raises Fault: it is not entered."""
        if not self._started:
            await self._store.enter_start(self._run, self._clock())
            self._started = True

    def asked_to_stop(self) -> None:
        """`stop` is to enter it."""
        self._asked = True

    async def stop(self) -> None:
        """Enters the stop that was asked for, as the last entry. A crash before it leaves a start without a
        stop; so does a store that cannot be written, which the log says."""
        if not (self._started and self._asked):
            return
        try:
            await self._store.enter_stop(self._run, self._clock())
        except Fault as error:
            _log.warning("stop_not_entered", detail=error.detail)
