"""One chip has one id: no list brings in an id that differs by letter case alone from one that is known."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from signerd.adapters.store.tables.schema import chips, identities, order_chips
from signerd.errors import Code, Refused

_TABLES = (chips, order_chips, identities)


def demand_one_spelling(connection: Connection, chip_ids: Sequence[str]) -> None:
    """At most 10,000 chip ids: one statement a table, whose bound on parameters is above that.

    No index serves it, so that the whole table is read: 0.2 s for a million chips, at an import alone.

    Raises:
        Refused: `invalid`: one of them is known in another spelling.
    """
    wanted = {chip_id.lower(): chip_id for chip_id in chip_ids}
    for table in _TABLES:
        folded = func.lower(table.c.chip_id)
        for known in connection.execute(select(table.c.chip_id).where(folded.in_(wanted))).scalars():
            mine = wanted[known.lower()]
            if known != mine:
                raise Refused(
                    Code.INVALID,
                    f"chip {mine}: it is known as {known}, and the two differ by letter case alone",
                )
