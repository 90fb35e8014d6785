"""Peers that ask for their renewal: whether an administrator approves it, and what waits.

Peers of before are renewed by approval.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table and a column; rewrites no row."""
    op.create_table(
        "renewals",
        sa.Column("spki_sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
    )
    op.add_column("peers", sa.Column("automatic", sa.Boolean(), nullable=False, server_default=sa.false()))
