"""The latest moment that a database knows of: below it no clock can be right."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, false, func, null, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.tables.database import make_engine, start_fault
from signerd.adapters.store.tables.rows import moment_of
from signerd.adapters.store.tables.schema import entries, records
from signerd.core.entry import ClockAccepted
from signerd.errors import ConfigError

_LOOKED_AT = 4_096  # newest entries; times go back by little, so the latest one is among them


def newest_moment(url: str) -> datetime | None:
    """The latest time of an entry since a clock was accepted last, or of an intent without a
    certificate that no entry lists.

    Raises:
        ConfigError: the database cannot be read, or holds an entry without a time.
    """
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            found = [moment for moment in (_of_entries(connection), _of_intents(connection)) if moment]
    except SQLAlchemyError as error:
        raise start_fault("cannot read the times of the ledger", error) from error
    except (ValueError, KeyError) as error:
        raise ConfigError(f"cannot read the times of the ledger: {error}") from error
    finally:
        engine.dispose()
    return max(found, default=None)


def _of_entries(connection: Connection) -> datetime | None:
    newest = None
    query = select(entries.c.data).order_by(entries.c.entry_index.desc()).limit(_LOOKED_AT)
    for data in connection.execute(query).scalars():
        entry = json.loads(data)
        moment = datetime.fromisoformat(entry["time"])
        newest = moment if newest is None else max(newest, moment)
        if entry["type"] == ClockAccepted.type:
            break
    return newest


def _of_intents(connection: Connection) -> datetime | None:
    # Those that an entry lists add nothing: the entry has a time of its own, and a clock that was accepted
    # since has left theirs behind.
    query = select(func.max(records.c.moment)).where(
        records.c.state == "intent", records.c.superseded == false(), records.c.open_index.is_(null())
    )
    latest = connection.execute(query).scalar()
    return None if latest is None else moment_of(latest)
