"""What the registry says, for a command that runs beside signerd or without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.approving import in_force
from signerd.adapters.store.database import check_database, make_engine, start_fault
from signerd.adapters.store.listing import list_peers
from signerd.core.approval.administrators import AdministratorSet
from signerd.ports import PeerRecord

_Found = TypeVar("_Found")


def registered_peers(url: str) -> list[PeerRecord]:
    """All peers, the revoked ones too.

    Raises:
        ConfigError: there is no database of this program's schema, or it cannot be read.
    """
    return _read(url, lambda connection: list_peers(connection, None))


def asked_administrators(url: str) -> AdministratorSet:
    """Who is asked for approvals. Raises as `registered_peers`."""
    return _read(url, in_force)


def _read(url: str, read: Callable[[Connection], _Found]) -> _Found:
    check_database(url)
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            return read(connection)
    except SQLAlchemyError as error:
        raise start_fault("cannot read the database", error) from error
    finally:
        engine.dispose()
