"""Approvals: who is to approve, and which approvals were used. An installation of before asks nobody.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two empty tables."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "administrator_sets",
        sa.Column("entry_index", number, primary_key=True, autoincrement=False),
        sa.Column("threshold", sa.Integer(), nullable=False),
        sa.Column("administrators", sa.Text(), nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request", "part", name="one_use_an_approval"),
    )
