"""Keys of the log that came after the first, with the indexes of their entries; the first once it is retired.

A log of before has one key, which has no row.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table; rewrites no row."""
    op.create_table(
        "checkpoint_keys",
        sa.Column("vkey", sa.Text(), primary_key=True),
        sa.Column("added_index", sa.BigInteger(), nullable=True),
        sa.Column("activated_index", sa.BigInteger(), nullable=True),
        sa.Column("retired_index", sa.BigInteger(), nullable=True),
    )
