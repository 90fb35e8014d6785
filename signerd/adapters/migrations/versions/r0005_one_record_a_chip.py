"""One active record a chip, whatever its name. Attestation keys stand among the anchors.

Every record has its chip before this runs (`store.boards.chips_of_records`).

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Changes indexes and drops a table; rewrites none."""
    without = op.get_bind().execute(sa.text("SELECT count(*) FROM records WHERE chip = 0")).scalar_one()
    if without:
        raise RuntimeError(f"{without} records have no chip yet: their evidence is to be read first")
    op.drop_index("one_active_record_a_chip", "records")
    op.create_index(
        "one_active_record_a_chip",
        "records",
        ["chip"],
        unique=True,
        sqlite_where=sa.text("superseded = 0"),
        postgresql_where=sa.text("superseded = false"),
    )
    op.create_index("records_by_certified_chip", "records", ["chip", "id"], unique=False)
    postgresql = op.get_bind().dialect.name == "postgresql"
    value = "encode(spki_sha256, 'hex')" if postgresql else "lower(hex(spki_sha256))"
    op.execute(
        "INSERT INTO anchors (kind, issuer, value, chip)"  # noqa: S608 (constants)
        f" SELECT 'key', '', {value}, coalesce(merged_into, id) FROM attesters"
        " JOIN certified_chips ON certified_chips.chip_id = attesters.chip_id"
        " WHERE true ON CONFLICT (kind, issuer, value) DO NOTHING"
    )
    op.drop_index("anchors_by_chip", "anchors")
    op.drop_index("certified_chips_by_name", "certified_chips")
    op.drop_table("attesters")
