"""Which chips the records of a database of before are: read again from their evidence, in batches.

Schema 0003 knew a chip by its id alone. Here each record gets the anchors that its evidence proves, and chips
that share one are merged, as objects: `merged_into` names the one that they all are, whose board is the one
certified last, and what any of them showed is that one's. Records and places stay with the chip that they
were of, so that history is as it was and each certificate can still be stamped, found and revoked.

Each batch is one transaction. A crash before its commit leaves it undone, after it done; the next run goes on
at the first record that has no chip.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, and_, bindparam, false, func, or_, select, text, update

from signerd.adapters.store.boards.certified_chips import NAME
from signerd.adapters.store.tables.rows import AnyRow
from signerd.adapters.store.tables.schema import (
    anchors,
    certified_chips,
    identities,
    orders,
    products,
    records,
)
from signerd.core.anchors import to_text
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.stored import ShownChip, StoredEvidence, shown_by
from signerd.core.product import parse_product
from signerd.errors import Refused

BATCH = 500  # records in one transaction

_log = structlog.get_logger(__name__)
_a, _c, _r = anchors.c, certified_chips.c, records.c

_PENDING = _r.chip == 0
_NEXT = (
    select(
        _r.id,
        _r.chip_id,
        _r.method,
        _r.evidence,
        _r.attester,
        _r.superseded,
        products.c.toml,
        identities.c.key_id,
        _c.id.label("own"),
        _c.merged_into,
    )
    .join(certified_chips, _c.chip_id == _r.chip_id)
    .outerjoin(orders, orders.c.work_order == _r.work_order)
    .outerjoin(products, products.c.sha256 == orders.c.product_sha256)
    .outerjoin(
        identities,
        and_(
            identities.c.product == _r.product,
            identities.c.method == _r.method,
            identities.c.chip_id == _r.chip_id,
        ),
    )
    .where(_PENDING, _r.id > bindparam("after"))
    .order_by(_r.id)
    .limit(bindparam("batch"))
)
_PENDING_COUNT = select(func.count()).select_from(records).where(_PENDING)
_OF_CHIP = (
    update(records)
    .where(_r.id == bindparam("record"))
    .values(chip=bindparam("own"), anchors=bindparam("shown"))
)
# SQLAlchemy has ON CONFLICT in the dialects alone.
_ADD_ANCHOR = text(
    "INSERT INTO anchors (kind, issuer, value, chip) VALUES (:kind, :issuer, :value, :chip)"
    " ON CONFLICT (kind, issuer, value) DO NOTHING"
)


def pending(connection: Connection) -> int:
    """How many records have no chip yet."""
    return int(connection.execute(_PENDING_COUNT).scalar_one())


def read_batch(connection: Connection, after: int) -> tuple[int, int]:
    """Gives the next records after this one their chips, in the caller's transaction.

    Returns:
        How many; 0: none is left. And the last one.
    """
    found = connection.execute(_NEXT, {"after": after, "batch": BATCH}).all()
    merged: dict[int, int] = {}
    for row in found:
        shown = _shown(row)
        connection.execute(_OF_CHIP, {"record": row.id, "own": row.own, "shown": to_text(shown.anchors)})
        rows = [(one.kind.value, one.issuer, one.value) for one in shown.anchors]
        if not shown.name_is_label:
            rows.append((NAME, "", row.chip_id))
        root = merged.get(row.own, row.merged_into or row.own)
        chip = _one_chip(connection, _owners(connection, rows) | {root}, merged)
        values = [
            {"kind": kind, "issuer": issuer, "value": value, "chip": chip} for kind, issuer, value in rows
        ]
        if values:
            connection.execute(_ADD_ANCHOR, values)
    return len(found), found[-1].id if found else after


def _shown(row: AnyRow) -> ShownChip:
    try:
        return shown_by(
            StoredEvidence(
                method=row.method,
                evidence=row.evidence,
                chip_id=row.chip_id,
                attester=row.attester or b"",
                key_id=row.key_id,
                rules=lambda: parse_product(row.toml or "").evidence,
            )
        )
    except (EvidenceError, Refused) as error:
        # Its name still tells the chip, as it did before.
        _log.warning("evidence_not_read", record=row.id, chip_id=row.chip_id, reason=str(error))
        return ShownChip(())


def _owners(connection: Connection, rows: Sequence[tuple[str, str, str]]) -> set[int]:
    wanted = [and_(_a.kind == kind, _a.issuer == issuer, _a.value == value) for kind, issuer, value in rows]
    return set(connection.execute(select(_a.chip).where(or_(*wanted))).scalars()) if wanted else set()


def _one_chip(connection: Connection, chips: set[int], merged: dict[int, int]) -> int:
    """The chip that these are: of several, the one that was certified last."""
    if len(chips) == 1:
        return chips.pop()
    active = and_(_r.chip_id == _c.chip_id, _r.superseded == false())
    newest = select(_c.id).join(records, active).where(_c.id.in_(chips)).order_by(_r.id.desc()).limit(1)
    chip = int(connection.execute(newest).scalar_one())
    others = chips - {chip}
    connection.execute(update(anchors).where(_a.chip.in_(others)).values(chip=chip))
    gone = update(certified_chips).where(or_(_c.id.in_(others), _c.merged_into.in_(others)))
    gone = gone.values(merged_into=chip).returning(_c.id, _c.chip_id, _c.serial_number)
    for row in connection.execute(gone).all():
        merged[row.id] = chip
        _log.warning("chips_are_one", chip_id=row.chip_id, board=row.serial_number)
    return chip
