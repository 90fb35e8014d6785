"""Publishing, receipts, the second place, restored backups, and death at every write."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from harness.store_that_dies import Point
from harness.store_world import NOW, ORDER, ORIGIN, World, digest, intent, issue, prepare, stock, with_terms
from signerd.adapters.head_file import HeadFile
from signerd.adapters.store import SqlStore
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import records
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.merkle import leaf_hash, node_hash
from signerd.core.note import Checkpoint, VerifierKey, open_checkpoint, parse_checkpoint
from signerd.core.order import FirmwareBundle
from signerd.errors import ConfigError, Fault, Unavailable
from signerd.ports import LedgerPosition

ROOT = Path(__file__).parents[4]


def checked_size(world: World, position: LedgerPosition) -> int:
    """Verifies a receipt with RFC 9162 §2.1.3.2; the size of its tree."""
    proof, _, note = position.receipt.partition(b"\n\n")
    header, index, *encoded = proof.decode().split("\n")
    assert (header, index) == ("c2sp.org/tlog-proof@v1", f"index {position.index}")
    checkpoint = open_checkpoint(note, world.log_key.verifier)
    place, last, node = position.index, checkpoint.size - 1, leaf_hash(position.entry)
    for sibling in (base64.b64decode(line) for line in encoded):
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    assert (last, node) == (0, checkpoint.root)
    return checkpoint.size


async def test_receipts_verify_and_many_share_a_signature(world: World, store: SqlStore) -> None:
    issued = await asyncio.gather(*(issue(store, intent(f"chip-{number}")) for number in range(10)))
    indexes = [record.issued_index for record in issued if record.issued_index is not None]
    positions = await asyncio.gather(*(store.published(index) for index in indexes))
    assert len(positions) == 10
    for position in positions:
        assert checked_size(world, position) > position.index
    assert len(world.log_key.signed) < 4 + 10
    first = await store.published(0)
    assert json.loads(first.entry)["type"] == "log_opened"
    assert checked_size(world, first) == store.published_size


async def test_an_entry_that_left_memory_is_read_again(world: World, store: SqlStore) -> None:
    await store.published(3)
    store._ledger.recent.forget()
    position = await store.published(3)
    assert json.loads(position.entry)["type"] == "order_opened"
    assert checked_size(world, position) == 4


async def test_an_entry_that_is_not_committed_is_not_waited_for(store: SqlStore) -> None:
    with pytest.raises(Fault, match="not committed"):
        await store.published(999)


async def test_a_commit_that_is_read_before_the_event_loop_is_told_of_it_is_waited_for(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, held = threading.Event(), []
    tell = store._writer._post

    def hold(*outcome: Any) -> None:
        held.append(outcome)
        committed.set()

    monkeypatch.setattr(store._writer, "_post", hold)
    adding = asyncio.ensure_future(store.add_product("other", 'name = "other"', NOW))
    assert await asyncio.to_thread(committed.wait, 30)
    assert await store.product("other") is not None
    assert not adding.done()
    ((_, outcomes),) = held
    ((index, _),) = outcomes
    waiting = asyncio.ensure_future(store.published(index))
    # In this order: someone asks for the receipt of what he has read, then the event loop hears of it.
    asyncio.get_running_loop().call_soon(tell, *held[0])
    assert json.loads((await waiting).entry)["product"] == "other"
    assert await adding == index


async def test_while_the_key_holder_is_away_nothing_is_lost(world: World, store: SqlStore) -> None:
    await store.published(3)
    world.log_key.available = False
    record = await issue(store, intent("chip-1"))
    assert record.issued_index is not None
    with pytest.raises(Unavailable):
        await store.published(record.issued_index)
    assert isinstance(store.fault, Unavailable)
    assert store.published_size == 4
    assert parse_checkpoint(store.checkpoint().partition(b"\n\n")[0] + b"\n").size == 4
    world.log_key.available = True
    position = await store.published(record.issued_index)
    assert checked_size(world, position) == 5
    assert store.fault is None


async def test_publishing_is_tried_again_without_a_call(
    world: World, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signerd.adapters.store.log.ledger._RETRY_S", 0.01)
    await store.published(3)
    world.log_key.available = False
    record = await issue(store, intent("chip-1"))
    assert record.issued_index is not None
    with pytest.raises(Unavailable):
        await store.published(record.issued_index)
    world.log_key.has_signed.clear()
    world.log_key.available = True
    await world.log_key.has_signed.wait()


async def test_a_store_opens_while_the_key_holder_is_away(world: World) -> None:
    async with world.opened() as store:
        await store.published(0)
    world.log_key.available = False
    async with world.opened() as store:
        await store.add_product("early", 'name = "early"', NOW)
        assert store.published_size == 1
    world.log_key.available = True
    async with world.opened() as store:
        await store.published(1)
        assert store.published_size == 2


async def test_nothing_is_entered_before_the_first_checkpoint_is_signed(world: World) -> None:
    """Else the mark of `init` could stand beside a ledger of any length."""
    world.log_key.available = False
    async with world.opened() as store:
        with pytest.raises(Unavailable, match="no checkpoint"):
            store.checkpoint()
        with pytest.raises(Unavailable, match="first checkpoint"):
            await store.add_product("early", 'name = "early"', NOW)
    world.log_key.available = True
    async with world.opened() as store:
        await store.add_product("early", 'name = "early"', NOW)
        await store.published(1)


async def test_the_first_mark_beside_a_ledger_that_went_on_is_refused(world: World) -> None:
    mark = world.head_file.read_bytes()
    async with world.opened() as store:
        await store.published(0)
    world.head_file.write_bytes(mark)
    shutil.rmtree(world.tiles)  # else they show that the mark is not the last
    async with world.opened() as store:  # beside the opening alone it is what it was
        await store.add_product("early", 'name = "early"', NOW)
        await store.published(1)
    signed = world.head_file.read_bytes()
    world.head_file.write_bytes(mark)
    with pytest.raises(ConfigError, match=r"no checkpoint was ever signed.*product_added.*lost"):
        await world.open()
    world.head_file.write_bytes(signed)
    async with world.opened() as store:
        assert store.fault is None


async def test_a_signature_that_does_not_hold_stops_publishing(world: World, store: SqlStore) -> None:
    await store.published(3)
    world.log_key._key = Ed25519PrivateKey.generate()
    record = await issue(store, intent("chip-1"))
    assert record.issued_index is not None
    for _ in range(2):
        with pytest.raises(Fault):
            await store.published(record.issued_index)
    assert store.published_size == 4
    assert store.fault is not None


async def test_closing_publishes_what_is_committed(world: World) -> None:
    async with world.opened() as store:
        await stock(store, ORDER)
    with_lock = HeadFile(world.head_file, LogKeys.first(world.log_key.verifier))
    assert with_lock.checkpoint.size == 4
    with_lock.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.product("sensor")


class TestStartUp:
    """What start-up refuses. Each of these opens without the one change."""

    async def filled(self, world: World) -> None:
        async with world.opened() as store:
            await stock(store, ORDER)

    async def test_a_restored_backup(self, world: World, tmp_path: Path) -> None:
        await self.filled(world)
        backup = tmp_path / "backup.sqlite"
        with make_engine(world.url, "write").connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.connection.driver_connection.execute(f"VACUUM INTO '{backup}'")  # type: ignore[union-attr]
        async with world.opened() as store:
            await store.published((await issue(store, intent("chip-1"))).issued_index or 0)
        world.restore(backup)
        with pytest.raises(ConfigError, match="restored backup"):
            await world.open()

    async def test_a_database_with_another_history(self, world: World) -> None:
        await self.filled(world)
        other = World(world.database.parent / "other")
        other.database.parent.mkdir()
        other.create()
        async with other.opened() as store:
            await stock(store, ORDER)
            await store.close_order("WO-1", NOW)
        other.restore(world.database)
        with pytest.raises(ConfigError, match="restored backup"):
            await other.open()

    async def test_a_rewritten_history(self, world: World) -> None:
        await self.filled(world)
        leaf = leaf_hash(b"forged")
        with make_engine(world.url, "write").begin() as connection:
            connection.exec_driver_sql("DELETE FROM entries WHERE entry_index > 0")
            connection.exec_driver_sql("UPDATE entries SET data = ?, leaf_hash = ?", (b"forged", leaf))
            connection.exec_driver_sql("UPDATE head SET size = 1, root = ?", (leaf,))
        with pytest.raises(ConfigError, match="restored backup"):
            await world.open()

    async def test_no_second_place(self, world: World) -> None:
        world.head_file.unlink()
        with pytest.raises(ConfigError, match="second place"):
            await world.open()

    async def test_a_second_place_of_another_key(self, world: World) -> None:
        await self.filled(world)
        stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        world.log_key.verifier = VerifierKey(ORIGIN, stranger)
        with pytest.raises(ConfigError, match="no checkpoint of this log"):
            await world.open()

    async def test_a_key_of_another_name(self, world: World) -> None:
        world.log_key.verifier = VerifierKey("elsewhere", world.log_key.verifier.public_key)
        with pytest.raises(ConfigError, match="elsewhere"):
            await world.open()

    async def test_a_second_signerd(self, world: World) -> None:
        async with world.opened():
            with pytest.raises(ConfigError, match="another signerd"):
                await world.open()
        await (await world.open()).close()


class TestHeadFile:
    """The second place never goes back."""

    def place(self, world: World) -> HeadFile:
        return HeadFile(world.head_file, LogKeys.first(world.log_key.verifier))

    def test_it_goes_forward_alone(self, world: World) -> None:
        place = self.place(world)
        place.swap(Checkpoint(ORIGIN, 5, b"5" * 32), b"note 5")
        for older in (Checkpoint(ORIGIN, 4, b"4" * 32), Checkpoint(ORIGIN, 5, b"x" * 32)):
            with pytest.raises(Fault, match="fork"):
                place.swap(older, b"older")
        assert world.head_file.read_bytes() == b"note 5"
        place.swap(Checkpoint(ORIGIN, 6, b"6" * 32), b"note 6")
        assert world.head_file.read_bytes() == b"note 6"
        place.close()

    def test_a_file_that_someone_changed_is_not_overwritten(self, world: World) -> None:
        place = self.place(world)
        world.head_file.write_bytes(b"changed")
        with pytest.raises(Fault, match="changed"):
            place.swap(Checkpoint(ORIGIN, 5, b"5" * 32), b"note 5")
        place.close()

    def test_a_disk_that_fails_is_unavailable(self, world: World) -> None:
        place = self.place(world)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with pytest.raises(Unavailable, match="cannot write"):
                place.swap(Checkpoint(ORIGIN, 5, b"5" * 32), b"note 5")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        place.swap(Checkpoint(ORIGIN, 5, b"5" * 32), b"note 5")
        assert world.head_file.read_bytes() == b"note 5"
        place.close()


async def die(world: World, point: Point) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT), str(ROOT / "proto")])
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.store_that_dies", str(world.database.parent), point, env=environment
    )
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("point", list(Point))
async def test_death_at_every_write(world: World, point: Point) -> None:
    async with world.opened() as store:
        await stock(store, ORDER)
    await die(world, point)
    held = HeadFile(world.head_file, LogKeys.first(world.log_key.verifier))
    assert held.checkpoint.size == (5 if point is Point.HEAD_RENAMED else 4)
    held.close()

    left_open = point in {Point.INTENT_COMMITTED, Point.CERTIFICATE_NOT_COMMITTED}
    async with world.opened() as store:
        # The board's station asks again, and gets the one certificate with the one serial number.
        record = await issue(store, intent("chip-1"))
        assert (record.place.number, record.place.serial_number) == (1, "BM-000001")
        assert record.issued_index is not None
        position = await store.published(record.issued_index)
        size = checked_size(world, position)
        types = [json.loads(entry)["type"] for entry in await store.entries(4, size)]
        assert types == (["intent_open", "issued"] if left_open else ["issued"])
    with make_engine(world.url, "read").begin() as connection:
        assert len(connection.execute(select(records.c.id)).all()) == 1


async def test_an_open_intent_is_entered_once(world: World) -> None:
    async with world.opened() as store:
        await stock(store, ORDER)
        await store.take_place(intent("chip-1"), prepare)
    for _ in range(2):
        async with world.opened() as store:
            await store.published(4)
            assert store.published_size == 5


@pytest.mark.parametrize(
    ("bundle", "entered"),
    [
        (None, (None, None)),
        (FirmwareBundle(digest("bundle"), {}), (digest("bundle").hex(), None)),
        (
            FirmwareBundle(
                digest("bundle"), {"boot": ("2.0", digest("boot")), "app": ("1.4.0", digest("app"))}
            ),
            (
                digest("bundle").hex(),
                {"app": ["1.4.0", digest("app").hex()], "boot": ["2.0", digest("boot").hex()]},
            ),
        ),
    ],
    ids=["none", "without firmware", "with firmware"],
)
async def test_an_orders_bundle_in_its_entry(
    store: SqlStore, bundle: FirmwareBundle | None, entered: tuple[object, object]
) -> None:
    terms = with_terms(work_order="WO-2", serial_pattern="S-{number}", bundle=bundle)
    entry = json.loads((await store.published(await store.open_order(terms, NOW))).entry)
    assert (entry["bundle_sha256"], entry["firmware"]) == entered
    opened = await store.order("WO-2")
    assert opened is not None
    assert opened.order == terms
