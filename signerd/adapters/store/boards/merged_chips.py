"""Chips of before that proved to be one (`chips_of_records`): named by the upgrade, and at each start as long
as the certificate of the board too many is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, false, null, select

from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import certified_chips, records

_c, _r = certified_chips.c, records.c
_SAME = certified_chips.alias()
_ALL = (
    select(
        _c.chip_id,
        _c.serial_number,
        _SAME.c.chip_id.label("same_as"),
        _SAME.c.serial_number.label("same_serial_number"),
    )
    .join(_SAME, _SAME.c.id == _c.merged_into)
    .where(_c.merged_into.is_not(null()))
    .order_by(_c.id)
)
_UNSETTLED = _ALL.join(
    records, and_(_r.chip == _c.id, _r.superseded == false(), _r.state.in_(["issued", "stamped"]))
)


@dataclass(frozen=True, slots=True)
class MergedChip:
    """A chip of before that proved to be another one."""

    chip_id: str
    serial_number: str
    same_as: str  # a name of the chip that both are
    same_serial_number: str  # its board's

    def __str__(self) -> str:
        return (
            f"chip {self.chip_id} (board {self.serial_number}) is the same chip as {self.same_as}"
            f" (board {self.same_serial_number})"
        )


def merged_chips(connection: Connection, *, unsettled: bool = False) -> list[MergedChip]:
    """All that were merged, in the order in which they were certified; or those with a valid certificate."""
    return [
        MergedChip(row.chip_id, row.serial_number, row.same_as, row.same_serial_number)
        for row in connection.execute(_UNSETTLED if unsettled else _ALL)
    ]


def unsettled_chips(url: str) -> Sequence[MergedChip]:
    """What a start warns of. Raises SQLAlchemyError."""
    engine = make_engine(url, "read")
    try:
        with engine.begin() as connection:
            return merged_chips(connection, unsettled=True)
    finally:
        engine.dispose()
