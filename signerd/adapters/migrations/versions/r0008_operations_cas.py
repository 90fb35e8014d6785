"""Operations CAs that came after the first, and of each peer the one that its certificate is of.

Of peers of before it is not known: it stays absent until they call.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table and a column; rewrites no row."""
    op.create_table(
        "operations_cas",
        sa.Column("sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("added_index", sa.BigInteger(), nullable=True),
        sa.Column("activated_index", sa.BigInteger(), nullable=True),
        sa.Column("retired_index", sa.BigInteger(), nullable=True),
    )
    op.add_column("peers", sa.Column("ca_sha256", sa.LargeBinary(), nullable=True))
