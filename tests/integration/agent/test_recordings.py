"""Recordings as a station keeps them, and `replay` as an engineer runs it."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.adapters.cli.app import app
from agent.adapters.journal.recordings import RecordingFiles, list_recordings
from agent.core.result import Outcome
from agent.errors import BoardError
from harness.agent_world import AgentWorld
from harness.paper_chip import bundle, paper_chip, whole_recipe


async def kept(state: Path, *raised: Exception) -> None:
    """A station takes a board; where `install` raises, the board fails."""
    world, chip = AgentWorld(recipe=whole_recipe(), bundle=bundle()), paper_chip()
    chip.before["install"] = list(raised)
    async with RecordingFiles(state) as recordings:
        world.station = replace(world.station, keep_recording=recordings.keep)
        await world.provision(chip)


def replayed(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def test_a_board_that_failed_is_replayed_at_a_desk(tmp_path: Path) -> None:
    asyncio.run(kept(tmp_path, BoardError("storage_full", "no \x1b[31mroom")))
    (file,) = list_recordings(tmp_path)
    assert (file.run, file.outcome, file.path.stat().st_mode & 0o777) == (1, Outcome.FAIL, 0o600)
    shown = replayed(file.path)
    assert shown.exit_code == 0
    assert "recorded: FAIL storage_full at install: no ?[31mroom" in shown.output
    assert "replayed: the same" in shown.output
    value = json.loads(replayed(file.path, "--json").output)
    assert (value["same"], value["replayed"]["code"]) == (True, "storage_full")


def test_one_that_ends_otherwise_is_said_by_the_exit_code(tmp_path: Path) -> None:
    asyncio.run(kept(tmp_path))
    path = list_recordings(tmp_path)[0].path
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["result"]["outcome"] = "FAIL"
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(map(json.dumps, lines)))
    shown = replayed(other)
    assert shown.exit_code == 1
    assert "outcome: FAIL when it was recorded, PASS now" in shown.output


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}\n{}", b"[" * 3_000_000])
def test_a_file_that_is_no_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"none of a recording|no recording|larger than"):
        CliRunner().invoke(app, ["replay", str(path)], catch_exceptions=False)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    async def many() -> None:
        async with RecordingFiles(tmp_path, passed=2, others=3) as recordings:
            for run in range(1, 42):  # they are pruned at each twentieth
                recordings.keep(run, Outcome.PASS if run % 2 else Outcome.FAIL, b"{}")

    asyncio.run(many())
    assert [file.run for file in list_recordings(tmp_path)] == [41, 40, 39, 38, 36]


def test_a_disk_that_takes_nothing_holds_no_board_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "recordings").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        asyncio.run(kept(tmp_path))
        asyncio.run(kept(tmp_path))
    assert len(caplog.records) == 2  # once a start
    assert list_recordings(tmp_path) == []


def test_what_a_crash_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    left = tmp_path / "recordings" / "000000007-FAIL.partial"
    left.write_text("{")
    asyncio.run(kept(tmp_path))
    assert not left.exists()
    assert [file.run for file in list_recordings(tmp_path)] == [1]
