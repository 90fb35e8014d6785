"""An attestation key is one chip's, over all orders and products: whoever certified it, under which name."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from harness.store_world import NOW, World, intent, issue, prepare, with_terms
from signerd.adapters.store import SqlStore
from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import anchors, certified_chips
from signerd.core.names import Reissue
from signerd.errors import Code, Fault, Refused
from signerd.ports import IntentRequest, PreparedBytes, Record

KEY = b"SubjectPublicKeyInfo of one chip"
KEY_SHA256 = hashlib.sha256(KEY).hexdigest()


def attested(chip: str, key: str | None = None, *, attester: bytes = KEY, **terms: Any) -> IntentRequest:
    return replace(intent(chip, key, **terms), attester=attester)


async def refusal(store: SqlStore, request: IntentRequest) -> Refused:
    with pytest.raises(Refused) as caught:
        await store.take_place(request, prepare)
    return caught.value


def kept(world: World) -> dict[str, str]:
    """Attestation keys, and the first name of the chip that each one is of."""
    chip = certified_chips.c
    asked = select(anchors.c.value, chip.chip_id).join(certified_chips).where(anchors.c.kind == "key")
    with make_engine(world.url, "read").connect() as connection:
        return {row.value: row.chip_id for row in connection.execute(asked)}


async def places(store: SqlStore, work_order: str = "WO-1") -> int:
    state = await store.order(work_order)
    assert state is not None
    return state.counts.places


async def test_a_key_of_one_chip_is_no_other_chips(world: World, store: SqlStore) -> None:
    await issue(store, attested("chip-1"))
    refused = await refusal(store, attested("chip-2"))
    assert refused.code is Code.CHIP_ALREADY_CERTIFIED
    # It is one chip, under another name.
    assert refused.detail == "the chip has record 1, and the order's reissue is 'never'"
    assert await places(store) == 1
    assert kept(world) == {KEY_SHA256: "chip-1"}
    # With a key of its own, this very chip has its place.
    assert (await issue(store, attested("chip-2", attester=b"another key"))).place.number == 2


async def test_nor_on_another_order_of_another_product_by_another_method(store: SqlStore) -> None:
    await store.add_product("other", 'name = "other"\n', NOW)
    toml_sha256 = hashlib.sha256(b'name = "other"\n').digest()
    order = with_terms(work_order="WO-2", product="other", product_sha256=toml_sha256, serial_start=100)
    await store.open_order(order, NOW)
    await issue(store, replace(attested("chip-1"), method="x509"))
    again = replace(attested("chip-2", order=order), method="tpm2")
    assert (await refusal(store, again)).code is Code.CHIP_ALREADY_CERTIFIED
    assert await places(store, "WO-2") == 0
    assert (await issue(store, replace(again, attester=b"another key"))).place.serial_number == "BM-000100"


async def test_the_same_chip_may_come_back_with_its_key(world: World, store: SqlStore) -> None:
    order = with_terms(work_order="WO-2", reissue=Reissue.ALWAYS, serial_start=100)
    await store.open_order(order, NOW)
    first = await issue(store, attested("chip-1", "key-1", order=order))
    assert await issue(store, attested("chip-1", "key-1", order=order, session="again")) == first
    second = await issue(store, attested("chip-1", "key-2", order=order))
    assert (second.place.number, second.attester) == (1, KEY)
    assert kept(world) == {KEY_SHA256: "chip-1"}


async def test_a_chip_may_have_several_keys_and_keeps_each(world: World, store: SqlStore) -> None:
    """A DICE layer's key changes with the firmware; the one of before is not free for others."""
    order = with_terms(work_order="WO-2", reissue=Reissue.ALWAYS, serial_start=100)
    await store.open_order(order, NOW)
    await issue(store, attested("chip-1", "key-1", order=order))
    await issue(store, attested("chip-1", "key-2", order=order, attester=b"key of newer firmware"))
    assert set(kept(world).values()) == {"chip-1"}
    assert len(kept(world)) == 2
    for attester in (KEY, b"key of newer firmware"):  # under another name it keeps its place and its board
        record = await issue(store, attested("chip-2", attester.hex(), order=order, attester=attester))
        assert (record.place.number, record.place.serial_number) == (1, "BM-000100")
    assert set(kept(world).values()) == {"chip-1"}
    assert await places(store, "WO-2") == 1


async def test_a_key_stays_its_chips_after_the_revocation(store: SqlStore) -> None:
    record = await issue(store, attested("chip-1"))
    await store.revoke(serial_number=record.place.serial_number, reason="keyCompromise", now=NOW)
    assert (await refusal(store, attested("chip-2"))).code is Code.CHIP_ALREADY_CERTIFIED


async def test_evidence_without_an_attestation_key_asks_for_nothing(world: World, store: SqlStore) -> None:
    for chip in ("chip-1", "chip-2"):
        await issue(store, attested(chip, attester=b""))
    assert kept(world) == {}
    assert await places(store) == 2


async def test_a_place_that_is_undone_leaves_the_key_free(world: World, store: SqlStore) -> None:
    def broken(_place: object) -> PreparedBytes:
        raise Fault("the profile gives no certificate")

    with pytest.raises(Fault, match="profile"):
        await store.take_place(attested("chip-1"), broken)
    assert kept(world) == {}
    assert (await issue(store, attested("chip-2"))).place.number == 1


async def test_of_chips_that_race_for_a_key_one_wins(world: World, store: SqlStore) -> None:
    requests = [attested(f"chip-{number}") for number in range(20)]
    outcomes = await asyncio.gather(*(issue(store, each) for each in requests), return_exceptions=True)
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    lost = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
    assert lost == [Code.CHIP_ALREADY_CERTIFIED] * 19
    assert kept(world) == {KEY_SHA256: won.place.chip_id}
    assert (won.place.number, await places(store)) == (1, 1)


async def test_a_second_writer_ends_at_the_constraint(world: World, store: SqlStore) -> None:
    """Whatever the code looks at before, the database holds it."""
    await issue(store, attested("chip-1"))
    row = {"kind": "key", "issuer": "", "value": KEY_SHA256, "chip": 1}
    with make_engine(world.url, "write").connect() as connection:
        connection.execute(insert(anchors), row | {"value": "another key"})
        with pytest.raises(IntegrityError) as broken:
            connection.execute(insert(anchors), row)
    meaning = translated(broken.value)
    assert isinstance(meaning, Refused)
    assert meaning.code is Code.CHIP_ALREADY_CERTIFIED
