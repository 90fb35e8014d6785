"""A unit of work inside a transaction of several: undone whole, and alone, if it raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.worker import Outcome

C = TypeVar("C")  # what a unit of work is given
_BEGIN = Prepared(text("SAVEPOINT unit"))
_RELEASE = Prepared(text("RELEASE SAVEPOINT unit"))
_UNDO = Prepared(text("ROLLBACK TO SAVEPOINT unit"))


def attempt(connection: Connection, unit: Callable[[C], Any], given: C) -> Outcome:
    """What the unit returned, or why it failed: then nothing of what it wrote is left.

    Raises:
        SQLAlchemyError: of the savepoint itself: the transaction cannot go on.
    """
    _BEGIN.run(connection, {})
    try:
        value = unit(given)
    except Exception as error:  # noqa: BLE001 -- belongs to the caller, who waits in another thread
        _UNDO.run(connection, {})
        _RELEASE.run(connection, {})
        return None, translated(error) if isinstance(error, SQLAlchemyError) else error
    _RELEASE.run(connection, {})
    return value, None
