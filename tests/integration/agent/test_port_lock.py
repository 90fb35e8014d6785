"""One program a port: a second one of the same station is told so, and ends nothing of the first."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.line.port_lock import port_lock
from agent.api import Outcome, Station
from agent.config import load
from agent.errors import JournalError, LineError
from harness.agent_process import TIMEOUT_S, AgentBench

HOLDER = """
import sys
from pathlib import Path
from agent.adapters.line.port_lock import port_lock
with port_lock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(name="bench")
async def make_bench(tmp_path: Path) -> AsyncIterator[AgentBench]:
    async with AgentBench(tmp_path) as bench:
        yield bench


def hold(state: Path, device: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state), device],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'proto'}"},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_a_port_is_held_once_and_free_again(tmp_path: Path) -> None:
    with port_lock(tmp_path, "COM7"):
        with pytest.raises(LineError) as busy, port_lock(tmp_path, "com7"):
            pass
        with port_lock(tmp_path, "COM8"):
            pass
    assert busy.value.code == "port_busy"
    with port_lock(tmp_path, "COM7"):
        pass


def test_a_port_has_one_lock_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "by-path").symlink_to(tmp_path / "ttyUSB0")
    with (
        port_lock(tmp_path, str(tmp_path / "ttyUSB0")),
        pytest.raises(LineError),
        port_lock(tmp_path, str(tmp_path / "by-path")),
    ):
        pass


def test_a_killed_program_holds_nothing(tmp_path: Path) -> None:
    holder = hold(tmp_path, "/dev/ttyUSB0")
    with holder:
        with pytest.raises(LineError), port_lock(tmp_path, "/dev/ttyUSB0"):
            pass
        holder.kill()
    with port_lock(tmp_path, "/dev/ttyUSB0"):
        pass


def test_a_state_directory_that_takes_no_file_stops_the_station(tmp_path: Path) -> None:
    (tmp_path / "ports").write_text("a file")
    with pytest.raises(JournalError), port_lock(tmp_path, "COM7"):
        pass


async def test_a_port_that_another_program_has_is_left_to_it(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    with hold(load(bench.config).state, board.port) as holder:
        async with Station(bench.config) as station:
            busy = await station.provision(board.port, "WO-1")
            assert (busy.outcome, busy.code, busy.chip_id) == (Outcome.FAIL, "port_busy", "")
            assert "another birthmark-agent" in busy.detail
            holder.kill()
            holder.wait()
            assert (await station.provision(board.port, "WO-1")).outcome is Outcome.PASS


async def test_run_beside_a_test_station_takes_the_port_when_it_is_free(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    with hold(load(bench.config).state, board.port) as holder:
        command = asyncio.create_task(
            bench.command("run", "--order", "WO-1", "--port", board.port, "--count", "1", "-c", bench.config)
        )
        live = load(bench.config).state / "live.json"
        async with asyncio.timeout(TIMEOUT_S):
            while not (live.is_file() and "another birthmark-agent" in live.read_text()):  # noqa: ASYNC110  (another process)
                await asyncio.sleep(0.05)
        holder.kill()
        ended = await command
    assert ended.code == 0
    assert '"board_done"' in ended.out
