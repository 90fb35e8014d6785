"""An auditor of a log that lost its end, by its tiles: it follows what both keys signed, and says so."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.adapters.state import SqliteState
from auditor.adapters.tile_log import TileLog
from auditor.adapters.workers import Workers
from auditor.core.codes import Code
from auditor.core.history import Trust
from auditor.core.proofs import parse_vkey
from auditor.verify import Audit, Pinned, Report
from harness.store_world import ORIGIN
from harness.succession_world import LATER, SECOND, LostWorld, grow, lost_world
from signerd.adapters.operations_ca import OperationsCa, create_ca


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[LostWorld, Path, Path]:
    """The world, and the tiles of before and after its succession."""
    folder = tmp_path_factory.mktemp("succeeded")

    async def make() -> LostWorld:
        lost = await lost_world(folder / "world")
        shutil.copytree(lost.world.tiles, folder / "before")
        await lost.succeed()
        async with lost.world.opened(now=LATER) as store:
            await grow(store, "chip-2")
        return lost

    (folder / "world").mkdir()
    lost = asyncio.run(make())
    return lost, folder / "before", lost.world.tiles


def audit(lost: LostWorld, state: Path, tiles: Path, ca: OperationsCa | None = None) -> Report:
    text = lost.world.log_key.verifier.text()
    cas = ((ca or lost.ca).certificate,)
    trust = Trust("test", ORIGIN, text, frozenset({bytes(32).hex()}), cas)
    with SqliteState.open(state) as opened, Workers(1, None, alone=0) as judges:
        return Audit(
            TileLog(str(tiles)),
            opened,
            Pinned(parse_vkey(text), (), trust),
            clock=lambda: LATER,
            progress=lambda _phase, _done, _total: None,
            judges=judges,
        ).run()


def codes(report: Report) -> list[Code]:
    return [each.finding.code for each in report.findings]


LOG_CODES = {
    Code.ROLLBACK,
    Code.FORK,
    Code.CHECKPOINT_MALFORMED,
    Code.CHECKPOINT_SIGNATURE,
    Code.CONTINUATION,
}


def test_it_follows_out_of_the_part_that_is_lost(logs: tuple[LostWorld, Path, Path], tmp_path: Path) -> None:
    lost, before, after = logs
    first = audit(lost, tmp_path, before)
    assert first.head is not None
    assert Code.LOG_SUCCEEDED not in codes(first)
    for run in range(2):
        report = audit(lost, tmp_path, after)
        assert report.head is not None
        assert report.head.origin == SECOND
        assert codes(report).count(Code.LOG_SUCCEEDED) == 1
        assert not LOG_CODES.intersection(codes(report))
        assert (Code.LOG_SUCCEEDED in [each.code for each in report.new]) == (run == 0)
    older = audit(lost, tmp_path, before)
    assert older.head is None
    assert [each.code for each in older.new] == [Code.ROLLBACK]


def test_a_new_auditor_follows_from_the_first_key(logs: tuple[LostWorld, Path, Path], tmp_path: Path) -> None:
    lost, _, after = logs
    report = audit(lost, tmp_path, after)
    assert report.head is not None
    assert codes(report).count(Code.LOG_SUCCEEDED) == 1
    assert not LOG_CODES.intersection(codes(report))


def no_succession(tiles: Path) -> None:
    (tiles / "succession").unlink()


def cut(tiles: Path) -> None:
    path = tiles / "succession"
    path.write_bytes(path.read_bytes()[:-30])


def changed(tiles: Path) -> None:
    path = tiles / "succession"
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":3', 1))


@pytest.mark.parametrize("wrong", [no_succession, cut, changed])
def test_what_is_not_proven_is_not_followed(
    logs: tuple[LostWorld, Path, Path], tmp_path: Path, wrong: Callable[[Path], None]
) -> None:
    lost, before, after = logs
    audit(lost, tmp_path / "state", before)
    shutil.copytree(after, tmp_path / "tiles")
    wrong(tmp_path / "tiles")
    report = audit(lost, tmp_path / "state", tmp_path / "tiles")
    assert report.head is None
    assert [each.code for each in report.new] == [Code.SUCCESSION_HISTORY]
    assert audit(lost, tmp_path / "state", after).head is not None  # the state is as it was


def test_another_ca_s_word_is_not_enough(logs: tuple[LostWorld, Path, Path], tmp_path: Path) -> None:
    lost, before, after = logs
    audit(lost, tmp_path, before)
    report = audit(lost, tmp_path, after, create_ca("other", LATER))
    assert report.head is None
    assert [each.code for each in report.new] == [Code.SUCCESSION_HISTORY]
