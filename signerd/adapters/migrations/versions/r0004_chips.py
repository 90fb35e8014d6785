"""Chips as objects, and the places that they took.

Each chip id of before becomes a chip. What its records prove of it, and which of them are one chip, is read
from their evidence after this migration and before the next one (`store.boards.chips_of_records`).

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables, two columns, and places that point to chips."""
    op.create_table(
        "certified_chips",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("merged_into", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["merged_into"], ["certified_chips.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("serial_number", name="one_chip_a_board"),
    )
    op.create_table(
        "anchors",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("chip", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["chip"], ["certified_chips.id"]),
        sa.PrimaryKeyConstraint("kind", "issuer", "value", name="one_chip_an_anchor"),
        sqlite_with_rowid=False,
    )
    op.create_index("anchors_by_chip", "anchors", ["chip"], unique=False)  # until 0005: chips may merge
    op.create_index(
        "certified_chips_by_name", "certified_chips", ["chip_id"], unique=False
    )  # and so does this
    op.execute(
        "INSERT INTO certified_chips (chip_id, serial_number) SELECT chip_id, serial_number FROM serials"
        " ORDER BY (SELECT min(id) FROM records WHERE records.chip_id = serials.chip_id)"
    )
    op.add_column("places", sa.Column("chip", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.execute(
        "UPDATE places SET chip ="
        " (SELECT id FROM certified_chips WHERE certified_chips.chip_id = places.chip_id)"
    )
    with op.batch_alter_table("places") as places:  # SQLite: written anew
        places.alter_column("chip", existing_type=sa.BigInteger(), nullable=False)
        places.drop_constraint("one_place_a_chip", type_="unique")
        places.drop_column("chip_id")
        places.create_foreign_key("place_of_a_chip", "certified_chips", ["chip"], ["id"])
        places.create_unique_constraint("one_place_a_chip", ["work_order", "chip"])
    op.drop_table("serials")
    op.add_column("records", sa.Column("chip", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("records", sa.Column("anchors", sa.Text(), nullable=False, server_default="[]"))
