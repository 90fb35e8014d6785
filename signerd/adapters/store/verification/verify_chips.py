"""Chips, places and anchors beside each other and beside records, for `signerd database verify`.

Records are compared with their entries apart from this. What is missing here would let a chip be certified
again, or a place be taken again. What is there too much keeps a chip or a place from being used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, false, func, not_, null, select

from signerd.adapters.store.boards.certified_chips import NAME
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.schema import anchors, certified_chips, grants, orders, places, records
from signerd.adapters.store.verification.findings import Found
from signerd.core.anchors import AnchorKind, from_text
from signerd.core.state.administration import State

_BATCH = 1_000  # rows at once
_a, _c, _g, _o, _p, _r = anchors.c, certified_chips.c, grants.c, orders.c, places.c, records.c

_CHIPS = (
    select(_c.id, _c.chip_id, _c.serial_number, _r.id.label("record"))
    .outerjoin(records, and_(_r.chip == _c.id, _r.superseded == false()))
    .order_by(_c.id)
)
_CHIPLESS = select(_r.id).where(not_(exists().where(_c.id == _r.chip)))
_PLACES = (
    select(_p.work_order, _p.number, _p.chip, _c.serial_number)
    .outerjoin(certified_chips, _c.id == _p.chip)
    .order_by(_p.work_order, _p.number)
)
_UNUSED = select(_p.work_order, _p.number, _p.chip).where(
    not_(exists().where(_r.chip == _p.chip, _r.work_order == _p.work_order, _r.number == _p.number))
)
_TAKEN = select(_p.work_order, func.count().label("count"), func.max(_p.number).label("highest")).group_by(
    _p.work_order
)
_ANCHORS = select(_a.kind, _a.issuer, _a.value, _a.chip).order_by(_a.kind, _a.issuer, _a.value)
_OF_CHIP = select(_r.chip_id, _r.anchors, _r.attester)
_FIRST = Prepared(_OF_CHIP.where(_r.chip == bindparam("chip")).order_by(_r.id).limit(1))
_MERGED = select(_c.id, _c.merged_into).where(_c.merged_into.is_not(null()))
_GRANTS = select(func.count()).select_from(grants)
_LOST_GRANTS = select(_g.id, _g.record_id).where(not_(exists().where(_r.id == _g.record_id)))

Compare = Callable[[Connection, State, Found], None]


def _chips(connection: Connection, _state: State, found: Found) -> None:
    """Each has exactly one record that counts: else it could be certified again."""
    for row in connection.execution_options(yield_per=_BATCH).execute(_CHIPS):
        found.counts[certified_chips.name] += 1
        if row.record is None:
            what = f"no record of board {row.serial_number} is in force: it could be certified again"
            found.add(certified_chips.name, f"chip {row.id} ({row.chip_id})", what, again=True)
    for record in connection.execute(_CHIPLESS).scalars():
        found.add(records.name, f"record {record}", "its chip is not there", again=True)


def _places(connection: Connection, state: State, found: Found) -> None:
    """Within the order's quantity, with a chip and a record."""
    for row in connection.execution_options(yield_per=_BATCH).execute(_PLACES):
        found.counts[places.name] += 1
        key = f"place {row.number} of {row.work_order}"
        terms = state.orders.get(row.work_order)
        if terms is None or not 1 <= row.number <= terms.quantity:
            index = None if terms is None else terms.index
            found.add(places.name, key, "the order has no such place", index)
        if row.serial_number is None:
            found.add(places.name, key, f"chip {row.chip} is not there", again=True)
    for unused in connection.execution_options(yield_per=_BATCH).execute(_UNUSED):
        what = f"no record of chip {unused.chip} has it"
        found.add(places.name, f"place {unused.number} of {unused.work_order}", what)


def _taken(connection: Connection, state: State, found: Found) -> None:
    """What an order counts is what is there."""
    taken = {row.work_order: row for row in connection.execute(_TAKEN)}
    for row in connection.execute(select(_o.work_order, _o.places)):
        there = taken.get(row.work_order)
        count, highest = (0, 0) if there is None else (there.count, there.highest)
        if row.places != highest:  # of a rebuilt database some below may be missing: those of open intents
            terms = state.orders.get(row.work_order)
            what = f"{row.places} places are taken, and {count} are there, up to {highest}"
            index = None if terms is None else terms.index
            found.add(orders.name, row.work_order, what, index, again=row.places < highest)


def _anchors(connection: Connection, _state: State, found: Found) -> None:
    """Rows that no record of their chip shows: of a chip that came again with the same key and showed more,
    or somebody's. No entry can tell. They certify nothing, and keep a chip from being taken for a new one."""
    merged: dict[int, list[int]] = {}
    for one in connection.execute(_MERGED):
        merged.setdefault(one.merged_into, []).append(one.id)
    for row in connection.execution_options(yield_per=_BATCH).execute(_ANCHORS):
        found.counts[anchors.name] += 1
        first = _FIRST.row(connection, {"chip": row.chip})  # most chips have no other
        if first is not None and _shows(first, row):
            continue
        chips = [row.chip, *merged.get(row.chip, ())]
        if not any(_shows(said, row) for said in connection.execute(_OF_CHIP.where(_r.chip.in_(chips)))):
            found.unproven["anchors that no record shows"] += 1


def _shows(said: Any, row: Any) -> bool:
    if row.kind == NAME:
        return bool(said.chip_id == row.value)
    try:
        if any((one.kind.value, one.issuer, one.value) == row[:3] for one in from_text(said.anchors)):
            return True
    except (ValueError, TypeError):  # a finding of the record's
        return True
    attester = said.attester
    return (
        row.kind == AnchorKind.KEY.value
        and isinstance(attester, bytes)
        and hashlib.sha256(attester).hexdigest() == row.value
    )


def _grants(connection: Connection, _state: State, found: Found) -> None:
    """Which session led to which record is in rows alone; a stamp needs the board's key all the same."""
    found.unproven["sessions of records (grants)"] += connection.execute(_GRANTS).scalar_one()
    for row in connection.execute(_LOST_GRANTS):
        found.add(grants.name, f"grant {row.id}", f"there is no record {row.record_id}")


STEPS: Mapping[str, Compare] = {
    certified_chips.name: _chips,
    places.name: _places,
    orders.name: _taken,
    anchors.name: _anchors,
    grants.name: _grants,
}
