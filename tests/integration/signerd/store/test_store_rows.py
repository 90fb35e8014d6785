"""Rows are read by the names of their columns: in which order a statement asks for them changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection, select

from harness.store_world import NOW, ORDER, STATION, World, intent, issue, stock, with_terms
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import ORDER as ORDER_COLUMNS
from signerd.adapters.store.tables.rows import PEER, RECORD, order_of, peer_of, record_of
from signerd.adapters.store.tables.schema import grants, records
from signerd.core.order import FirmwareBundle

BUNDLE = FirmwareBundle(bytes(range(32)), {"app": ("1.4.0", bytes(32))})


@pytest.fixture
async def filled(world: World) -> Connection:
    """One stamped board of an order with all its terms, and its station."""
    async with world.opened() as store:
        await stock(store, with_terms(ORDER, bundle=BUNDLE))
        record = await issue(store, intent("chip-1"))
        await store.record_stamp(record, stamp=b"stamp", signature=b"signature", station=STATION, now=NOW)
    return make_engine(world.url, "read").connect()


@pytest.fixture
def connection(filled: Connection) -> Iterator[Connection]:
    with filled:
        yield filled


@pytest.mark.parametrize(
    ("columns", "value_of"),
    [(RECORD, record_of), (ORDER_COLUMNS, order_of), (PEER, peer_of)],
    ids=["record", "order", "peer"],
)
def test_the_order_of_columns_changes_nothing(
    connection: Connection, columns: Sequence[ColumnElement[Any]], value_of: Callable[[Any], Any]
) -> None:
    wanted = value_of(connection.execute(select(*columns)).one())
    turned = select(*reversed(columns))
    assert value_of(connection.execute(turned).one()) == wanted
    assert value_of(Prepared(turned).row(connection, {})) == wanted


def test_two_columns_of_one_name_are_an_error(connection: Connection) -> None:
    joined = select(records.c.station, grants.c.station).join(grants, grants.c.record_id == records.c.id)
    with pytest.raises(ValueError, match="duplicate field name"):
        Prepared(joined).row(connection, {})
