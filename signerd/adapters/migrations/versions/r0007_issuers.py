"""Several issuers: a table of them, with the one of entry 0, and whose certificate each record is.

Revision ID: 0007
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table and a column; rewrites no row."""
    op.create_table(
        "issuers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("added_index", sa.BigInteger(), nullable=False),
        sa.Column("certificate_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("root_sha256", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("name", name="one_issuer_a_name"),
        sa.UniqueConstraint("certificate_sha256", name="one_issuer_a_certificate"),
    )
    active = sa.text("state = 'active'")
    op.create_index(
        "one_active_issuer_a_ca", "issuers", ["ca"], unique=True, sqlite_where=active, postgresql_where=active
    )
    op.add_column("records", sa.Column("issuer", sa.BigInteger(), nullable=False, server_default="1"))
    _enter_first(op.get_bind())


def _enter_first(connection: sa.Connection) -> None:
    """The issuer of the log's first entry, where there is a log."""
    row = connection.execute(sa.text("SELECT data FROM entries WHERE entry_index = 0")).one_or_none()
    if row is None:
        return
    opened = json.loads(row.data)
    connection.execute(
        sa.text(
            "INSERT INTO issuers (id, name, ca, state, added_index, certificate_sha256, root_sha256)"
            " VALUES (1, 'main', 'main', 'active', 0, :certificate, :root)"
        ),
        {
            "certificate": bytes.fromhex(opened["issuer_sha256"]),
            "root": bytes.fromhex(opened["root_sha256"]),
        },
    )
