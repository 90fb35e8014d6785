"""`SqlStore`: `signerd.ports.Store` on SQLAlchemy Core, with the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Self

from signerd.adapters.store.admin import Administration
from signerd.adapters.store.audit import Audit
from signerd.core.entry import LogOpened, RefusedCall
from signerd.ports import CallContext, Grant, IntentRequest, LedgerPosition, PeerRecord, PreparedBytes, Record


class SqlStore(Administration, Audit):
    """All of signerd's durable state. `await SqlStore.open(...)`; `await store.close()`."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        head_file: Path,
        origin: str,
        vkey: str,
        sign_checkpoint: Callable[[bytes], Awaitable[bytes]],
        now: datetime,
    ) -> Self:
        """Raises: ConfigError: no database, not at head, or behind the second place."""
        raise NotImplementedError


def create_database(url: str) -> None:
    """Creates the database, empty, at the newest schema. Raises ConfigError if it exists."""
    raise NotImplementedError


def check_database(url: str) -> None:
    """Raises ConfigError unless the database exists and is at the newest schema."""
    raise NotImplementedError


def open_log(url: str, *, head_file: Path, entry: LogOpened) -> None:
    """Writes entry 0 and the second place's first mark. For `init`, after `create_database`."""
    raise NotImplementedError
