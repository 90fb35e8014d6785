"""What Alembic runs: the migrations, on the connection it was given, in the caller's transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from signerd.adapters.store.tables.schema import metadata


def _run() -> None:
    connection: Connection = context.config.attributes["connection"]
    # SQLite's DDL is transactional; Alembic assumes otherwise because of the driver's old defaults.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    context.run_migrations()


_run()
