"""What the registry says, for a command that runs beside signerd or without it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.listing import peers_of
from signerd.adapters.store.state.covered import covered_state
from signerd.adapters.store.tables.database import make_engine, start_fault
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.note import VerifierKey
from signerd.core.state.administration import State
from signerd.ports import PeerRecord


class Registered:
    """Peers and administrators, as the ledger has them up to its last signed checkpoint. It is read once,
    when it is asked first; some seconds where it has millions of entries."""

    def __init__(self, url: str, head_file: Path, first: Callable[[], VerifierKey]) -> None:
        """`first`: the log's first key, of the settings."""
        self._url = url
        self._state: Callable[[], State] = cache(lambda: covered_state(url, head_file, first()))

    def peers(self) -> list[PeerRecord]:
        """All of them, the revoked ones too. The end of a peer's certificate and its CA are the rows'.

        Raises:
            ConfigError: there is no database of this program's schema, it or the second place cannot be read,
                or the entries are not those that were signed.
        """
        state = self._state()
        engine = make_engine(self._url, "read")
        try:
            with engine.begin() as connection:
                return peers_of(connection, state)
        except SQLAlchemyError as error:
            raise start_fault("cannot read the database", error) from error
        finally:
            engine.dispose()

    def administrators(self) -> AdministratorSet:
        """Who is asked for approvals. Raises as `peers`."""
        return self._state().administrators
