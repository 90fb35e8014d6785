"""What administrators and auditors are told and refused, service by service, over a real store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from birthmark.v1 import admin_pb2, audit_pb2
from boards.attesters.x509 import X509Vendor
from harness.installation import SENSOR, order_toml
from harness.issuance_world import PRODUCT, IssuanceWorld, issuance_world
from harness.order_desk import order_desk
from harness.paper_board import PaperBoard
from signerd.adapters.rpc.admin_orders import PERSONALIZED_KEYS, OrderAdministration
from signerd.adapters.rpc.audit import AuditService
from signerd.core.names import parse_peer_uri
from signerd.errors import Code, Refused

AUDITOR = parse_peer_uri("birthmark://test/auditor/reader")
GOOD: dict[str, Any] = {
    "chip_ids": ["new:1"],
    "locked": True,
    "site": "lab",
    "key": "hmac-sha256",
    "by": "ann@example.com",
}


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        yield made


def administration(world: IssuanceWorld) -> OrderAdministration:
    return order_desk(world)


async def refusal(awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": ""}, Code.INVALID),
        ({"key": "psa-iak"}, Code.INVALID),
        ({"by": ""}, Code.INVALID),
        ({"by": "ann smith"}, Code.INVALID),
        ({"by": "a" * 65}, Code.INVALID),
        ({"site": ""}, Code.INVALID),
        ({"chip_ids": ["new 1"]}, Code.INVALID),
        ({"chip_ids": []}, Code.REQUEST_MALFORMED),
    ],
)
async def test_a_personalization_that_says_too_little(
    world: IssuanceWorld, change: dict[str, Any], code: Code
) -> None:
    personalize = administration(world).personalize_chips
    request = admin_pb2.PersonalizeChipsRequest(**GOOD | change)
    assert (await refusal(personalize(None, request))).code is code
    assert (await personalize(None, admin_pb2.PersonalizeChipsRequest(**GOOD))).added == 1


async def test_who_personalized_with_which_key_is_in_the_ledger(world: IssuanceWorld) -> None:
    personalize = administration(world).personalize_chips
    for number, key in enumerate(PERSONALIZED_KEYS):
        request = admin_pb2.PersonalizeChipsRequest(**GOOD | {"chip_ids": [f"key:{number}"], "key": key})
        answer = await personalize(None, request)
        entry = json.loads((await world.store.published(answer.ledger_index)).entry)
        assert (entry["type"], entry["key"], entry["by"]) == ("chips_personalized", key, "ann@example.com")


async def test_an_order_that_its_products_methods_cannot_reach_is_refused(world: IssuanceWorld) -> None:
    vendor = X509Vendor(measures=False)
    product = SENSOR.replace('name = "sensor"', 'name = "plain"').replace('"hmac-sha256"', '"x509"')
    await world.add_product(f"{product}\n{vendor.product_section()}")

    def opening(level: str) -> Any:
        file = order_toml("WO-X", quantity=1, stations=[world.pc1.uri], product="plain", level=level)
        return administration(world).open_work_order(
            None, admin_pb2.OpenWorkOrderRequest(work_order_toml=file)
        )

    refused = await refusal(opening("key"))
    assert (refused.code, "'plain' reach 'chip' at most" in refused.detail) == (Code.INVALID, True)
    await opening("chip")


async def test_an_order_of_burned_keys_is_refused_where_there_is_no_master_key(world: IssuanceWorld) -> None:
    await world.add_product(SENSOR.replace('name = "sensor"', 'name = "burned"'))
    file = order_toml("WO-B", quantity=1, stations=[world.pc1.uri], product="burned")
    request = admin_pb2.OpenWorkOrderRequest(work_order_toml=file)
    refused = await refusal(order_desk(world, master_key=False).open_work_order(None, request))
    assert (refused.code, "no chip master key" in refused.detail) == (Code.INVALID, True)
    await order_desk(world).open_work_order(None, request)


async def test_auditors_get_the_revision_that_the_order_was_opened_with(world: IssuanceWorld) -> None:
    order = await world.open_order()
    await world.store.add_product("sensor", PRODUCT + "# a newer revision\n", world.now)
    service = AuditService(world.store, lambda _issuer: ())
    answer = await service.get_work_order(AUDITOR, audit_pb2.GetWorkOrderRequest(work_order=order))
    assert answer.product_toml == PRODUCT
    opened = json.loads((await world.store.published(answer.work_order.opened_index)).entry)
    assert opened["product_sha256"] == hashlib.sha256(answer.product_toml.encode()).hexdigest()


async def test_auditors_get_what_was_measured_and_whose_key_signed(world: IssuanceWorld) -> None:
    vendor = X509Vendor()
    product = SENSOR.replace('name = "sensor"', 'name = "dice"').replace('"hmac-sha256"', '"x509"')
    order = await world.open_order(**await world.add_product(f"{product}\n{vendor.product_section()}"))
    _, answer = await world.certify(order, PaperBoard("CHIP-1", attester=vendor.attester("CHIP-1")))
    service = AuditService(world.store, lambda _issuer: ())
    page = await service.find_records(AUDITOR, audit_pb2.FindRecordsRequest(work_order=order))
    (found,) = page.records
    entry = json.loads(answer.position.entry)
    assert dict(found.measured) == entry["measured"] == {"app": "1.2.0"}
    assert hashlib.sha256(found.attester_spki).hexdigest() == entry["attester_sha256"]
