"""The firmware bundle that a work order names. Orders of before name none.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns, none of which rewrites a table."""
    op.add_column("orders", sa.Column("bundle_sha256", sa.LargeBinary(), nullable=True))
    op.add_column("orders", sa.Column("firmware", sa.Text(), nullable=True))
