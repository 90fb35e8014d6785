"""An attestation key speaks for one chip: under another product or method it gets no second chip id, by which
one chip could have two certificates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from harness.store_world import NOW, World
from signerd.adapters.store import SqlStore
from signerd.adapters.store.registry.identities import _of_other_lists
from signerd.adapters.store.tables.database import make_engine
from signerd.core.evidence.method import IdentityKey
from signerd.core.identity_list import ChipIdentity
from signerd.errors import Code, Refused

ONE = ChipIdentity("chip-1", b"id 1", b"key 1")
ELSEWHERE = [("other", "nrf91"), ("sensor", "tpm2"), ("other", "tpm2")]


async def enter(store: SqlStore, *wanted: ChipIdentity, product: str, method: str) -> int:
    return (await store.import_identities(product, method, wanted, by="ann@example", now=NOW))[0]


@pytest.mark.parametrize(("product", "method"), ELSEWHERE)
async def test_a_key_gets_no_second_chip_id_elsewhere(store: SqlStore, product: str, method: str) -> None:
    await enter(store, ONE, product="sensor", method="nrf91")
    third = ChipIdentity("chip-3", b"id 3", b"key 3")
    with pytest.raises(Refused) as caught:
        await enter(store, third, replace(ONE, chip_id="chip-2"), product=product, method=method)
    assert caught.value.code is Code.INVALID
    assert caught.value.detail == (
        "chip chip-2: its public key was imported before, for chip chip-1, product sensor, method nrf91"
    )
    for chip_id in ("chip-2", "chip-3"):
        assert await store.identity(product=product, method=method, chip_id=chip_id) is None


@pytest.mark.parametrize(("product", "method"), ELSEWHERE)
async def test_the_same_chip_may_stand_in_several_lists(store: SqlStore, product: str, method: str) -> None:
    await enter(store, ONE, product="sensor", method="nrf91")
    assert await enter(store, replace(ONE, key_id=b"name"), product=product, method=method) == 1
    found = await store.identity(product=product, method=method, chip_id="chip-1")
    assert found == IdentityKey(b"name", b"key 1")
    assert await enter(store, ONE, product="sensor", method="nrf91") == 0


async def test_the_look_into_other_lists_is_served_by_an_index(world: World, store: SqlStore) -> None:
    await store.close()
    engine, seen = make_engine(world.url, "read"), []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        seen.append((statement, values))

    with engine.connect() as connection:
        assert list(_of_other_lists(connection, "sensor", "nrf91", [ONE])) == []
        ((statement, values),) = [each for each in seen if each[0].startswith("SELECT")]
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
    assert "(spki=?)" in plan
