"""The registry's peers, for a command that runs beside signerd or without it."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.database import check_database, make_engine, start_fault
from signerd.adapters.store.listing import list_peers
from signerd.ports import PeerRecord


def registered_peers(url: str) -> list[PeerRecord]:
    """All of them, the revoked ones too.

    Raises:
        ConfigError: there is no database of this program's schema, or it cannot be read.
    """
    check_database(url)
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            return list_peers(connection, None)
    except SQLAlchemyError as error:
        raise start_fault("cannot read the database", error) from error
    finally:
        engine.dispose()
