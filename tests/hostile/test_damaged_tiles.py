"""Damaged tiles, and a disk that does not answer, while stations send checkpoints that they saw."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from harness.store_world import ORIGIN, World, refusals
from signerd.adapters.store import SqlStore
from signerd.adapters.tiles import TilesFolder
from signerd.core.note import Checkpoint, sign_note
from signerd.errors import Code, Fault
from signerd.seen_checkpoints import SeenCheckpoints

COUNT = 300  # entries: the first tiles are full, and in the folder alone after a start
PC = "birthmark://test/station/plant1/pc"


class Restarted:
    """A store after a start, with checkpoints of before it."""

    def __init__(self, world: World, store: SqlStore, held: list[bytes]) -> None:
        self.world = world
        self.store = store
        self.held = held
        self.clock = 1_000.0
        self.seen = SeenCheckpoints(store, seconds=lambda: self.clock)

    @property
    def tile(self) -> Path:
        """What all of them need."""
        return self.world.tiles / "tile/0/000"

    def forked(self) -> bytes:
        """Signed by the log's key, and of another tree."""
        key = self.world.log_key
        body = Checkpoint(ORIGIN, 7, bytes(32)).body()
        return sign_note(body, (key.verifier, key._key.sign(body)))

    async def grow(self) -> None:
        """One more entry, with its receipt."""
        await self.store.append_refusals(refusals(1))
        async with asyncio.timeout(20):
            await self.store.published(self.store.published_size)


@pytest_asyncio.fixture
async def restarted(tmp_path: Path) -> AsyncIterator[Restarted]:
    world, held = World(tmp_path), []
    world.create()
    async with world.opened() as store:
        for count in (*[1] * 10, COUNT):
            await store.append_refusals(refusals(count))
            await store.published(store.published_size + count - 1)
            held.append(store.checkpoint())
    async with world.opened() as store:
        yield Restarted(world, store, held[:-1])


def damage(path: Path) -> bytes:
    """One bit; what it was."""
    right = path.read_bytes()
    path.write_bytes(bytes([right[0] ^ 1]) + right[1:])
    return right


async def test_a_damaged_tile_refuses_no_station_and_forgets_no_checkpoint(restarted: Restarted) -> None:
    seen, forked = restarted.seen, restarted.forked()
    right = damage(restarted.tile)
    with capture_logs() as logs:
        for note in (restarted.held[0], forked, *restarted.held):
            await seen.check(PC, note)
        restarted.clock += 61
        await seen.check(PC, forked)
    assert [(line["event"], line["log_level"], line["calls"]) for line in logs] == [
        ("seen_checkpoint_not_compared", "error", 1),
        ("seen_checkpoint_not_compared", "error", len(restarted.held) + 2),
    ]
    assert "is not what the log has" in logs[0]["detail"]
    await restarted.grow()
    restarted.tile.write_bytes(right)
    with pytest.raises(Fault) as refused:  # the same station sends the same note, which was not looked at yet
        await seen.check(PC, forked)
    assert refused.value.code is Code.LEDGER_DIFFERS


async def test_a_larger_tree_is_found_without_a_tile(restarted: Restarted) -> None:
    key = restarted.world.log_key
    body = Checkpoint(ORIGIN, COUNT + 900, bytes(32)).body()
    restarted.tile.unlink()
    with pytest.raises(Fault) as refused:
        await restarted.seen.check(PC, sign_note(body, (key.verifier, key._key.sign(body))))
    assert refused.value.code is Code.LEDGER_DIFFERS


async def test_a_thousand_calls_while_the_tiles_do_not_answer(
    restarted: Restarted, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, answers = TilesFolder.read, threading.Event()
    monkeypatch.setattr(TilesFolder, "read", lambda *of: answers.wait(60) and read(*of))
    monkeypatch.setattr(restarted.store._ledger._earlier, "_deadline_s", 0.3)
    seen, held = restarted.seen, restarted.held
    threads, begun = threading.active_count(), time.monotonic()
    try:
        with capture_logs() as logs:
            calls = [seen.check(f"{PC}{n}", held[n % len(held)]) for n in range(1_000)]
            await asyncio.gather(*calls, restarted.grow())
            at_once = time.monotonic()
            await asyncio.gather(*(seen.check(f"{PC}{n}", held[0]) for n in range(1_000)))
        assert threading.active_count() <= threads + 3  # its own, and what publishing has of the pool
        assert time.monotonic() - begun < 0.3 * 1_000 / 10  # nobody waits for the turns of the others
        assert time.monotonic() - at_once < 20
        assert [line["event"] for line in logs] == ["seen_checkpoint_not_compared"]
        assert "look at their disk" in logs[0]["detail"]
    finally:
        answers.set()
    thread = restarted.store._ledger._earlier._thread
    await asyncio.get_running_loop().run_in_executor(thread, lambda: None)  # it is through with all before
    with pytest.raises(Fault):
        await seen.check(f"{PC}1", restarted.forked())
