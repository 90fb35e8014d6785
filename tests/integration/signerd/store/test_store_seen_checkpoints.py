"""What stations saw, beside a real store: a ledger that lacks it is written no more, and starts no more."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from harness.store_world import ORIGIN, SoftwareLogKey, World, intent, issue, prepare, stock, with_terms
from signerd.adapters import durable_files
from signerd.adapters.contradiction_file import contradiction_file as kept_at
from signerd.adapters.store import SqlStore
from signerd.core.note import Checkpoint, VerifierKey, sign_note
from signerd.errors import Code, ConfigError, Fault, Unavailable
from signerd.seen_checkpoints import SeenCheckpoints

PC = "birthmark://test/station/plant1/pc1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.create()
    return made


def signed(key: SoftwareLogKey, size: int, root: bytes = bytes(32), origin: str = ORIGIN) -> bytes:
    """A note of any tree, with this key's signature."""
    body = Checkpoint(origin, size, root).body()
    return sign_note(body, (VerifierKey(origin, key.verifier.public_key), key._key.sign(body)))


async def grow(store: SqlStore, *chips: str) -> bytes:
    """Boards of these chips are certified; the checkpoint over them."""
    for chip in chips:
        record = await issue(store, intent(chip))
        assert record.issued_index is not None
        await store.published(record.issued_index)
    return store.checkpoint()


async def lost(world: World) -> bytes:
    """A station saw three boards; database and second place are then restored from after the first."""
    async with world.opened() as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
    backup = world.database.with_name("backup")
    shutil.copy(world.database, backup)
    shutil.copy(world.head_file, backup.with_suffix(".head"))
    async with world.opened() as store:
        seen = await grow(store, "chip-2", "chip-3")
    world.restore(backup)
    shutil.copy(backup.with_suffix(".head"), world.head_file)
    shutil.rmtree(world.tiles)  # they went back too, as in a snapshot of the machine
    return seen


async def differs(store: SqlStore, note: bytes, named: Sequence[VerifierKey] = ()) -> Fault:
    with pytest.raises(Fault) as caught:
        await SeenCheckpoints(store, named).check(PC, note)
    assert caught.value.code is Code.LEDGER_DIFFERS
    return caught.value


async def test_what_was_seen_is_held_before_and_after_a_start(world: World) -> None:
    async with world.opened() as store:
        await stock(store, with_terms())
        notes = [await grow(store, f"chip-{number}") for number in range(3)]
        seen = SeenCheckpoints(store)
        for note in (*notes, *reversed(notes), b""):
            await seen.check(PC, note)
    async with world.opened() as store:  # whose own notes are forgotten: by size and root
        seen = SeenCheckpoints(store)
        for note in (*notes, *reversed(notes)):
            await seen.check(PC, note)
        assert store.fault is None


async def test_a_backup_restored_with_its_second_place_is_found_at_the_first_call(world: World) -> None:
    seen = await lost(world)
    async with world.opened() as store:
        fault = await differs(store, seen)
        assert "shorter" in fault.detail
        assert PC in fault.detail
        assert (await asyncio.wait_for(store.wait_stopped(), 10)).code is Code.LEDGER_DIFFERS
        with pytest.raises(Fault):
            await store.take_place(intent("chip-4"), prepare)
    for _ in range(2):  # at each start from now on
        with pytest.raises(ConfigError, match="a station saw a checkpoint"):
            await world.open()


async def test_a_restored_ledger_that_grew_past_what_was_seen_is_a_fork(world: World) -> None:
    seen = await lost(world)
    async with world.opened() as store:
        await grow(store, "chip-5", "chip-6", "chip-7", "chip-8")
        assert "another root" in (await differs(store, seen)).detail
    with pytest.raises(ConfigError, match="another root"):
        await world.open()


async def test_the_right_database_goes_on(world: World) -> None:
    async with world.opened() as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
    right, head = world.database.with_name("right"), world.head_file.with_name("right")
    seen = await lost_again(world, right, head)
    async with world.opened() as store:
        await differs(store, seen)
    world.restore(right)
    shutil.copy(head, world.head_file)
    shutil.rmtree(world.tiles)
    async with world.opened() as store:
        await SeenCheckpoints(store).check(PC, seen)
        await grow(store, "chip-9")
    assert not kept_at(world.head_file).exists()


async def lost_again(world: World, right: Path, head: Path) -> bytes:
    """As `lost`, of an installation that has boards; the right files are kept at these places."""
    before = world.database.with_name("before")
    shutil.copy(world.database, before)
    shutil.copy(world.head_file, before.with_suffix(".head"))
    async with world.opened() as store:
        seen = await grow(store, "chip-2")
    shutil.copy(world.database, right)
    shutil.copy(world.head_file, head)
    world.restore(before)
    shutil.copy(before.with_suffix(".head"), world.head_file)
    shutil.rmtree(world.tiles)
    return seen


FOREIGN = SoftwareLogKey(b"another installation's")
JUNK: dict[str, Callable[[World, bytes], bytes]] = {
    "cut": lambda _world, note: note[:-9],
    "a bit turned": lambda _world, note: note[:-9] + bytes([note[-9] ^ 1]) + note[-8:],
    "another size under the signature": lambda _world, note: note.replace(b"\n", b"\n9", 1),
    "of another log": lambda world, _note: signed(world.log_key, 900, origin="another/log"),
    "another installation's": lambda _world, _note: signed(FOREIGN, 900),
    "no note": lambda _world, _note: b"\xff" * 300,
    "huge": lambda _world, note: note + b"x" * 9_000,
}


