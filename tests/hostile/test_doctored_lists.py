"""Somebody with SQL write access and nothing else, and what administrators entered of chips by lists.

docs/threat-model.md numbers them under "Doctored stores".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.doctored_store import sql
from harness.store_of_before import back_to
from harness.store_world import NOW, ORDER, STATION, World, intent, issue, stock
from signerd.adapters.store import SqlStore, upgrade_database
from signerd.adapters.store.state.proven_lists import ProvenLists
from signerd.core.evidence.method import IdentityKey
from signerd.core.identity_list import ChipIdentity
from signerd.errors import Code, Fault, Refused
from signerd.ports import Chip

LOCKED = [f"locked-{number}" for number in range(20)]
OPEN = ["open-1", "open-2"]
LISTED = [f"listed-{number}" for number in range(20)]
LATER = ["later-1", "later-2"]
KEYS = [ChipIdentity(f"chip-{number}", b"id %d" % number, b"key %d" % number) for number in range(20)]
TPMS = [ChipIdentity(f"chip-{number}", b"id %d" % number, b"key %d" % number) for number in (50, 51)]

pytestmark = pytest.mark.check


async def enter(store: SqlStore) -> None:
    """Two lists of each kind that differ in something, and one that adds to another."""
    await stock(store, ORDER)
    for chips, locked in ((LOCKED, True), (OPEN, False), ([*LOCKED, "late"], True)):
        await store.personalize_chips(chips, locked=locked, site="lab", key="hmac-sha256", by="ann", now=NOW)
    await store.import_chips("WO-1", LISTED, NOW)
    await store.import_chips("WO-1", [*LISTED, *LATER], NOW)
    await store.import_identities("sensor", "nrf91", KEYS, by="ann", now=NOW)
    await store.import_identities("sensor", "tpm2", TPMS, by="ann", now=NOW)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await enter(store)
    return world


@pytest.fixture
async def store(world: World) -> AsyncIterator[SqlStore]:
    """Just started: no list was used yet."""
    async with world.opened() as store:
        yield store


async def chip(store: SqlStore, chip_id: str) -> Chip | None:
    context = await store.call_context(
        peer_uri=STATION, work_order="WO-1", chip_id=chip_id, session_sha256=None
    )
    return context.chip


async def key(store: SqlStore, chip_id: str, method: str = "nrf91") -> IdentityKey | None:
    return await store.identity(product="sensor", method=method, chip_id=chip_id)


async def test_honest_lists_are_used(store: SqlStore) -> None:
    for _ in range(2):
        for chip_id in (*LOCKED, "late"):
            assert await chip(store, chip_id) == Chip(chip_id, personalized=True, locked=True, listed=False)
        for chip_id in OPEN:
            assert await chip(store, chip_id) == Chip(chip_id, personalized=True, locked=False, listed=False)
        for chip_id in (*LISTED, *LATER):
            assert await chip(store, chip_id) == Chip(chip_id, personalized=False, locked=False, listed=True)
            await issue(store, replace(intent("chip-1"), listed_as=("nobody", chip_id)))
        assert await key(store, "chip-7") == IdentityKey(b"id 7", b"key 7")
        assert await key(store, "chip-50", "tpm2") == IdentityKey(b"id 50", b"key 50")
        assert await chip(store, "chip-1") is None
        assert await key(store, "chip-7", "tpm2") is None


async def test_a_list_that_is_entered_while_others_are_kept(store: SqlStore) -> None:
    assert await chip(store, LISTED[0])
    await store.import_chips("WO-1", ["new"], NOW)
    await store.personalize_chips(["new"], locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW)
    assert await chip(store, "new") == Chip("new", personalized=True, locked=True, listed=True)
    assert await chip(store, LISTED[1])


FIRST = "(SELECT entry FROM chips WHERE chip_id = 'locked-0')"
SECOND = "(SELECT max(entry) FROM order_chips)"
DOCTORED: dict[str, tuple[str, str]] = {
    "a chip marked as locked": ("UPDATE chips SET locked = 1 WHERE chip_id = 'open-1'", "open-1"),
    "a chip marked as open": ("UPDATE chips SET locked = 0 WHERE chip_id = 'locked-1'", "locked-1"),
    "another chip of the list marked as open": (
        "UPDATE chips SET locked = 0 WHERE chip_id = 'locked-1'",
        "locked-0",
    ),
    "an open chip moved to the locked ones": (
        f"UPDATE chips SET locked = 1, entry = {FIRST} WHERE chip_id = 'open-1'",
        "open-1",
    ),
    "a chip personalized": (
        "INSERT INTO chips (chip_id, locked, site, personalized_at, key, by, entry)"
        f" VALUES ('chip-9', 1, 'lab', 1, 'hmac-sha256', 'ann', {FIRST})",
        "chip-9",
    ),
    "a chip personalized of no list": (
        "INSERT INTO chips (chip_id, locked, site, personalized_at) VALUES ('chip-9', 1, 'lab', 1)",
        "chip-9",
    ),
    "a chip personalized in place of another": (
        "UPDATE chips SET chip_id = 'chip-9' WHERE chip_id = 'locked-1'",
        "chip-9",
    ),
    "a chip personalized by an entry of another kind": (
        "INSERT INTO chips (chip_id, locked, site, personalized_at, entry) VALUES ('chip-9', 1, 'lab', 1, 1)",
        "chip-9",
    ),
    "an entry that is no number": ("UPDATE chips SET entry = 'x'", "locked-0"),
    "a chip taken from the list": ("DELETE FROM chips WHERE chip_id = 'locked-1'", "locked-0"),
    "another site": ("UPDATE chips SET site = 'elsewhere'", "locked-0"),
    "a chip listed": (
        f"INSERT INTO order_chips (work_order, chip_id, entry) VALUES ('WO-1', 'chip-9', {SECOND})",
        "chip-9",
    ),
    "a chip listed in place of another": (
        "UPDATE order_chips SET chip_id = 'chip-9' WHERE chip_id = 'listed-1'",
        "chip-9",
    ),
    "a list moved to another entry": (f"UPDATE order_chips SET entry = {SECOND}", "listed-1"),
    "a listed chip that is no text": (
        "UPDATE order_chips SET chip_id = X'00ff' WHERE chip_id = 'listed-1'",
        "listed-2",
    ),
}
DOCTORED_KEYS: dict[str, tuple[str, str]] = {
    "a key exchanged": ("UPDATE identities SET spki = X'00' WHERE chip_id = 'chip-3'", "chip-3"),
    "another chip's key exchanged": ("UPDATE identities SET spki = X'00' WHERE chip_id = 'chip-3'", "chip-4"),
    "a key id exchanged": ("UPDATE identities SET key_id = X'00' WHERE chip_id = 'chip-3'", "chip-3"),
    "a key that is no bytes": ("UPDATE identities SET spki = 'text' WHERE chip_id = 'chip-3'", "chip-3"),
    "another key that is no bytes": ("UPDATE identities SET key_id = 'x' WHERE chip_id = 'chip-3'", "chip-4"),
    "two chips exchanged": (
        "UPDATE identities SET chip_id = CASE chip_id WHEN 'chip-3' THEN 'chip-40' ELSE 'chip-30' END"
        " WHERE chip_id IN ('chip-3', 'chip-4')",
        "chip-30",
    ),
    "a key imported": (
        "INSERT INTO identities (product, method, chip_id, key_id, spki, imported_at, by, entry)"
        " SELECT product, method, 'chip-99', X'00', X'00', 1, 'ann', max(entry) FROM identities"
        " WHERE method = 'nrf91'",
        "chip-99",
    ),
    "a key moved from another method": (
        "UPDATE identities SET chip_id = 'chip-99', method = 'nrf91' WHERE method = 'tpm2'"
        " AND chip_id = 'chip-50'",
        "chip-99",
    ),
}


@pytest.mark.parametrize("name", DOCTORED)
async def test_a_list_that_the_log_does_not_bear_out(world: World, store: SqlStore, name: str) -> None:
    statement, chip_id = DOCTORED[name]
    assert sql(world, statement) > 0
    with pytest.raises(Fault, match=r"table (chips|order_chips), .*(says otherwise)"):
        await chip(store, chip_id)


@pytest.mark.parametrize("name", DOCTORED_KEYS)
async def test_imported_keys_that_the_log_does_not_bear_out(world: World, store: SqlStore, name: str) -> None:
    statement, chip_id = DOCTORED_KEYS[name]
    assert sql(world, statement) > 0
    with pytest.raises(Fault, match=r"table identities, .*(says otherwise)"):
        await key(store, chip_id)


@pytest.mark.parametrize("name", [*DOCTORED, *DOCTORED_KEYS])
async def test_a_row_altered_after_its_list_was_used(world: World, store: SqlStore, name: str) -> None:
    """The row itself: another of the same list was compared, and goes on."""
    for chip_id in ("locked-0", "open-1", "late", "listed-1", "later-1"):
        assert await chip(store, chip_id)
    assert await key(store, "chip-0")
    assert await key(store, "chip-51", "tpm2")
    statement, chip_id = (DOCTORED | DOCTORED_KEYS)[name]
    assert sql(world, statement) > 0
    asked = key if name in DOCTORED_KEYS else chip
    if chip_id in statement or name in ("a list moved to another entry", "an entry that is no number"):
        with pytest.raises(Fault, match="says otherwise"):
            await asked(store, chip_id)
    else:
        assert await asked(store, chip_id)


async def test_a_chip_put_on_the_list_is_given_no_place(world: World, store: SqlStore) -> None:
    """In the transaction too: the first look came before."""
    sql(world, DOCTORED["a chip listed"][0])
    with pytest.raises(Fault, match="table order_chips"):
        await issue(store, replace(intent("chip-9"), listed_as=("chip-9",)))
    with pytest.raises(Refused) as refused:
        await issue(store, replace(intent("chip-8"), listed_as=("chip-8",)))
    assert refused.value.code is Code.CHIP_UNKNOWN


async def test_lists_beyond_what_is_kept_are_read_again(
    world: World, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._writer.states, "lists", ProvenLists(max_kept=25))
    for _ in range(2):
        assert await chip(store, "locked-0")
        assert await chip(store, "listed-0")
    sql(world, "UPDATE chips SET locked = 0 WHERE chip_id = 'locked-1'")
    assert await chip(store, "listed-0")
    with pytest.raises(Fault, match="table chips"):
        await chip(store, "locked-0")


async def test_lists_of_before_are_used(world: World) -> None:
    back_to(world, "0012")
    upgraded = upgrade_database(world.url)
    assert upgraded is not None
    assert upgraded.unproven == {}
    async with world.opened() as store:
        await test_honest_lists_are_used(store)


@pytest.mark.parametrize(
    ("statement", "chip_id", "unproven"),
    [
        ("UPDATE chips SET locked = 1 WHERE chip_id = 'open-1'", "open-1", {"chips": 3}),
        (
            "INSERT INTO chips (chip_id, locked, site, personalized_at, by)"
            " VALUES ('chip-9', 1, 'lab', 1, 'ann')",
            "chip-9",
            {"chips": 1},
        ),
        (
            "INSERT INTO order_chips (work_order, chip_id) VALUES ('WO-1', 'chip-9')",
            "chip-9",
            {"order_chips": 1},
        ),
        (
            "UPDATE order_chips SET chip_id = 'chip-9' WHERE chip_id = 'later-1'",
            "chip-9",
            {"order_chips": 2},
        ),
    ],
)
async def test_lists_of_before_that_no_entry_bears_out(
    world: World, statement: str, chip_id: str, unproven: dict[str, int]
) -> None:
    back_to(world, "0012")
    sql(world, statement)
    upgraded = upgrade_database(world.url)
    assert upgraded is not None
    assert upgraded.unproven == unproven
    async with world.opened() as store:
        with pytest.raises(Fault, match="no entry of the ledger says otherwise"):
            await chip(store, chip_id)
        assert await chip(store, "locked-0")
        assert await chip(store, "listed-0")
