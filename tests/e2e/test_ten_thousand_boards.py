"""A week of a station: ten thousand boards on sixteen ports, in one run. Memory and disk stay flat, and the
page answers all the while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard
from harness.agent_process import Agent, AgentBench

BOARDS = 10_000
PORTS = 16
ORDER = "WO-1"
WARM = BOARDS // 5  # by then every path has been taken, and every bounded list is full
GROWTH_MB = 10
FILES_MB = 10  # beside the journal, which keeps every board
PAGE_S = 1.0  # the slowest of its answers
FAILING_EVERY = 50  # one board of so many does not pass


def board(number: int) -> SimulatedBoard:
    key_types = ("rsa2048",) if number % FAILING_EVERY == 0 else ("p256",)  # the product takes no RSA
    return SimulatedBoard(BoardModel(f"CHIP-{number:06}", bytes(32), key_types=key_types))


@pytest.fixture(name="bench")
async def make_bench(tmp_path: Path) -> AsyncIterator[AgentBench]:
    async with AgentBench(tmp_path) as bench:
        yield bench


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def files_mb(state: Path) -> float:
    """All that the station keeps beside its journal."""
    kept = [path for path in state.rglob("*") if path.is_file() and not path.name.startswith("journal")]
    return sum(path.stat().st_size for path in kept) / 1e6


async def asked(url: str, took: list[float]) -> None:
    """Asks the page once a second, until it is cancelled."""
    while True:
        began = time.monotonic()
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())
        took.append(time.monotonic() - began)
        assert len(json.loads(body)["ports"]) == PORTS
        await asyncio.sleep(1)


@pytest.mark.soak
@pytest.mark.timeout(3_000)
async def test_ten_thousand_boards(bench: AgentBench) -> None:
    page_port = free_port()
    with bench.config.open("a") as config:
        config.write(f'\n[page]\nlisten = "127.0.0.1:{page_port}"\n')
    lines = [bench.board(f"CHIP-{number:06}") for number in range(1, PORTS + 1)]
    ports = [part for line in lines for part in ("--port", line.port)]
    agent = await bench.start("run", "--order", ORDER, "--count", str(BOARDS), *ports)
    process = psutil.Process(agent.process.pid)
    took: list[float] = []
    rss: list[int] = []
    asking: asyncio.Task[None] | None = None
    passed = failed = 0
    async for event in finished(agent, lines):
        passed += event == "board_done"
        failed += event == "board_failed"
        if passed + failed == WARM:
            asking = asyncio.create_task(asked(f"http://127.0.0.1:{page_port}/api/state", took))
        if passed + failed >= WARM:
            rss.append(process.memory_info().rss)
        if passed + failed == BOARDS - PORTS:  # before the station ends, and its page with it
            assert asking is not None
            asking.cancel()
    assert asking is not None
    with contextlib.suppress(asyncio.CancelledError):
        await asking  # an answer that was wrong is raised here
    await agent.end()
    assert passed + failed >= BOARDS  # those that were under way are finished
    assert failed >= BOARDS // FAILING_EVERY - 1
    fifth = len(rss) // 5
    growth_mb = (statistics.median(rss[-fifth:]) - statistics.median(rss[:fifth])) / 1e6
    kept_mb = files_mb(bench.station)
    print(f"grew {growth_mb:.1f} MB, keeps {kept_mb:.1f} MB, page at most {max(took):.3f} s")
    assert growth_mb < GROWTH_MB
    assert kept_mb < FILES_MB
    assert max(took) < PAGE_S


async def finished(agent: Agent, lines: list[PtyBoard]) -> AsyncIterator[str]:
    """The results as they come. Each board that is done is exchanged for the next."""
    assert agent.process.stdout is not None
    by_port = {line.port: line for line in lines}
    number = len(lines)
    while text := await agent.process.stdout.readline():
        event = json.loads(text)
        if event["event"] in {"board_done", "board_failed"}:
            number += 1
            by_port[event["port"]].exchange(board(number))
            yield event["event"]
