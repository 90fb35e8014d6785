"""How many places of an order each key holder's service may certify."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from harness.approved_orders import order_members
from signerd.adapters.keyholder.service import noted_orders, notes, tables
from signerd.adapters.keyholder.service.noted_leaves import note_leaf
from signerd.adapters.keyholder.service.notes import About
from signerd.adapters.store.tables.database import make_engine
from signerd.core.approved_order import LeafRefusedError, ShareUsedError
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.leaf import Leaf
from signerd.core.names import Level
from signerd.core.order import Place

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ISSUER = bytes(32)


def opened(tmp_path: Path, holder: str) -> Iterator[Connection]:
    path = tmp_path / f"{holder}.sqlite"
    notes.create_notes(path, About(holder, "dev", "log"))
    engine = make_engine(f"sqlite:///{path}", "write")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def main(tmp_path: Path) -> Iterator[Connection]:
    yield from opened(tmp_path, "main")


@pytest.fixture
def spare(tmp_path: Path) -> Iterator[Connection]:
    yield from opened(tmp_path, "spare")


def certify(connection: Connection, number: int) -> None:
    place = Place("WO-1", "sensor", f"chip-{number}", number, f"S-{number:04d}", number, NOW)
    leaf = Leaf(place, EvidenceStatement(Level.CHIP, "hmac-sha256", bytes(32)), bytes(32))
    order = noted_orders.find_order(connection, "WO-1")
    share = noted_orders.share_in(connection, order)
    note_leaf(connection, b"TBS of %d" % number, leaf, order, share=share, issuer_sha256=ISSUER)


def test_without_shares_all_of_it_is_mains(main: Connection, spare: Connection) -> None:
    for connection in (main, spare):
        noted_orders.add_order(connection, order_members())
    for number in (1, 2, 3, 4):
        certify(main, number)
    with pytest.raises(ShareUsedError, match="all 0 places"):
        certify(spare, 1)


def test_each_certifies_its_share_and_no_more(main: Connection, spare: Connection) -> None:
    for connection in (main, spare):
        noted_orders.add_order(connection, order_members(shares={"main": 1, "spare": 2}))
    certify(main, 1)
    certify(main, 1)  # the same bytes count once
    with pytest.raises(ShareUsedError, match="all 1 places"):
        certify(main, 2)
    certify(spare, 2)
    certify(spare, 3)
    with pytest.raises(ShareUsedError, match="all 2 places"):
        certify(spare, 4)


def test_places_go_from_one_to_the_other(main: Connection, spare: Connection) -> None:
    for connection in (main, spare):
        noted_orders.add_order(connection, order_members())
    certify(main, 1)
    with pytest.raises(LeafRefusedError, match="3 places of WO-1 are left"):
        noted_orders.release_share(main, "WO-1", 4)
    assert noted_orders.release_share(main, "WO-1", 2) == 2
    noted_orders.take_share(spare, "WO-1", 2)
    certify(main, 2)
    with pytest.raises(ShareUsedError, match="all 2 places"):
        certify(main, 3)
    certify(spare, 3)
    certify(spare, 4)
    assert [
        (each.share, each.places) for each in noted_orders.list_orders(main) + noted_orders.list_orders(spare)
    ] == [
        (2, 2),
        (2, 2),
    ]


def test_what_is_released_comes_back_by_an_approval_alone(main: Connection) -> None:
    order = noted_orders.add_order(main, order_members())
    noted_orders.release_share(main, "WO-1", 4)
    with pytest.raises(ShareUsedError, match="all 0 places"):
        certify(main, 1)
    assert noted_orders.share_in(main, replace(order)) == 0
    with pytest.raises(LeafRefusedError, match="no order"):
        noted_orders.release_share(main, "WO-2", 1)


def test_an_order_that_another_one_certified_is_not_replaced(main: Connection, spare: Connection) -> None:
    """A standby has its certificates from the ledger, and counts none of them as its own."""
    for connection in (main, spare):
        noted_orders.add_order(connection, order_members(shares={"main": 2, "spare": 2}))
    noted_orders.add_order(
        spare, order_members(shares={"main": 2, "spare": 2})
    )  # nothing was signed for it yet
    certify(main, 1)
    taken_over = [dict(row) for row in main.execute(select(tables.leaves)).mappings()]
    spare.execute(insert(tables.leaves), taken_over)
    (counted,) = noted_orders.list_orders(spare)
    assert (counted.share, counted.places) == (2, 0)
    with pytest.raises(LeafRefusedError, match="certificates were signed for another order"):
        noted_orders.add_order(spare, order_members(quantity=9, shares={"spare": 9}))
