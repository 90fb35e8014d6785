"""An index of the records that are issued and not stamped: an auditor's and an administrator's list of them.

Revision ID: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds an index; rewrites no row."""
    issued = sa.text("state = 'issued'")
    op.create_index("issued_records", "records", ["id"], sqlite_where=issued, postgresql_where=issued)
