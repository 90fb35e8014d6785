"""The orders that administrators approved, as a key holder's notes have them: what each names, and how many
places of it this key holder may certify.

Each function is part of a unit of work (`adapters/keyholder/service/notes.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from signerd.adapters.keyholder.service import tables
from signerd.adapters.keyholder.service.tables import counts, leaves
from signerd.core.approved_order import ApprovedOrder, LeafRefusedError

_orders, _products, _given = tables.orders, tables.products, tables.given


@dataclass(frozen=True, slots=True)
class OrderCount:
    """An order, for people."""

    order: ApprovedOrder
    closed: bool
    share: int  # of this key holder
    places: int  # certified by it


def add_order(connection: Connection, members: dict[str, Any]) -> ApprovedOrder:
    """An order that was approved. Another one of its name takes the place of the one before as long as
    nothing was signed for that, and it was not closed. Raises LeafRefusedError, ValueError."""
    order = ApprovedOrder.of(members)
    asked = select(_orders.c.closed).where(_orders.c.work_order == order.work_order)
    if connection.scalars(asked).one_or_none():
        raise LeafRefusedError(f"the order {order.work_order} was closed")
    if _has_leaves(connection, order.work_order):
        raise LeafRefusedError(f"certificates were signed for another order {order.work_order} already")
    connection.execute(_orders.delete().where(_orders.c.work_order == order.work_order))
    row = {"work_order": order.work_order, "members": json.dumps(members), "closed": False}
    connection.execute(insert(_orders), row)
    return order


def _has_leaves(connection: Connection, work_order: str) -> bool:
    """Of this key holder or of the one before it."""
    asked = select(leaves.c.number).where(leaves.c.work_order == work_order).limit(1)
    return connection.execute(asked).first() is not None


def find_order(connection: Connection, work_order: str) -> ApprovedOrder:
    """Raises LeafRefusedError: nobody approved it, or it was closed."""
    row = connection.execute(select(_orders).where(_orders.c.work_order == work_order)).one_or_none()
    if row is None:
        raise LeafRefusedError(f"no order {work_order[:64]!r} was approved")
    if row.closed:
        raise LeafRefusedError(f"the order {work_order} was closed")
    return ApprovedOrder.of(json.loads(row.members))


def close_order(connection: Connection, work_order: str) -> None:
    """Nothing more is signed for it. Whoever says so needs no approval; nobody can take it back."""
    connection.execute(update(_orders).where(_orders.c.work_order == work_order).values(closed=True))


def list_orders(connection: Connection) -> list[OrderCount]:
    """All of them, by name."""
    found = []
    for row in connection.execute(select(_orders).order_by(_orders.c.work_order)):
        order = ApprovedOrder.of(json.loads(row.members))
        places = _places(connection, order.work_order)
        found.append(OrderCount(order, row.closed, share_in(connection, order), places))
    return found


def share_in(connection: Connection, order: ApprovedOrder) -> int:
    """How many places of it this key holder may certify, in all."""
    asked = select(_given.c.places).where(_given.c.work_order == order.work_order)
    own = order.share_of(connection.scalars(select(tables.about.c.holder)).one())
    return own + (connection.scalars(asked).one_or_none() or 0)


def take_share(connection: Connection, work_order: str, places: int) -> None:
    """That many more, as administrators approved."""
    asked = select(_given.c.places).where(_given.c.work_order == work_order)
    given = connection.scalars(asked).one_or_none() or 0
    connection.execute(_given.delete().where(_given.c.work_order == work_order))
    connection.execute(insert(_given), {"work_order": work_order, "places": given + places})


def release_share(connection: Connection, work_order: str, places: int) -> int:
    """That many less, for another key holder; how many are left, certified ones among them.

    Raises:
        LeafRefusedError: no such order is open here, or fewer are left.
    """
    order = find_order(connection, work_order)
    share = share_in(connection, order)
    free = share - _places(connection, work_order)
    if places > free:
        raise LeafRefusedError(f"{free} places of {work_order} are left to this key holder")
    take_share(connection, work_order, -places)
    return share - places


def _places(connection: Connection, work_order: str) -> int:
    """Those that were certified, of whatever certificate's name has the most."""
    asked = select(func.max(counts.c.places)).where(counts.c.work_order == work_order)
    return connection.scalars(asked).one() or 0


def add_product(connection: Connection, product_toml: str) -> None:
    """Keeps a product's revision that an approved order names. Raises LeafRefusedError where none does."""
    digest = hashlib.sha256(product_toml.encode()).digest()
    open_ones = select(_orders.c.members).where(_orders.c.closed.is_(False))
    named = (json.loads(members)["product_sha256"] for members in connection.scalars(open_ones))
    if digest.hex() not in named:
        raise LeafRefusedError("no approved order is of this revision of a product")
    if connection.execute(select(_products.c.sha256).where(_products.c.sha256 == digest)).first() is None:
        connection.execute(insert(_products), {"sha256": digest, "text": product_toml})


def find_product(connection: Connection, sha256: bytes) -> str:
    """The text of a revision. Raises LeafRefusedError where it was not shown."""
    asked = select(_products.c.text).where(_products.c.sha256 == sha256)
    found: str | None = connection.scalars(asked).one_or_none()
    if found is None:
        raise LeafRefusedError("the order's product was not shown")
    return found
