"""The part of `AdminService` about work orders and chips."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import approval_of
from signerd.adapters.rpc.orders import order_messages
from signerd.adapters.rpc.rehearsing import Rehearsing
from signerd.adapters.store import SqlStore
from signerd.adapters.store.registry.existing import no_order
from signerd.adapters.store.values import OrderState
from signerd.core.chip_key import BurnedKey
from signerd.core.chip_list import ChipListError, check_chip_id, check_line, check_together
from signerd.core.entry import digest_chips
from signerd.core.names import is_name
from signerd.core.order import Share, WorkOrder
from signerd.core.product import Product, parse_product
from signerd.core.rehearsal import line_problems
from signerd.errors import Code, Refused

MAX_CHIPS = 10_000  # a call, admin.proto
PERSONALIZED_KEYS = tuple(BurnedKey)


class OrderAdministration:
    """Opening, showing and closing work orders; entering chips."""

    def __init__(self, *, rehearsing: Rehearsing, store: SqlStore, clock: Callable[[], datetime]) -> None:
        self._rehearsing = rehearsing
        self._store = store
        self._clock = clock
        self._opening = asyncio.Lock()

    async def open_work_order(
        self, _caller: None, request: admin_pb2.OpenWorkOrderRequest, /, *, preparing: bool = False
    ) -> admin_pb2.OpenWorkOrderResponse:
        """Opens a work order with the newest revision of its product."""
        by = fields.administrator_if_any(request.by)
        # One at a time: two orders that are rehearsed at once would not know of each other.
        async with self._opening:
            rehearsed = await self._rehearsing.rehearse(request.work_order_toml, request.chip_ids)
            rehearsed.demand_passed()
            order = rehearsed.order
            digest = hashlib.sha256(request.work_order_toml.encode()).digest()
            approval = approval_of(request, digest, preparing=preparing)
            index = await self._store.open_order(
                order, self._clock(), by=by, rehearsed=True, approval=approval
            )
        work_order, _ = order_messages(await self._order(order.work_order))
        return admin_pb2.OpenWorkOrderResponse(
            work_order=work_order, ledger_index=index, checks=rehearsed.messages()
        )

    async def rehearse_work_order(
        self, _caller: None, request: admin_pb2.RehearseWorkOrderRequest
    ) -> admin_pb2.RehearseWorkOrderResponse:
        """The same without opening it."""
        rehearsed = await self._rehearsing.rehearse(request.work_order_toml, request.chip_ids)
        return admin_pb2.RehearseWorkOrderResponse(
            checks=rehearsed.messages(), product_toml=rehearsed.product_toml
        )

    async def show_work_order(
        self, _caller: None, request: admin_pb2.ShowWorkOrderRequest
    ) -> admin_pb2.ShowWorkOrderResponse:
        """Terms and counts of one."""
        state = await self._order(request.work_order)
        shown = _shown(state)
        shown.product_toml = await self._store.product_text(state.order.product_sha256)
        return shown

    async def list_work_orders(
        self, _caller: None, _request: admin_pb2.ListWorkOrdersRequest
    ) -> admin_pb2.ListWorkOrdersResponse:
        """Terms and counts of all."""
        return admin_pb2.ListWorkOrdersResponse(
            work_orders=[_shown(state) for state in await self._store.list_orders()]
        )

    async def close_work_order(
        self, _caller: None, request: admin_pb2.CloseWorkOrderRequest
    ) -> admin_pb2.CloseWorkOrderResponse:
        """No place is given after this."""
        by = fields.administrator_if_any(request.by)
        index = await self._store.close_order(request.work_order, self._clock(), by=by)
        return admin_pb2.CloseWorkOrderResponse(ledger_index=index)

    async def give_share(
        self, _caller: None, request: admin_pb2.GiveShareRequest, /, *, preparing: bool = False
    ) -> admin_pb2.GiveShareResponse:
        """Another key holder's service certifies places of an order."""
        for name in (request.giver, request.taker):
            if not is_name(name):
                raise Refused(Code.INVALID, "a key holder's name is 1 to 64 of [A-Za-z0-9._-]")
        if request.giver == request.taker or not request.places or not is_name(request.work_order):
            raise Refused(Code.INVALID, "give at least one place, from one key holder to another one")
        share = Share(request.work_order, request.giver, request.taker, request.places)
        index = await self._store.give_share(
            share,
            self._clock(),
            by=fields.administrator_if_any(request.by),
            approval=approval_of(request, None, preparing=preparing),
        )
        return admin_pb2.GiveShareResponse(ledger_index=index)

    async def import_chips(
        self, _caller: None, request: admin_pb2.ImportChipsRequest
    ) -> admin_pb2.ImportChipsResponse:
        """Puts chips on an order's list."""
        by = fields.administrator_if_any(request.by)
        chip_ids = _checked(request.chip_ids, check_line)
        state = await self._order(request.work_order)
        product = parse_product(await self._store.product_text(state.order.product_sha256))
        await asyncio.to_thread(_check_lines, state.order, product, chip_ids)
        added, index = await self._store.import_chips(request.work_order, chip_ids, self._clock(), by=by)
        return admin_pb2.ImportChipsResponse(added=added, ledger_index=index)

    async def personalize_chips(
        self, _caller: None, request: admin_pb2.PersonalizeChipsRequest, /, *, preparing: bool = False
    ) -> admin_pb2.PersonalizeChipsResponse:
        """Enters chips whose secret a trusted personalization burns."""
        if not is_name(request.site):
            raise Refused(Code.INVALID, "site must be 1 to 64 of [A-Za-z0-9._-]")
        if request.key not in PERSONALIZED_KEYS:
            raise Refused(Code.INVALID, f"key must be one of {', '.join(PERSONALIZED_KEYS)}")
        chip_ids = _checked(request.chip_ids)
        added, index = await self._store.personalize_chips(
            chip_ids,
            locked=request.locked,
            site=request.site,
            key=request.key,
            by=fields.administrator(request.by),
            now=self._clock(),
            approval=approval_of(request, digest_chips(chip_ids), preparing=preparing),
        )
        return admin_pb2.PersonalizeChipsResponse(added=added, ledger_index=index)

    async def _order(self, work_order: str) -> OrderState:
        state = await self._store.order(work_order) if is_name(work_order) else None
        if state is None:
            raise no_order(work_order)
        return state


def _shown(state: OrderState) -> admin_pb2.ShowWorkOrderResponse:
    work_order, counts = order_messages(state)
    return admin_pb2.ShowWorkOrderResponse(work_order=work_order, counts=counts)


def _check_lines(order: WorkOrder, product: Product, lines: Sequence[str]) -> None:
    """Refuses a line that could never count, and a chip that would get no certificate on the line: the list
    can still be mended."""
    for line in lines:
        if (problem := next(line_problems(order, product, line), None)) is not None:
            raise Refused(Code.INVALID, problem)


def _checked(chip_ids: Sequence[str], check: Callable[[str], object] = check_chip_id) -> list[str]:
    if not 1 <= len(chip_ids) <= MAX_CHIPS:
        raise fields.malformed(f"{len(chip_ids)} chips in one call, not 1 to {MAX_CHIPS}")
    try:
        for chip_id in chip_ids:
            check(chip_id)
        check_together(chip_ids)
    except ChipListError as error:
        raise Refused(Code.INVALID, str(error)) from error
    return list(dict.fromkeys(chip_ids))
