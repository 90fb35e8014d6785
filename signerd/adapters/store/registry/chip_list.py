"""What administrators entered of chips: personalization, imported keys, lists. No secret is in it."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, select, union

from signerd.adapters.store.tables.rows import moment_of
from signerd.adapters.store.tables.schema import chips, identities, order_chips
from signerd.adapters.store.values import ChipPage, ImportedIdentity, KnownChip, Personalization

PAGE = 500  # chips: values in one IN (…), well below every database's bound on parameters

_c, _i, _o = chips.c, identities.c, order_chips.c


def list_chips(connection: Connection, *, after: str, chip_id: str | None) -> ChipPage:
    """`Administration.list_chips`."""
    columns = (_c.chip_id, _i.chip_id, _o.chip_id)
    if chip_id is not None:
        asked = union(*(select(column.label("chip_id")).where(column == chip_id) for column in columns))
    else:
        asked = union(*(select(column.label("chip_id")).where(column > after) for column in columns))
    found = connection.execute(asked.order_by("chip_id").limit(PAGE + 1)).scalars().all()
    names = found[:PAGE]
    personalized = {
        row.chip_id: Personalization(
            key=row.key,
            locked=row.locked,
            site=row.site,
            by=row.by or "",
            at=moment_of(row.personalized_at),
        )
        for row in connection.execute(select(chips).where(_c.chip_id.in_(names)))
    }
    imported: dict[str, list[ImportedIdentity]] = {}
    for row in connection.execute(select(identities).where(_i.chip_id.in_(names)).order_by(_i.id)):
        digest = hashlib.sha256(row.spki).digest()
        one = ImportedIdentity(
            row.product, row.method, row.key_id, digest, by=row.by, at=moment_of(row.imported_at)
        )
        imported.setdefault(row.chip_id, []).append(one)
    lists: dict[str, list[str]] = {}
    for row in connection.execute(select(order_chips).where(_o.chip_id.in_(names)).order_by(_o.work_order)):
        lists.setdefault(row.chip_id, []).append(row.work_order)
    return ChipPage(
        tuple(
            KnownChip(name, personalized.get(name), tuple(imported.get(name, ())), tuple(lists.get(name, ())))
            for name in names
        ),
        more=len(found) > PAGE,
    )
