"""MACs of commits, for the entries that no checkpoint covers yet, and how often the administration changed.

Entries of before have no MAC: `signerd database upgrade` demands that a checkpoint covers all of them.

Revision ID: 0012
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from signerd.core.state.administration import changes, may_change
from signerd.core.state.kinds import mentioned

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BATCH = 1_000


def upgrade() -> None:
    """Adds a table and a column; reads each entry once to count."""
    op.create_table(
        "commits",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
        ),
        sa.Column("size_after", sa.BigInteger(), nullable=False),
        sa.Column("start", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
    op.create_index("commits_by_size", "commits", ["size_after"])
    op.add_column("head", sa.Column("epoch", sa.BigInteger(), nullable=False, server_default="0"))
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE head SET epoch = :epoch"), {"epoch": _changes(connection)})


def _changes(connection: sa.Connection) -> int:
    found = 0
    with connection.execute(
        sa.text("SELECT data FROM entries ORDER BY entry_index"), execution_options={"yield_per": _BATCH}
    ) as rows:
        for data in rows.scalars():
            found += may_change(mentioned(data)) and changes(json.loads(data)["type"])
    return found
