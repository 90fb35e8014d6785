"""The log as tiles: what is published, what a start does with what it finds, and death at each write."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.read_tiles import checked, published
from harness.store_world import ORDER, World, intent, issue, refusals, stock
from harness.tiles_that_die import TilePoint
from signerd.adapters.head_file import HeadFile
from signerd.adapters.store import write_tiles_anew
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.tiles import Counts, TilesFolder
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.entry import ID_BYTES, encode
from signerd.core.merkle import leaf_hash
from signerd.errors import ConfigError, Fault

ROOT = Path(__file__).parents[4]
ALTERED = encode(refusals(1, "altered")[0], bytes(ID_BYTES))
MANY = 600  # entries: two full tiles and a partial one


async def grow(world: World, size: int) -> None:
    """Until the log and its tiles have this size."""
    async with world.opened() as store:
        have = store._writer._tree.size
        await store.append_refusals(refusals(size - have))
        await store.published(size - 1)
    assert published(world.tiles)[0] == size


def sql(world: World, statement: str, *values: object) -> None:
    with make_engine(world.url, "write").begin() as connection:
        connection.exec_driver_sql(statement, values)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def every_partial(size: int) -> set[str]:
    """The partial tiles of each size that may have been signed, without those whose full one is there."""
    level0, level1 = divmod(size, 256)[::-1]
    names = {f"tile/{at}/{level1:03d}.p/{width}" for at in (0, "entries") for width in range(1, level0 + 1)}
    return names | {f"tile/1/000.p/{width}" for width in range(1, level1 + 1)}


def at_most(size: int, before: dict[str, bytes], now: dict[str, bytes]) -> dict[str, bytes]:
    """What is there now, without the partial tiles that a start writes because it does not know which sizes
    were signed. All of them have to be there."""
    assert every_partial(size) <= now.keys()
    return {path: data for path, data in now.items() if path in before or path not in every_partial(size)}


@pytest.mark.parametrize("size", [2, 15, 255, 256, 257, 512, 513])
async def test_tiles_bundles_and_checkpoint_agree(world: World, size: int) -> None:
    await grow(world, size)
    async with world.opened() as store:
        assert checked(world.tiles) == [
            entry
            for at in (0, 256, 512)
            if at < size
            for entry in await store.entries(at, min(size, at + 256))
        ]
        assert (world.tiles / "checkpoint").read_bytes() == store.checkpoint()


async def test_the_first_checkpoint_is_over_one_entry(world: World) -> None:
    async with world.opened():
        pass
    assert (published(world.tiles)[0], len(checked(world.tiles))) == (1, 1)


async def test_partial_tiles_stay_until_the_next_tile_is_full(world: World) -> None:
    for size in (3, 7, 300, 511):
        await grow(world, size)
    assert (world.tiles / "tile/0/000.p/3").read_bytes() == (world.tiles / "tile/0/000").read_bytes()[:96]
    assert {path.name for path in (world.tiles / "tile/entries/000.p").iterdir()} >= {"3", "7"}
    await grow(world, 512)
    assert not (world.tiles / "tile/0/000.p").exists()
    assert not (world.tiles / "tile/entries/000.p").exists()
    assert (world.tiles / "tile/0/001.p/255").exists()
    checked(world.tiles)


async def test_partial_tiles_of_every_signed_size(world: World) -> None:
    """C2SP tlog-tiles, "Partial Tiles": also of the checkpoints that came while the last one was written."""
    signed = []
    async with world.opened() as store:
        await until(lambda: store.tiles_size == 1)
        store._ledger.tiles._every_s = 60.0
        for count in (3, 1, 250, 2, 40, 5):
            await store.append_refusals(refusals(count))
            await store.published(store._writer._tree.size - 1)
            signed.append(store.published_size)
    assert (signed, published(world.tiles)[0]) == ([4, 5, 255, 257, 297, 302], 302)
    there = files(world.tiles)
    assert "tile/1/000.p/1" in there
    for width in (1, 41, 46):
        hashes, entries = there[f"tile/0/001.p/{width}"], there[f"tile/entries/001.p/{width}"]
        assert len(hashes) == 32 * width
        assert there["tile/0/001.p/46"].startswith(hashes)
        assert there["tile/entries/001.p/46"].startswith(entries)
    assert "tile/0/001.p/10" not in there  # of no checkpoint


async def test_partial_tiles_of_sizes_that_nobody_remembers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash, or with more checkpoints than are remembered while the folder cannot be written."""
    monkeypatch.setattr("signerd.adapters.tiles.publisher._MOST_SIZES", 2)
    async with world.opened() as store:
        await until(lambda: store.tiles_size == 1)
        store._ledger.tiles._every_s = 60.0
        for count in (3, 250, 10, 5):
            await store.append_refusals(refusals(count))
            await store.published(store._writer._tree.size - 1)
    assert every_partial(269) <= files(world.tiles).keys()


