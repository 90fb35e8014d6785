"""Core statements that are compiled once and run on the driver's own cursor.

For the few statements that every board passes through. SQLAlchemy's execution costs some 25 µs a
statement, five times what SQLite needs to run it; issuance has a dozen of them. The statements stay
Core expressions, so each database gets its own SQL, and errors arrive as SQLAlchemy's, as everywhere.

Values go to the driver and come back as they are: a truth value may come back as 0 or 1. A row's values have
the names of its columns: what reads them does not depend on their order, and two of one name are an error.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import LABEL_STYLE_NONE, Connection, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ClauseElement


class Prepared:
    """One statement with named parameters. It may be shared by threads."""

    def __init__(self, statement: ClauseElement, columns: Sequence[str] | None = None) -> None:
        """`columns`: of an INSERT, those that get a value of the same name."""
        if isinstance(statement, Select):  # else SQLAlchemy gives the second of one name another one
            statement = statement.set_label_style(LABEL_STYLE_NONE)
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, tuple[str, list[str] | None, dict[str, Any]]] = {}
        self._row_of: Callable[[Sequence[Any]], Any] | None = None

    def row(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """The first row, a named tuple of its columns, or None."""
        cursor = self._execute(connection, values)
        row = cursor.fetchone()
        if row is not None:
            row = (self._row_of or self._learn(cursor))(row)
        cursor.close()
        return row

    def run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Writes."""
        self._execute(connection, values).close()

    def count(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """How many rows were written."""
        cursor = self._execute(connection, values)
        count: int = cursor.rowcount
        cursor.close()
        return count

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        dialect = connection.dialect
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = self._compile(connection)
        sql, order, fixed = known
        merged = {**fixed, **values} if fixed else values
        parameters = merged if order is None else [merged[name] for name in order]
        cursor = connection.connection.cursor()
        try:
            cursor.execute(sql, parameters)
        except dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(
                sql, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
            ) from error
        return cursor

    def _learn(self, cursor: Any) -> Callable[[Sequence[Any]], Any]:
        """The names of the columns, as the driver gives them: once a statement."""
        kind = namedtuple("Row", [column[0] for column in cursor.description])  # type: ignore[misc]  # noqa: PYI024
        self._row_of = kind._make
        return kind._make

    def _compile(self, connection: Connection) -> tuple[str, list[str] | None, dict[str, Any]]:
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=self._columns)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return str(compiled), compiled.positiontup, fixed  # type: ignore[attr-defined]
