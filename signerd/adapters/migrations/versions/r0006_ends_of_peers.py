"""Peers: when a certificate ends, and two keys of one peer for as long as both certificates are valid.

Of peers of before the end is not known: it stays absent until they are renewed.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two columns and makes an index anew; rewrites no row."""
    op.add_column("peers", sa.Column("not_after", sa.BigInteger(), nullable=True))
    op.add_column("peers", sa.Column("renewed_at", sa.BigInteger(), nullable=True))
    op.drop_index("one_valid_peer_a_uri", "peers")
    newest = sa.text("revoked_at IS NULL AND renewed_at IS NULL")
    op.create_index(
        "one_valid_peer_a_uri", "peers", ["uri"], unique=True, sqlite_where=newest, postgresql_where=newest
    )
