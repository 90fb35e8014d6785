"""MACs of intents. Those of before have none, and are begun again.

Revision ID: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two columns; rewrites no row."""
    for name in ("intent_start", "intent_mac"):
        op.add_column("records", sa.Column(name, sa.LargeBinary()))
