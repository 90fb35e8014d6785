"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    op.create_table(
        "chips",
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("personalized_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chip_id"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "entries",
        sa.Column(
            "entry_index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entry_index"),
    )
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name="one_head"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "peers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("spki_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("spki_sha256", name="one_peer_a_key"),
    )
    op.create_index(
        "one_valid_peer_a_uri",
        "peers",
        ["uri"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_index("peers_by_uri", "peers", ["uri", "id"], unique=False)
    op.create_table(
        "products",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("toml", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sha256", name="one_revision_a_text"),
    )
    op.create_index("products_by_name", "products", ["name", "id"], unique=False)
    op.create_table(
        "serials",
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chip_id"),
        sa.UniqueConstraint("serial_number", name="one_chip_a_serial"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("work_order", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("product_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("places", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("serial_pattern", sa.Text(), nullable=False),
        sa.Column("serial_start", sa.BigInteger(), nullable=False),
        sa.Column("reissue", sa.Text(), nullable=False),
        sa.Column("opened_index", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("stations", sa.Text(), nullable=False),
        sa.Column("minimum_firmware", sa.Text(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("places >= 0 AND places <= quantity", name="places_within_quantity"),
        sa.ForeignKeyConstraint(
            ["product_sha256"],
            ["products.sha256"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("work_order", name="one_order_a_name"),
    )
    op.create_table(
        "order_chips",
        sa.Column("work_order", sa.Text(), nullable=False),
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["work_order"],
            ["orders.work_order"],
        ),
        sa.PrimaryKeyConstraint("work_order", "chip_id"),
    )
    op.create_table(
        "places",
        sa.Column("work_order", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chip_id"],
            ["serials.chip_id"],
        ),
        sa.ForeignKeyConstraint(
            ["work_order"],
            ["orders.work_order"],
        ),
        sa.PrimaryKeyConstraint("work_order", "number"),
        sa.UniqueConstraint("work_order", "chip_id", name="one_place_a_chip"),
    )
    op.create_table(
        "records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("work_order", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("chip_id", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("certificate_serial", sa.Text(), nullable=False),
        sa.Column("moment", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("supersedes_id", sa.BigInteger(), nullable=True),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("spki_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("certificate_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("issued_at", sa.BigInteger(), nullable=True),
        sa.Column("issued_index", sa.BigInteger(), nullable=True),
        sa.Column("stamped_at", sa.BigInteger(), nullable=True),
        sa.Column("stamped_index", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_index", sa.BigInteger(), nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.Column("open_index", sa.BigInteger(), nullable=True),
        sa.Column("claims", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("csr_der", sa.LargeBinary(), nullable=False),
        sa.Column("tbs", sa.LargeBinary(), nullable=False),
        sa.Column("certificate_der", sa.LargeBinary(), nullable=True),
        sa.Column("stamp", sa.LargeBinary(), nullable=True),
        sa.Column("stamp_signature", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["supersedes_id"],
            ["records.id"],
        ),
        sa.ForeignKeyConstraint(
            ["work_order", "number"], ["places.work_order", "places.number"], name="record_place"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("certificate_serial", name="one_record_a_certificate_serial"),
        sa.UniqueConstraint("certificate_sha256", name="one_record_a_certificate"),
        sa.UniqueConstraint("spki_sha256", name="one_record_a_key"),
    )
    op.create_index(
        "one_active_record_a_chip",
        "records",
        ["chip_id"],
        unique=True,
        sqlite_where=sa.text("superseded = 0"),
        postgresql_where=sa.text("superseded = false"),
    )
    op.create_index(
        "open_intents",
        "records",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'intent'"),
        postgresql_where=sa.text("state = 'intent'"),
    )
    op.create_index("records_by_chip", "records", ["chip_id", "id"], unique=False)
    op.create_index("records_by_order", "records", ["work_order", "id"], unique=False)
    op.create_index("records_by_serial", "records", ["serial_number", "id"], unique=False)
    op.create_index(
        "revoked_records",
        "records",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'revoked'"),
        postgresql_where=sa.text("state = 'revoked'"),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("session_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("csr_sha256", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["records.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("session_sha256", name="one_grant_a_session"),
    )
    op.create_index("grants_by_record", "grants", ["record_id", "id"], unique=False)
