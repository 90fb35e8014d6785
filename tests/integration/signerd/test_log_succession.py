"""`signerd ledger succeed` beside a real store: the log goes on under another name, and only after a loss."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.commit_keys import software_commit_keys
from harness.store_world import NOW, ORIGIN
from harness.succession_world import LATER, SECOND, LostWorld, grow, lost_world
from signerd.adapters import durable_files, log_succession
from signerd.adapters.contradiction_file import contradiction_file, keep_contradiction
from signerd.adapters.operations_ca import create_ca
from signerd.core.note import Checkpoint, claimed_checkpoint, parse_vkey, sign_note
from signerd.core.seen_checkpoint import Standing
from signerd.errors import ConfigError, NotNow
from signerd.seen_checkpoints import SeenCheckpoints

PC = "birthmark://test/station/plant1/pc1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> LostWorld:
    return asyncio.run(lost_world(tmp_path_factory.mktemp("lost")))


@pytest.fixture
def lost(prepared: LostWorld, tmp_path: Path) -> LostWorld:
    return prepared.copied(tmp_path / "lost")


async def test_after_a_loss_the_log_goes_on_under_another_name(lost: LostWorld) -> None:
    with pytest.raises(ConfigError, match="a restored backup"):
        await lost.world.open()
    done = await lost.succeed()
    known = claimed_checkpoint(lost.seen, ORIGIN)
    assert (done.number, done.origin, done.size) == (2, SECOND, done.continued + 1)
    assert done.lost == known.size - done.continued > 0
    (before,) = done.predecessors
    assert (before.size, before.root, before.continued) == (known.size, known.root, done.continued)
    assert [parse_vkey(each).name for each in done.vkeys] == [SECOND]
    assert [(each.work_order, each.taken) for each in done.orders] == [("WO-1", 1)]
    async with lost.world.opened(now=LATER) as store:
        # Orders, stations and products go on; the board of the lost part is certified again.
        note = await grow(store, "chip-2", "chip-4")
        assert claimed_checkpoint(note, SECOND).size > done.size
        seen = SeenCheckpoints(store)
        await seen.check(PC, lost.seen)  # of the lost part, which the statement names
        await seen.check(PC, note)
        assert store.fault is None
    async with lost.world.opened(now=LATER) as store:
        assert claimed_checkpoint(store.checkpoint(), SECOND).size >= claimed_checkpoint(note, SECOND).size


async def test_what_was_kept_aside(lost: LostWorld) -> None:
    published = lost.world.head_file.read_bytes()
    done = await lost.succeed()
    second_place, tiles = done.kept
    assert second_place.read_bytes() == published
    assert (tiles / "checkpoint").exists()
    assert not lost.world.tiles.exists()
    entry, _, receipt = lost.where.succession.read_bytes().partition(b"\n")
    assert json.loads(entry)["type"] == "log_succeeded"
    assert receipt.startswith(b"c2sp.org/tlog-proof@v1\n")


async def test_nothing_is_lost_and_nothing_is_succeeded(lost: LostWorld) -> None:
    await lost.succeed()
    async with lost.world.opened(now=LATER) as store:
        await grow(store, "chip-5")
    before = lost.world.database.read_bytes(), lost.world.head_file.read_bytes()
    with pytest.raises(ConfigError, match="nothing is lost"):
        await lost.succeed()
    assert (lost.world.database.read_bytes(), lost.world.head_file.read_bytes()) == before


async def test_a_station_that_saw_more_than_was_said_stops_signerd_until_it_is_said(lost: LostWorld) -> None:
    longer = lost.seen
    # Nobody told of the newest checkpoint: second place and tiles are of the second board.
    lost.world.head_file.write_bytes(await shorter(lost))
    shutil.rmtree(lost.world.tiles)
    done = await lost.succeed()
    assert done.predecessors[0].size < claimed_checkpoint(longer, ORIGIN).size
    async with lost.world.opened(now=LATER) as store:
        assert await store.standing(claimed_checkpoint(longer, ORIGIN)) is Standing.AHEAD
    keep_contradiction(lost.world.head_file, longer)
    with pytest.raises(ConfigError, match="a station saw a checkpoint"):
        await lost.world.open(now=LATER)
    again = await lost.succeed()
    assert (again.number, again.lost) == (3, 0)
    assert again.predecessors[0].size == claimed_checkpoint(longer, ORIGIN).size
    async with lost.world.opened(now=LATER) as store:
        await SeenCheckpoints(store).check(PC, longer)
        await grow(store, "chip-6")
    assert not contradiction_file(lost.world.head_file).exists()


async def shorter(lost: LostWorld) -> bytes:
    """A checkpoint of the lost part that is not its newest: signed anew, of another root at that size."""
    known = claimed_checkpoint(lost.seen, ORIGIN)
    body = Checkpoint(ORIGIN, known.size - 1, bytes(32)).body()
    return sign_note(body, (lost.world.log_key.verifier, await lost.world.log_key.sign_checkpoint(body)))


async def test_a_backup_of_before_is_restored_again(lost: LostWorld) -> None:
    backup = lost.keep("again")
    await lost.succeed()
    async with lost.world.opened(now=LATER) as store:
        second = await grow(store, "chip-7", "chip-8", "chip-9", "chip-10")
    lost.world.restore(backup)
    with pytest.raises(ConfigError, match="no checkpoint of this log"):
        await lost.world.open(now=LATER)
    done = await lost.succeed()
    assert done.number == 3
    assert [each.number for each in done.predecessors] == [1, 2]
    assert done.predecessors[1].size >= claimed_checkpoint(second, SECOND).size
    async with lost.world.opened(now=LATER) as store:
        seen = SeenCheckpoints(store)
        for note in (lost.seen, second):
            await seen.check(PC, note)
        await grow(store, "chip-7")


async def test_a_succession_that_is_lost_has_to_be_found_first(lost: LostWorld) -> None:
    backup = lost.keep("again")
    await lost.succeed()
    lost.world.restore(backup)
    lost.where.succession.unlink()
    with pytest.raises(ConfigError, match="whose succession is not here"):
        await lost.succeed()


async def test_another_ca_s_succession_is_not_taken(lost: LostWorld) -> None:
    backup = lost.keep("again")
    await lost.succeed()
    lost.world.restore(backup)
    lost.ca = create_ca("test", NOW)
    with pytest.raises(ConfigError, match="no operations CA of this installation"):
        await lost.succeed()


async def test_a_signerd_that_runs_is_left_alone(lost: LostWorld) -> None:
    await lost.succeed()
    async with lost.world.opened(now=LATER):
        with pytest.raises(NotNow):
            await lost.succeed()


async def test_entries_that_signerd_did_not_commit_go_on_in_no_successor(lost: LostWorld) -> None:
    lost.world.commit_keys = software_commit_keys(b"other")
    with pytest.raises(ConfigError, match="MAC"):
        await lost.succeed()


class Crash(BaseException):
    """The process ends here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, number: int, *, after: bool) -> None:
    """The call of this number, before or after its work."""
    calls, real = 0, getattr(module, name)

    def dying(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise Crash
        result = real(*args, **named)
        if calls == number:
            raise Crash
        return result

    monkeypatch.setattr(module, name, dying)


@pytest.mark.check
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])  # succession, note of before, new note
async def test_a_crash_at_each_file(
    lost: LostWorld, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, durable_files, "replace", number, after=after)
        with pytest.raises(Crash):
            await lost.succeed()
    if (number, after) != (3, True):
        with pytest.raises(ConfigError):
            await lost.world.open(now=LATER)
    await _goes_on(lost)


@pytest.mark.check
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_the_folder_of_tiles(
    lost: LostWorld, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, Path, "rename", 1, after=after)
        with pytest.raises(Crash):
            await lost.succeed()
    if not after:
        with pytest.raises(ConfigError, match="ledger succeed"):
            await lost.world.open(now=LATER)
        await _goes_on(lost)
    else:
        async with lost.world.opened(now=LATER) as store:
            await grow(store, "chip-2")


@pytest.mark.check
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_the_commit(lost: LostWorld, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, log_succession, "enter_succession", 1, after=after)
        with pytest.raises(Crash):
            await lost.succeed()
    with pytest.raises(ConfigError):
        await lost.world.open(now=LATER)
    await _goes_on(lost)


async def _goes_on(lost: LostWorld) -> None:
    done = await lost.succeed()
    assert (done.number, done.size) == (2, done.continued + 1)
    async with lost.world.opened(now=LATER) as store:
        await grow(store, "chip-2")
        await SeenCheckpoints(store).check(PC, lost.seen)
