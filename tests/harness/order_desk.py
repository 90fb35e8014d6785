"""The part of `AdminService` about orders and chips, over an `IssuanceWorld`: as signerd puts it together."""

from __future__ import annotations

from datetime import timedelta

from harness.issuance_world import IssuanceWorld
from signerd.adapters.linting import SampleLinter
from signerd.adapters.rpc.admin_orders import OrderAdministration
from signerd.adapters.rpc.rehearsing import Rehearsing


def order_desk(world: IssuanceWorld, *, master_key: bool = True) -> OrderAdministration:
    """Orders are rehearsed, with both linters. `master_key`: whether the installation has one."""
    linter = SampleLinter(
        lambda ca: world.issuers.active(ca).issuer,
        max_validity=timedelta(days=10_950),
        allow_no_expiry=True,
        clock=lambda: world.now,
    )
    rehearsing = Rehearsing(
        deployment="test",
        store=world.store,
        issuers=world.issuers,
        linter=linter,
        clock=lambda: world.now,
        master_key=master_key,
    )
    return OrderAdministration(rehearsing=rehearsing, store=world.store, clock=lambda: world.now)
