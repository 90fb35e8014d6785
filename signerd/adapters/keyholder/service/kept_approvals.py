"""What counts now, of all that administrators approved: read from the notes once, and kept until they change.

The notes are what is believed. Memory is filled from them alone, in the units of work that need it, and is
empty again after each unit that may change it, after a transaction that failed, and when another process
wrote into them (`adapters/keyholder/service/notes.py`). It never lives longer than the process: after a crash
everything is read anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from signerd.adapters.keyholder.service import noted_approvals, noted_orders
from signerd.core.approved_order import ApprovedOrder
from signerd.core.product import Product, parse_product

_MOST = 1_024  # orders in memory: many times those that a site has open


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that takes boards."""

    approved: ApprovedOrder
    product: Product  # the revision that it names
    share: int  # how many places of it this key holder may certify


class KeptApprovals:
    """Belongs to the thread of the notes."""

    def __init__(self) -> None:
        self._asked: bool | None = None
        self._orders: dict[str, OpenOrder] = {}
        self._active: dict[str, bytes | None] = {}

    def forget(self) -> None:
        """The notes may say something else from here on."""
        self._asked = None
        self._orders.clear()
        self._active.clear()

    def asked(self, connection: Connection) -> bool:
        """Whether administrators approve orders here. Raises Fault: their notes are damaged."""
        if self._asked is None:
            self._asked = noted_approvals.in_force(connection).asked
        return self._asked

    def order(self, connection: Connection, work_order: str) -> OpenOrder:
        """Raises LeafRefusedError: nobody approved it, it was closed, or its product was not shown. None of
        these is kept: what comes next may be what was missing."""
        found = self._orders.get(work_order)
        if found is None:
            approved = noted_orders.find_order(connection, work_order)
            product = parse_product(noted_orders.find_product(connection, approved.product_sha256))
            found = OpenOrder(approved, product, noted_orders.share_in(connection, approved))
            if len(self._orders) >= _MOST:
                self._orders.clear()
            self._orders[work_order] = found
        return found

    def active(self, connection: Connection, ca: str) -> bytes | None:
        """As `approvals.active_of`. A CA is one that a product names."""
        if ca not in self._active:
            self._active[ca] = noted_approvals.active_of(connection, ca)
        return self._active[ca]