@pytest.mark.parametrize("name", JUNK)
async def test_nothing_that_a_station_can_make_stops_signerd(world: World, name: str) -> None:
    async with world.opened() as store:
        await stock(store, with_terms())
        note = await grow(store, "chip-1")
        seen = SeenCheckpoints(store)
        await seen.check(PC, note)
        with capture_logs() as logs:
            for number in range(50):
                await seen.check(PC, JUNK[name](world, note) + b"\n" * number)
        assert [line["event"] for line in logs] == ["seen_checkpoint_passed_over"]
        await grow(store, "chip-2")
        assert store.fault is None


async def test_a_note_of_the_same_key_with_another_root_does(world: World) -> None:
    """The twin of the last: signed by the log's key, and wrong."""
    async with world.opened() as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        await differs(store, signed(world.log_key, 2))


async def test_a_key_that_the_settings_name_counts_where_the_copy_does_not_know_it(world: World) -> None:
    async with world.opened() as store:
        await stock(store, with_terms())
        await SeenCheckpoints(store).check(PC, signed(FOREIGN, 900))
        await differs(store, signed(FOREIGN, 900), [FOREIGN.verifier])


async def test_an_older_agent_sends_nothing(world: World) -> None:
    await lost(world)
    async with world.opened() as store:
        await SeenCheckpoints(store).check(PC, b"")
        await grow(store, "chip-4")


async def test_a_disk_that_takes_no_note_stops_signerd_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await lost(world)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "head")

    async with world.opened() as store:
        monkeypatch.setattr(durable_files, "replace", full)
        with capture_logs() as logs:
            await differs(store, seen)
        assert "contradiction_not_kept" in [line["event"] for line in logs]
        await asyncio.wait_for(store.wait_stopped(), 10)


async def test_a_crash_before_it_has_its_name_leaves_none_and_the_next_call_finds_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await lost(world)

    class PowerCut(BaseException):
        pass

    def cut(*_arguments: object) -> None:
        raise PowerCut

    async with world.opened() as store:
        monkeypatch.setattr(Path, "replace", cut)
        with pytest.raises(PowerCut):
            await SeenCheckpoints(store).check(PC, seen)
        monkeypatch.undo()
    assert not kept_at(world.head_file).exists()
    async with world.opened() as store:
        await differs(store, seen)
    assert kept_at(world.head_file).read_bytes() == seen


async def unsigned(world: World, store: SqlStore) -> int:
    """A board that is committed while the key holder does not sign; its index."""
    await stock(store, with_terms())
    await grow(store, "chip-1")
    world.log_key.available = False
    record = await issue(store, intent("chip-2"))
    assert record.issued_index is not None
    return record.issued_index


def contradiction(world: World) -> bytes:
    return signed(world.log_key, 900)


async def test_nothing_is_signed_or_handed_out_after_a_contradiction(world: World) -> None:
    async with world.opened() as store:
        index = await unsigned(world, store)
        before, size = len(world.log_key.signed), store.published_size
        await differs(store, contradiction(world))
        world.log_key.available = True
        assert store._ledger._task is not None
        await asyncio.wait_for(asyncio.shield(store._ledger._task), 10)  # it ends, and not by a signature
        for asked in (index, 0):  # what was published before is of the same history
            with pytest.raises(Fault, match="the ledger here is shorter"):
                await store.published(asked)
        assert (len(world.log_key.signed), store.published_size) == (before, size)


async def test_the_twin_without_one_is_signed_and_handed_out(world: World) -> None:
    async with world.opened() as store:
        index = await unsigned(world, store)
        with pytest.raises(Unavailable):
            await store.published(index)
        world.log_key.available = True
        async with asyncio.timeout(20):
            while await store.unpublished(index, within_s=5):
                pass
        assert (await store.published(index)).index == index


async def test_closing_signs_nothing_after_a_contradiction(world: World) -> None:
    store = await world.open()
    await unsigned(world, store)
    before, size = len(world.log_key.signed), store.published_size
    await differs(store, contradiction(world))
    world.log_key.available = True
    await store.close()
    assert (len(world.log_key.signed), store.published_size) == (before, size)


async def test_a_signature_that_comes_after_it_is_not_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key holder signs while the note is written to its file."""
    asked, told = asyncio.Event(), asyncio.Event()
    right = SoftwareLogKey.sign_checkpoint

    async def slow(key: SoftwareLogKey, body: bytes) -> bytes:
        asked.set()
        await told.wait()
        return await right(key, body)

    async with world.opened() as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        kept, size = world.head_file.read_bytes(), store.published_size
        monkeypatch.setattr(SoftwareLogKey, "sign_checkpoint", slow)
        monkeypatch.setattr(
            store._ledger, "_signs", dict.fromkeys(store._ledger._signs, world.log_key.sign_checkpoint)
        )
        record = await issue(store, intent("chip-2"))
        assert record.issued_index is not None
        await asyncio.wait_for(asked.wait(), 10)
        waiting = asyncio.create_task(store.published(record.issued_index))
        await asyncio.sleep(0)
        contradicted = asyncio.create_task(differs(store, contradiction(world)))
        await asyncio.sleep(0)  # it begins: from here on nothing is used
        told.set()
        await contradicted
        with pytest.raises(Fault):
            await waiting
    assert (world.head_file.read_bytes(), store.published_size) == (kept, size)
