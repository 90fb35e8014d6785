"""What follows from the first entries of the log, so that a start need not read them all.

Revision ID: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds an empty table: the next start reads the log whole, and fills it."""
    op.create_table(
        "kept_states",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start", sa.LargeBinary, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="one_kept_state"),
    )
