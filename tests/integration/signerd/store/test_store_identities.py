"""Imported attestation keys: one a chip, one a key id, one a key; and the ledger tells what was added."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.exc import IntegrityError

from harness.store_world import NOW, World
from signerd.adapters.store import SqlStore
from signerd.adapters.store.admin import MAX_IDENTITIES
from signerd.adapters.store.registry.identities import _imported
from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import identities
from signerd.core.evidence.method import IdentityKey
from signerd.core.identity_list import ChipIdentity
from signerd.errors import Code, Refused

ONE = ChipIdentity("chip-1", b"id 1", b"key 1")
TWO = ChipIdentity("chip-2", b"id 2", b"key 2")


async def enter(
    store: SqlStore, *wanted: ChipIdentity, product: str = "sensor", method: str = "nrf91"
) -> tuple[int, int]:
    return await store.import_identities(product, method, wanted, by="ann@example", now=NOW)


async def known(store: SqlStore, chip_id: str, **where: str) -> IdentityKey | None:
    named = {"product": "sensor", "method": "nrf91"} | where
    return await store.identity(product=named["product"], method=named["method"], chip_id=chip_id)


async def entry(store: SqlStore, index: int) -> dict[str, Any]:
    value = json.loads((await store.published(index)).entry)
    assert isinstance(value, dict)
    assert len(bytes.fromhex(value.pop("id"))) == 16
    return value


async def test_what_is_imported_is_found_for_its_product_method_and_chip(store: SqlStore) -> None:
    added, index = await enter(store, TWO, ONE)
    assert added == 2
    assert await known(store, "chip-1") == IdentityKey(b"id 1", b"key 1")
    assert await known(store, "chip-2") == IdentityKey(b"id 2", b"key 2")
    for elsewhere in (
        known(store, "chip-3"),
        known(store, "chip-1", method="tpm2"),
        known(store, "chip-1", product="other"),
    ):
        assert await elsewhere is None
    keys = {key: hashlib.sha256(key).hexdigest() for key in (b"key 1", b"key 2")}
    lines = f"chip-1 {b'id 1'.hex()} {keys[b'key 1']}\nchip-2 {b'id 2'.hex()} {keys[b'key 2']}\n"
    assert await entry(store, index) == {
        "v": 3,
        "type": "identities_imported",
        "time": "2026-11-15T12:00:00Z",
        "product": "sensor",
        "method": "nrf91",
        "count": 2,
        "identities_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "by": "ann@example",
    }


async def test_the_same_again_counts_nothing(store: SqlStore) -> None:
    await enter(store, ONE)
    added, index = await enter(store, ONE, TWO, TWO)
    assert added == 1
    line = f"chip-2 {b'id 2'.hex()} {hashlib.sha256(b'key 2').hexdigest()}\n"
    assert (await entry(store, index))["identities_sha256"] == hashlib.sha256(line.encode()).hexdigest()
    added, index = await enter(store, ONE, TWO)
    assert (added, (await entry(store, index))["count"]) == (0, 0)


CONFLICTS = [
    (replace(ONE, key_id=b"other"), "chip chip-1: it was imported before, with another key id"),
    (replace(ONE, spki=b"other"), "chip chip-1: it was imported before, with another key"),
    (replace(TWO, key_id=ONE.key_id), "chip chip-2: its key id was imported before, for chip chip-1"),
    (replace(TWO, spki=ONE.spki), "chip chip-2: its public key was imported before, for chip chip-1"),
]


@pytest.mark.parametrize(("second", "said"), CONFLICTS)
@pytest.mark.parametrize("together", [True, False])
async def test_one_chip_one_key_id_one_key(
    store: SqlStore, second: ChipIdentity, said: str, together: bool
) -> None:
    third = ChipIdentity("chip-3", b"id 3", b"key 3")
    if not together:
        await enter(store, ONE)
    with pytest.raises(Refused) as caught:
        await enter(store, third, ONE, second)
    assert (caught.value.code, caught.value.detail) == (Code.INVALID, said)
    assert await known(store, "chip-3") is None  # nothing of the call is entered
    assert await known(store, second.chip_id) in (None, IdentityKey(ONE.key_id, ONE.spki))


@pytest.mark.parametrize("where", [{"product": "other"}, {"method": "tpm2"}])
async def test_another_product_or_method_has_its_own(store: SqlStore, where: dict[str, str]) -> None:
    await enter(store, ONE)
    other = replace(ONE, spki=b"another key")
    assert (await enter(store, other, **where))[0] == 1
    assert await known(store, "chip-1", **where) == IdentityKey(b"id 1", b"another key")
    assert await known(store, "chip-1") == IdentityKey(b"id 1", b"key 1")


async def test_a_call_is_bounded(store: SqlStore) -> None:
    many = [ChipIdentity(f"chip-{n}", b"id %d" % n, b"key %d" % n) for n in range(MAX_IDENTITIES + 1)]
    with pytest.raises(Refused) as caught:
        await enter(store, *many)
    assert caught.value.code is Code.INVALID
    assert (await enter(store, *many[1:]))[0] == MAX_IDENTITIES
    assert (await enter(store, *many[1:]))[0] == 0


async def test_of_two_imports_at_once_one_wins(store: SqlStore) -> None:
    outcomes = await asyncio.gather(
        enter(store, ONE), enter(store, replace(ONE, spki=b"other")), return_exceptions=True
    )
    (failed,) = [each for each in outcomes if isinstance(each, BaseException)]
    assert isinstance(failed, Refused)
    assert failed.code is Code.INVALID


@pytest.mark.parametrize("row", [each for each, _ in CONFLICTS])
async def test_it_holds_without_a_look_before(world: World, store: SqlStore, row: ChipIdentity) -> None:
    await enter(store, ONE)
    await store.close()
    with make_engine(world.url, "write").connect() as connection:
        kept = dict(connection.execute(select(identities)).mappings().one()) | {"id": None}
        second = {"chip_id": row.chip_id, "key_id": row.key_id, "spki": row.spki}
        with pytest.raises(IntegrityError) as caught:
            connection.execute(insert(identities), kept | second)
        assert getattr(translated(caught.value), "code", None) is Code.ALREADY_EXISTS
        fresh = {"chip_id": TWO.chip_id, "key_id": TWO.key_id, "spki": TWO.spki}
        connection.execute(insert(identities), kept | fresh)


async def test_looking_for_what_is_imported_uses_its_indexes(world: World, store: SqlStore) -> None:
    await store.close()
    engine, seen = make_engine(world.url, "read"), []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        seen.append((statement, values))

    with engine.connect() as connection:
        assert list(_imported(connection, "sensor", "nrf91", [ONE, TWO])) == []
        selects = [each for each in seen if each[0].startswith("SELECT")]
        plans = [
            str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
            for statement, values in selects
        ]
    assert len(plans) == 3
    listed = "(product=? AND method=? AND {}=?)"
    indexes = (listed.format("chip_id"), listed.format("key_id"), "(spki=? AND product=? AND method=?)")
    for plan, index in zip(plans, indexes, strict=True):
        assert index in plan
