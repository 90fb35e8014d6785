"""The log in an S3 bucket beside the folder: moto's server, read with code of others."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.bucket_that_dies import BucketPoint
from harness.read_tiles import checked
from harness.s3_server import S3Server
from harness.store_world import World, refusals
from signerd.adapters.head_file import HeadFile
from signerd.adapters.store import write_tiles_anew, write_tiles_to_bucket
from signerd.adapters.tiles import BucketPublisher, Counts, TilesFolder
from signerd.adapters.tiles.bucket_line import BucketTrouble
from signerd.adapters.tiles.place import TilesPlace
from signerd.core.bucket_answers import TroubleCode
from signerd.core.checkpoint_keys import LogKeys
from signerd.errors import Fault

ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.check
MANY = 520  # entries: two full tiles and a partial one


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = BucketPublisher.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "every_s", 0.001)


@pytest.fixture
def s3(server: S3Server) -> S3Server:
    """Empty."""
    for key in server.objects():
        server.delete(key)
    return server


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> TilesPlace:
    if request.param == "bucket":
        return s3.bucket(prefix="a/")
    folder = TilesFolder(tmp_path / "tiles")
    folder.make()
    return folder


def test_what_every_place_does(place: TilesPlace) -> None:
    """The contract of `TilesPlace`, over folder and bucket."""
    assert place.note() is None
    assert place.put("tile/0/000.p/3", b"abc") is True
    assert place.put("tile/0/000.p/3", b"abc") is False
    for other in (b"abd", b"ab", b"abcd", b""):
        with pytest.raises(Fault, match=r"tile/0/000.p/3 is not what the log has.*signerd ledger publish"):
            place.put("tile/0/000.p/3", other)
    assert place.put("tile/0/000.p/3", b"abd", anew=True) is True
    assert place.put("tile/0/000.p/3", b"abd") is False
    place.put("tile/0/000.p/17", b"longer")
    place.put("tile/0/000", b"full")
    assert sorted(place.partials("tile/0/000")) == [3, 17]
    place.drop_partial("tile/0/000", 3)
    assert list(place.partials("tile/0/000")) == [17]
    place.drop_partials("tile/0/000")
    assert list(place.partials("tile/0/000")) == []
    place.drop_partials("tile/0/000")
    assert place.put("tile/0/000", b"full") is False
    place.put_checkpoint(b"one")
    place.put_checkpoint(b"two")
    assert place.note() == b"two"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 -- the publisher tells nobody
            await asyncio.sleep(0.001)


async def grow(world: World, size: int) -> None:
    async with world.opened() as store:
        await store.append_refusals(refusals(size - store._writer._tree.size))
        await store.published(size - 1)
        if world.bucket is not None:
            await until(lambda: bool(store.bucket_size) or store.bucket_fault is not None)


async def follows(world: World, size: int) -> None:
    """Opens, and waits until the bucket has the log."""
    async with world.opened() as store:
        await until(lambda: store.bucket_size == size)
        assert store.bucket_fault is None


async def test_the_bucket_has_what_the_folder_has(world: World, s3: S3Server, tmp_path: Path) -> None:
    world.bucket = lambda: s3.bucket(prefix="line-1/")
    for size in (3, 300, MANY):
        async with world.opened() as store:
            await store.append_refusals(refusals(size - store._writer._tree.size))
            await store.published(size - 1)
            await until(lambda: bool(store.bucket_size))
        await follows(world, size)
        read = s3.into(tmp_path / str(size), "line-1/")
        assert len(checked(read)) == size
        assert (read / "checkpoint").read_bytes() == (world.tiles / "checkpoint").read_bytes()
    there = s3.objects()
    assert all(key.startswith("line-1/") for key in there)
    assert not any("/000.p/" in key and "/1/" not in key for key in there)  # full, and the next one too


async def test_a_bucket_that_was_named_later_gets_the_whole_log(
    world: World, s3: S3Server, tmp_path: Path
) -> None:
    await grow(world, MANY)
    world.bucket = s3.bucket
    await follows(world, MANY)
    assert len(checked(s3.into(tmp_path / "read"))) == MANY


async def test_boards_go_on_and_signerd_stops_while_the_bucket_is_down(world: World, s3: S3Server) -> None:
    world.bucket = lambda: s3.bucket(endpoint="http://127.0.0.1:9")
    async with world.opened() as store:
        await store.append_refusals(refusals(3))
        await store.published(3)
        await until(lambda: store.bucket_fault is not None)
        assert (store.fault, store.tiles_fault, store.bucket_size) == (None, None, 0)
        assert store.bucket_fault is not None
        assert store.bucket_fault.detail.startswith("http://127.0.0.1:9/tiles/: bucket_unreachable: ")
    world.bucket = s3.bucket
    await follows(world, 4)


async def test_somebody_elses_log_is_left_alone(world: World, s3: S3Server, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    other.database.parent.mkdir()
    other.create()
    await grow(other, 10)
    note = (other.tiles / "checkpoint").read_bytes()
    await grow(world, 5)
    for found, said in (
        (note.replace(b"test.example/line", b"test.example/other"), "bucket_other_log"),
        (b"anything", "bucket_other_log"),
        (note, "two histories|another signerd writes there"),
    ):
        s3.put("checkpoint", found)
        world.bucket = s3.bucket
        async with world.opened() as store:
            await until(lambda: store.bucket_fault is not None)
            assert store.bucket_fault is not None
            with pytest.raises(Fault, match=said):
                raise store.bucket_fault
            await store.append_refusals(refusals(1))
            await store.published(store._writer._tree.size - 1)
        assert s3.objects() == {"checkpoint": found}


async def test_another_writer_beside_us_is_noticed(world: World, s3: S3Server) -> None:
    world.bucket = s3.bucket
    async with world.opened() as store:
        await until(lambda: store.bucket_size == 1)
        s3.put("checkpoint", b"somebody's")
        await store.append_refusals(refusals(1))
        await until(lambda: store.bucket_fault is not None)
    assert s3.objects()["checkpoint"] == b"somebody's"


class TestWritingAnew:
    """`signerd ledger publish`."""

    def anew(self, world: World, s3: S3Server) -> Counts:
        keys = LogKeys.first(world.log_key.verifier)
        second_place, folder = HeadFile(world.head_file, keys), TilesFolder(world.tiles)
        try:
            write_tiles_anew(world.url, folder, second_place)
            return write_tiles_to_bucket(world.url, folder, s3.bucket(), second_place, keys)
        finally:
            second_place.close()

    async def test_what_differs_is_written(self, world: World, s3: S3Server, tmp_path: Path) -> None:
        await grow(world, 260)
        world.bucket = s3.bucket
        await follows(world, 260)
        before = s3.objects()
        s3.put("tile/0/000", b"altered")
        s3.put("checkpoint", b"altered")
        s3.delete("tile/entries/000")
        assert self.anew(world, s3).written == 2
        assert s3.objects() == before
        assert len(checked(s3.into(tmp_path / "read"))) == 260

    async def test_not_over_another_log(self, world: World, s3: S3Server) -> None:
        await grow(world, 5)
        note = (world.tiles / "checkpoint").read_bytes()
        s3.put("checkpoint", note.replace(b"test.example/line", b"test.example/other"))
        with pytest.raises(BucketTrouble) as caught:
            self.anew(world, s3)
        assert caught.value.trouble.code is TroubleCode.OTHER_LOG
        assert s3.objects().keys() == {"checkpoint"}


@pytest.mark.check
@pytest.mark.parametrize("point", list(BucketPoint))
async def test_death_at_every_write_of_the_bucket(
    world: World, s3: S3Server, tmp_path: Path, point: BucketPoint
) -> None:
    world.bucket = s3.bucket
    await grow(world, 10)
    await follows(world, 10)
    paths = [str(ROOT / "tests"), str(ROOT), str(ROOT / "proto")]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "harness.bucket_that_dies",
        str(world.database.parent),
        str(s3.port),
        point,
        str(MANY),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert await process.wait() == -signal.SIGKILL
    # Readers see the old log or the new one, whole.
    seen = checked(s3.into(tmp_path / "seen"))
    written = point in {BucketPoint.CHECKPOINT_WRITTEN, BucketPoint.ONE_PARTIAL_REMOVED}
    assert len(seen) == (10 + MANY if written else 10)
    await follows(world, 10 + MANY)
    shutil.rmtree(tmp_path / "seen")
    assert checked(s3.into(tmp_path / "seen"))[:10] == seen[:10]
