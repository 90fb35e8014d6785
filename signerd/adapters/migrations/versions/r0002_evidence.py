"""What evidence measured, who attested it, whose those attestation keys are, and imported ones.

Records of before have measured nothing and no attestation key; chips of before were personalized for
hmac-sha256, the one method of that time that rests on a secret, and nobody noted by whom.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns, none of which rewrites a table, and two tables."""
    op.add_column("records", sa.Column("measured", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("records", sa.Column("attester", sa.LargeBinary(), nullable=True))
    op.add_column("records", sa.Column("shared_prime_index", sa.BigInteger(), nullable=True))
    op.add_column("chips", sa.Column("key", sa.Text(), nullable=False, server_default="hmac-sha256"))
    op.add_column("chips", sa.Column("by", sa.Text(), nullable=True))
    op.create_table(
        "identities",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("imported_at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("product", "method", "chip_id", name="one_identity_a_chip"),
        sa.UniqueConstraint("product", "method", "key_id", name="one_identity_a_key_id"),
        sa.UniqueConstraint("spki", "product", "method", name="one_identity_a_key"),
    )
    op.create_table(
        "attesters",
        sa.Column("spki_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("spki_sha256", name="one_chip_an_attester"),
    )
