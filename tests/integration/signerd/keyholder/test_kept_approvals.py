"""What administrators approved, kept in memory by a key holder's service: the notes alone are believed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from harness.approved_orders import order_members
from harness.installation import SENSOR
from harness.ssh_signing import SshSigner
from signerd.adapters.keyholder.service import noted_approvals, noted_orders, notes
from signerd.adapters.keyholder.service.kept_approvals import OpenOrder
from signerd.adapters.keyholder.service.notes import About, Notes
from signerd.adapters.store.tables.database import make_engine
from signerd.core.approval.administrators import AdministratorSet, parse_administrators
from signerd.core.approved_order import LeafRefusedError
from signerd.errors import Unavailable

ADMINISTRATORS = AdministratorSet(1, parse_administrators(f"ann {SshSigner.ed25519().public_text}\n", "dev"))


def members(**changes: object) -> dict[str, Any]:
    """Of an order for the product that is shown."""
    named = {"product_sha256": hashlib.sha256(SENSOR.encode()).hexdigest(), "quantity": 9}
    return order_members(**(named | changes))


def opened(connection: Connection, **changes: object) -> None:
    noted_orders.add_order(connection, members(**changes))
    noted_orders.add_product(connection, SENSOR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.sqlite"
    notes.create_notes(path, About("main", "dev", "log"))
    return path


@pytest.fixture
async def kept(path: Path) -> AsyncIterator[Notes]:
    kept = Notes.open(path)
    kept.start()
    yield kept
    await kept.close()


async def known(kept: Notes, work_order: str = "WO-1") -> OpenOrder:
    """What a certificate of the order would be held against."""
    return await kept.note(lambda connection: kept.approved.order(connection, work_order))


class Statements:
    """That notes were asked for, through SQLAlchemy."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        event.listen(Engine, "before_cursor_execute", self._saw)

    def _saw(self, *arguments: Any) -> None:
        self.seen.append(arguments[2])

    def end(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._saw)


async def test_they_are_read_once(kept: Notes) -> None:
    await kept.do(opened)
    await kept.do(lambda connection: noted_approvals.set_administrators(connection, ADMINISTRATORS))

    def look(connection: Connection) -> object:
        order = kept.approved.order(connection, "WO-1")
        return kept.approved.asked(connection), order, kept.approved.active(connection, "main")

    first = await kept.note(look)
    statements = Statements()
    try:
        for _ in range(5):
            assert await kept.note(look) == first
    finally:
        statements.end()
    assert set(statements.seen) <= {"BEGIN IMMEDIATE"}


CHANGES: dict[str, tuple[Callable[[Connection], object], Callable[[Notes, Connection], object]]] = {
    "administrators": (
        lambda connection: noted_approvals.set_administrators(connection, ADMINISTRATORS),
        lambda kept, connection: kept.approved.asked(connection),
    ),
    "another order of the name": (
        lambda connection: noted_orders.add_order(connection, members(quantity=3)),
        lambda kept, connection: kept.approved.order(connection, "WO-1").approved.quantity,
    ),
    "a share": (
        lambda connection: noted_orders.take_share(connection, "WO-1", 2),
        lambda kept, connection: kept.approved.order(connection, "WO-1").share,
    ),
    "an issuer": (
        lambda connection: noted_approvals.set_active(connection, "main", bytes(32)),
        lambda kept, connection: kept.approved.active(connection, "main"),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_the_next_certificate_sees_what_changed(kept: Notes, what: str) -> None:
    change, look = CHANGES[what]
    await kept.do(opened)
    before = await kept.note(lambda connection: look(kept, connection))
    # In one transaction with those before and behind it, or in one of their own: it is the same.
    seen = await asyncio.gather(
        kept.note(lambda connection: look(kept, connection)),
        kept.do(change),
        kept.note(lambda connection: look(kept, connection)),
    )
    assert (seen[0], seen[2] != before) == (before, True)
    assert await kept.note(lambda connection: look(kept, connection)) == seen[2]


async def test_a_closed_order_is_not_kept(kept: Notes) -> None:
    await kept.do(opened)
    assert (await known(kept)).share == 9
    await kept.do(lambda connection: noted_orders.close_order(connection, "WO-1"))
    with pytest.raises(LeafRefusedError, match="closed"):
        await known(kept)


async def test_an_order_that_is_missing_may_come(kept: Notes) -> None:
    for _ in range(2):
        with pytest.raises(LeafRefusedError, match="no order"):
            await known(kept)
    await kept.do(lambda connection: noted_orders.add_order(connection, members()))
    with pytest.raises(LeafRefusedError, match="not shown"):
        await known(kept)
    await kept.do(lambda connection: noted_orders.add_product(connection, SENSOR))
    assert (await known(kept)).product.name == "sensor"


async def test_what_another_process_wrote_is_seen(kept: Notes, path: Path) -> None:
    """`signerd key-holder release`, beside the service."""
    await kept.do(opened)
    assert (await known(kept)).share == 9
    engine = make_engine(f"sqlite:///{path}", "write")
    with engine.begin() as connection:
        noted_orders.release_share(connection, "WO-1", 4)
    engine.dispose()
    assert (await known(kept)).share == 5


async def test_what_a_unit_undid_is_not_kept(kept: Notes) -> None:
    await kept.do(opened)

    def undone(connection: Connection) -> None:
        noted_orders.take_share(connection, "WO-1", 5)
        assert kept.approved.order(connection, "WO-1").share in {9, 14}
        raise LeafRefusedError("undone")

    with pytest.raises(LeafRefusedError, match="undone"):
        await kept.do(undone)
    assert (await known(kept)).share == 9


async def test_what_a_commit_lost_is_not_kept(kept: Notes) -> None:
    """The disk fails at the commit: who read within the transaction what is lost with it."""

    def fails(connection: Connection) -> None:
        connection.connection.cursor().execute("ROLLBACK")  # as SQLite does where a COMMIT fails
        raise OperationalError("COMMIT", {}, OSError("disk"))

    def hold(connection: Connection) -> OpenOrder:
        opened(connection)
        kept.approved.forget()
        return kept.approved.order(connection, "WO-1")

    event.listen(kept._engine, "commit", fails)
    with pytest.raises(Unavailable):
        await kept.note(hold)
    event.remove(kept._engine, "commit", fails)
    with pytest.raises(LeafRefusedError, match="no order"):
        await known(kept)
