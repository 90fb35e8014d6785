"""A disk that fills up in the middle of a shift: without the journal no board is begun, all else goes on.

The limit of a process's file sizes stands for the disk: a write beyond it fails as one on a full disk does.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.agent_process import AgentBench

if sys.platform == "win32":
    pytest.skip("Windows has no such limit", allow_module_level=True)
import resource

SIZE = 2 << 20  # more than the journal of two boards


def fill(pid: int, size: int) -> None:
    """From now on, no file of this process grows beyond so many bytes."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))


def events_of(out: str, name: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, out.splitlines()) if event["event"] == name]


async def test_a_journal_that_cannot_grow_stops_the_line_and_touches_no_board(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        first = bench.board("CHIP-1")
        link = tmp_path / "place-2"
        agent = await bench.start("run", "--order", "WO-1", "--port", first.port, "--port", link)
        await agent.event("board_done")
        signed = list(bench.signerd.company.calls)
        fill(agent.process.pid, 0)
        second = bench.board("CHIP-2")
        link.symlink_to(second.port)
        ended = await agent.end()
        assert ended.code == 1
        assert "cannot write" in ended.err
        assert "has room" in ended.err
        assert bench.signerd.company.calls == signed
        assert second.board.storage.get("credential") is None


async def test_results_that_do_not_fit_are_said_and_stop_nothing(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        folder = tmp_path / "mes"
        folder.mkdir()
        with bench.config.open("a") as file:
            file.write(f"\n[results]\nfolder = {json.dumps(str(folder))}\n")
        today = datetime.now(UTC)
        for day in (today, today + timedelta(days=1)):  # midnight may come
            (folder / f"{day:%F}.jsonl").write_bytes(b"x" * SIZE + b"\n")
        board = bench.board("CHIP-1")
        agent = await bench.start("run", "--order", "WO-1", "--port", board.port, "--count", "1")
        fill(agent.process.pid, SIZE)
        ended = await agent.end()
        assert ended.code == 0
        assert [event["outcome"] for event in events_of(ended.out, "board_done")] == ["PASS"]
        (notice,) = (event["detail"] for event in events_of(ended.out, "notice"))
        assert "File too large" in notice
        assert "has room" in notice
        # When there is room, nothing is missing.
        for path in folder.glob("*.jsonl"):
            path.unlink()
        assert (
            await bench.command(
                "run", "--order", "WO-1", "--port", board.port, "--count", "1", "-c", bench.config
            )
        ).code == 0
        rows = [
            json.loads(line)
            for path in sorted(folder.glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        assert [row["chip_id"] for row in rows] == ["CHIP-1", "CHIP-1"]