async def test_only_auditors_group_may_read(world: World) -> None:
    await grow(world, 300)
    before = os.umask(0o077)
    try:
        await grow(world, MANY)
    finally:
        os.umask(before)
    for path in (world.tiles, *world.tiles.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 -- the publisher tells nobody
            await asyncio.sleep(0.001)


async def test_tiles_follow_while_signerd_runs(world: World) -> None:
    async with world.opened() as store:
        store._ledger.tiles._every_s = 0.001
        for _ in range(5):
            await store.append_refusals(refusals(7))
            size = store._writer._tree.size
            await store.published(size - 1)
            await until(lambda: store.tiles_size >= size)  # noqa: B023 -- called at once
            assert len(checked(world.tiles)) == size


class TestStart:
    """What a start does with what it finds. Each opens as it was left without the one change."""

    async def rebuilt(self, world: World) -> None:
        """As it was before, from the database."""
        async with world.opened() as store:
            assert store.published_size == MANY
            assert len(await store.inclusion_proof(3, MANY)) == 10
        checked(world.tiles)

    @pytest.mark.parametrize(
        "path",
        ["checkpoint", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile"],
    )
    async def test_missing(self, world: World, path: str) -> None:
        await grow(world, MANY)
        before = files(world.tiles)
        found = world.tiles / path
        shutil.rmtree(found) if found.is_dir() else found.unlink()
        await self.rebuilt(world)
        assert before.items() == at_most(MANY, before, files(world.tiles)).items()

    @pytest.mark.parametrize("path", ["checkpoint", "tile/0/002.p/88", "tile/1/000.p/2"])
    @pytest.mark.parametrize(
        "change",
        [lambda data: data[:-1], lambda data: bytes(len(data)), lambda data: data + b"x"],
        ids=["cut", "zeros", "longer"],
    )
    async def test_damaged(self, world: World, path: str, change: Callable[[bytes], bytes]) -> None:
        await grow(world, MANY)
        before = files(world.tiles)
        (world.tiles / path).write_bytes(change(before[path]))
        await self.rebuilt(world)
        assert before.items() == at_most(MANY, before, files(world.tiles)).items()

    async def test_no_leaf_is_read_that_the_tiles_have(self, world: World) -> None:
        await grow(world, MANY)
        sql(world, "UPDATE entries SET leaf_hash = zeroblob(32)")
        async with world.opened() as store:
            assert store.published_size == MANY

    async def test_tiles_of_another_log(self, world: World) -> None:
        await grow(world, MANY)
        path = world.tiles / "checkpoint"
        path.write_bytes(path.read_bytes().replace(b"test.example/line", b"test.example/other"))
        with pytest.raises(ConfigError, match=r"those of the log test.example/other"):
            await world.open()

    async def test_tiles_ahead_of_the_second_place(self, world: World) -> None:
        await grow(world, 300)
        older = world.head_file.read_bytes()
        await grow(world, MANY)
        world.head_file.write_bytes(older)
        with pytest.raises(ConfigError, match="the second place went back"):
            await world.open()

    async def test_tiles_behind_the_second_place(self, world: World) -> None:
        await grow(world, 300)
        older = files(world.tiles)
        await grow(world, MANY)
        shutil.rmtree(world.tiles)
        for path, data in older.items():
            (world.tiles / path).parent.mkdir(parents=True, exist_ok=True)
            (world.tiles / path).write_bytes(data)
        await self.rebuilt(world)

    async def test_a_file_beyond_the_checkpoint_that_the_log_does_not_have(self, world: World) -> None:
        await grow(world, 300)
        world.log_key.available = False
        async with world.opened() as store:
            await store.append_refusals(refusals(MANY - 300))
        world.log_key.available = True
        wrong = world.tiles / "tile/0/001"
        wrong.write_bytes(bytes(8192))
        async with world.opened() as store:
            await store.published(MANY - 1)  # receipts go on
        with pytest.raises(ConfigError, match=f"{wrong} is not what the log has.*ledger publish"):
            await world.open()
        wrong.unlink()
        await self.rebuilt(world)

    async def test_two_signed_histories(self, world: World) -> None:
        await grow(world, 300)
        forked = World(world.database.parent / "forked")
        shutil.copytree(world.database.parent, forked.database.parent, ignore=lambda *_: ["forked"])
        await grow(forked, 400)
        await grow(world, 500)
        shutil.rmtree(world.tiles)
        shutil.copytree(forked.tiles, world.tiles)
        with pytest.raises(ConfigError, match="two histories of one log"):
            await world.open()

    async def test_a_rewritten_entry_beyond_the_tiles(self, world: World) -> None:
        await grow(world, 300)
        world.log_key.available = False
        async with world.opened() as store:
            await store.append_refusals(refusals(2))
        world.log_key.available = True
        sql(
            world, "UPDATE entries SET data = ?, leaf_hash = ? WHERE entry_index = 300", b"x", leaf_hash(b"x")
        )
        with pytest.raises(ConfigError, match="damaged"):
            await world.open()

    async def test_a_rewritten_entry_and_no_tiles(self, world: World) -> None:
        await grow(world, 300)
        shutil.rmtree(world.tiles)
        sql(world, "UPDATE entries SET data = ? WHERE entry_index = 1", b"x")
        with pytest.raises(ConfigError, match="not the one that was published"):
            await world.open()
        assert files(world.tiles) == {}

    async def test_a_folder_that_cannot_be_made(self, world: World) -> None:
        world.tiles.write_bytes(b"")
        with pytest.raises(ConfigError, match=str(world.tiles)):
            await world.open()
        world.tiles.unlink()
        async with world.opened():
            pass


class TestServing:
    """What a reader is given while something is altered."""

    async def test_an_altered_entry_with_its_old_leaf_hash(self, world: World) -> None:
        await grow(world, MANY)
        async with world.opened() as store:
            sql(world, "UPDATE entries SET data = ? WHERE entry_index = 17", ALTERED)
            assert len(await store.entries(18, 40)) == 22
            for asked in (store.entries(0, 256), store.entries(17, 18), store.published(17)):
                with pytest.raises(Fault, match=r"entry 17 .*not the one that was logged"):
                    await asked
            assert store.fault is None  # boards go on
        with pytest.raises(ConfigError, match="not the one that was published"):
            await world.open()

    async def test_an_altered_entry_and_leaf_hash(self, world: World) -> None:
        await grow(world, MANY)
        async with world.opened() as store:
            sql(
                world,
                "UPDATE entries SET data = ?, leaf_hash = ? WHERE entry_index = 17",
                ALTERED,
                leaf_hash(ALTERED),
            )
            with pytest.raises(Fault, match="entry 17"):
                await store.published(17)
        with pytest.raises(ConfigError, match="not the one that was published"):
            await world.open()

    async def test_an_entry_that_is_gone(self, world: World) -> None:
        await grow(world, MANY)
        async with world.opened() as store:
            sql(world, "DELETE FROM entries WHERE entry_index = 17")
            with pytest.raises(Fault, match="lacks ledger entries"):
                await store.entries(10, 20)
        with pytest.raises(ConfigError, match="no entry 17"):
            await world.open()

    @pytest.mark.parametrize("missing", [True, False], ids=["missing", "altered"])
    async def test_a_wrong_tile(self, world: World, *, missing: bool) -> None:
        await grow(world, MANY)
        tile = world.tiles / "tile/0/000"
        right = tile.read_bytes()
        async with world.opened() as store:
            (tile.unlink() if missing else tile.write_bytes(bytes(32) + right[32:]))
            assert await store.inclusion_proof(400, MANY)
            with pytest.raises(Fault, match=rf"{tile} is .*signerd ledger publish"):
                await store.inclusion_proof(3, MANY)
            tile.write_bytes(right)
            assert await store.inclusion_proof(3, MANY)

    async def test_boards_go_on_while_the_folder_cannot_be_written(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("signerd.adapters.tiles.publisher._RETRY_S", 0.001)
        async with world.opened() as store:
            await stock(store, ORDER)
            store._ledger.tiles._every_s = 0.001
            await until(lambda: store.tiles_size >= 4)
            away = world.tiles.rename(world.tiles.with_name("away"))
            record = await issue(store, intent("chip-1"))
            assert record.issued_index == 4
            await store.published(4)
            await until(lambda: store.tiles_fault is not None)
            assert store.tiles_fault is not None
            assert str(world.tiles) in store.tiles_fault.detail
            assert store.fault is None
            away.rename(world.tiles)
            await until(lambda: store.tiles_size >= 5)
            assert store.tiles_fault is None
        assert len(checked(world.tiles)) == 5


class TestWritingAnew:
    """`signerd ledger publish`."""

    def anew(self, world: World) -> Counts:
        place = HeadFile(world.head_file, LogKeys.first(world.log_key.verifier))
        try:
            return write_tiles_anew(world.url, TilesFolder(world.tiles), place)
        finally:
            place.close()

    async def test_what_differs_is_written_and_nothing_else(self, world: World) -> None:
        for size in (300, 520, MANY):
            await grow(world, size)
        self.anew(world)  # with the partial tiles of all sizes: which of them were signed, nobody knows
        before = files(world.tiles)
        assert every_partial(MANY) <= before.keys()
        assert self.anew(world).written == 0
        altered = [
            "tile/0/000",
            "tile/entries/001",
            "tile/0/002.p/8",
            "tile/entries/002.p/8",
            "tile/1/000.p/2",
        ]
        for path in altered:
            (world.tiles / path).write_bytes(b"altered")
        (world.tiles / "tile/0/002.p/99").write_bytes(bytes(99 * 32))  # of a checkpoint that never came
        counts = self.anew(world)
        assert (counts.written, files(world.tiles)) == (len(altered), before)
        await TestStart().rebuilt(world)

    async def test_not_from_a_database_that_is_wrong(self, world: World) -> None:
        await grow(world, MANY)
        before = files(world.tiles)
        sql(world, "UPDATE entries SET data = ? WHERE entry_index = 1", b"x")
        with pytest.raises(ConfigError, match="not the one that was published"):
            self.anew(world)
        assert files(world.tiles) == before


@pytest.mark.parametrize("point", list(TilePoint))
async def test_death_at_every_write_of_tiles(world: World, point: TilePoint) -> None:
    count = MANY
    await grow(world, 10)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT), str(ROOT / "proto")])
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "harness.tiles_that_die",
        str(world.database.parent),
        point,
        str(count),
        env=environment,
    )
    assert await process.wait() == -signal.SIGKILL
    # Readers see the old log or the new one, whole.
    seen = checked(world.tiles)
    assert len(seen) == (10 + count if point is TilePoint.CHECKPOINT_RENAMED else 10)
    async with world.opened() as store:
        assert len(checked(world.tiles)) == store.published_size == 10 + count
    assert checked(world.tiles)[:10] == seen[:10]
