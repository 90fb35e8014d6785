"""Importing attestation keys for an open order whose product has a newer revision: the order keeps its own,
and so it must still get its chips."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from birthmark.v1 import admin_pb2
from boards.attesters.nrf91 import Nrf91Vendor
from harness.installation import SENSOR
from harness.issuance_world import IssuanceWorld, issuance_world
from signerd.adapters.rpc.admin_identities import IdentityAdministration
from signerd.core.identity_list import parse_line
from signerd.errors import Code, Refused

GATEWAY = SENSOR.replace('name = "sensor"', 'name = "gateway"', 1)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        yield made


async def add_revision_without_the_method(world: IssuanceWorld) -> None:
    await world.add_product(GATEWAY)


async def open_order_with_the_method(world: IssuanceWorld) -> str:
    vendor = Nrf91Vendor()
    product = GATEWAY.replace('methods = ["hmac-sha256"]', 'methods = ["nrf91"]', 1)
    return await world.open_order(**await world.add_product(f"{product}\n{vendor.product_section()}"))


async def import_one(world: IssuanceWorld) -> int:
    chip_id = str(uuid4())
    line = parse_line(json.dumps(Nrf91Vendor().attester(chip_id).identity()).encode())
    identity = admin_pb2.Identity(chip_id=line.chip_id, key_id=line.key_id, spki=line.spki)
    request = admin_pb2.ImportIdentitiesRequest(
        product="gateway", method="nrf91", by="ann", identities=[identity]
    )
    administration = IdentityAdministration(store=world.store, clock=lambda: world.now)
    return (await administration.import_identities(None, request)).added


async def test_an_open_order_of_an_earlier_revision_still_gets_its_chips(world: IssuanceWorld) -> None:
    await open_order_with_the_method(world)
    await add_revision_without_the_method(world)
    assert await import_one(world) == 1


async def test_a_closed_order_does_not(world: IssuanceWorld) -> None:
    order = await open_order_with_the_method(world)
    await add_revision_without_the_method(world)
    await world.store.close_order(order, world.now)
    with pytest.raises(
        Refused,
        match="nor an open work order of it accepts nrf91",
    ) as refused:
        await import_one(world)
    assert refused.value.code is Code.INVALID


async def test_without_any_order_the_newest_revision_counts(world: IssuanceWorld) -> None:
    await add_revision_without_the_method(world)
    with pytest.raises(
        Refused,
        match="nor an open work order of it accepts nrf91",
    ):
        await import_one(world)
    await open_order_with_the_method(world)  # the newest now
    assert await import_one(world) == 1
