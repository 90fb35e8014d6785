"""The page's address under attack while sixteen boards are at work: none is held up, and memory stays."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from agent.adapters.journal.schema import FILE_NAME
from agent.adapters.shown.page.server import AT_ONCE, BACKLOG, PER_SECOND
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard
from harness.agent_process import TIMEOUT_S, Agent, AgentBench
from harness.process import REPOSITORY
from harness.served_page import free_port
from harness.shift import MORNING, add_run

PORTS = 16
CONNECTIONS = 2_000  # in all, before boards come
MORE_BYTES = 48 << 20
OUTCOMES = {"board_done", "board_failed", "board_parked", "waiting"}


@asynccontextmanager
async def attackers(port: int) -> AsyncIterator[Process]:
    """The process, which is told to end by its standard input."""
    environment = {"PYTHONPATH": str(REPOSITORY / "tests")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.page_attackers", str(port), stdin=PIPE, stdout=PIPE, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(process: Process) -> dict[str, int]:
    """How many connections of each kind there were by now."""
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        return dict(json.loads(await process.stdout.readline()))


async def passed(agent: Agent, count: int) -> list[dict[str, Any]]:
    """What was said of so many more boards until all were done."""
    before = len(agent.events)
    for _ in range(count):
        await agent.event("board_done")
    return [event for event in agent.events[before:] if event["event"] in OUTCOMES]


def page(port: int) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{port}/api/state", timeout=TIMEOUT_S) as answer:
        return dict(json.loads(answer.read()))


def fresh(chip_id: str) -> SimulatedBoard:
    return SimulatedBoard(BoardModel(chip_id, bytes(32), key_types=("p256",)))


@pytest.mark.soak  # on a busy machine the attackers take all of it
async def test_boards_pass_as_before_while_thousands_of_connections_mean_no_good(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        port = free_port()
        with bench.config.open("a", encoding="utf-8") as file:
            file.write(f'\n[page]\nlisten = "127.0.0.1:{port}"\n')
        for number in range(60):  # something to be told
            journal = bench.station / "state" / FILE_NAME
            add_run(journal, chip="CHIP-1", ended=MORNING + timedelta(minutes=number), detail="x" * 200)
        boards: list[PtyBoard] = [bench.board(f"QUIET-{number}") for number in range(PORTS)]
        ports = [part for board in boards for part in ("--port", board.port)]
        agent = await bench.start("run", "--json", "--order", "WO-1", *ports)
        assert len(await passed(agent, PORTS)) == PORTS
        exchanges = [board.exchanges for board in boards]  # a board that is done is looked at now and then
        process = psutil.Process(agent.process.pid)
        page(port)
        memory = process.memory_info().rss
        began_s = time.monotonic()
        async with attackers(port) as attack:
            while sum((await told(attack)).values()) < CONNECTIONS:
                pass
            flooded_s = time.monotonic() - began_s
            before = [board.exchanges for board in boards]
            for number, board in enumerate(boards):
                board.exchange(fresh(f"BESIEGED-{number}"))
            said = await passed(agent, PORTS)
            asked = [board.exchanges - earlier for board, earlier in zip(boards, before, strict=True)]
            ended, _ = await attack.communicate(b"")  # its standard input ends
            counts: dict[str, int] = json.loads(ended.splitlines()[-1])
        state = await asyncio.to_thread(page, port)  # before that one more of so many might wait for long
        assert [event["event"] for event in said] == ["board_done"] * PORTS
        more = process.memory_info().rss - memory
        print(f"{max(exchanges)=} {max(asked)=} {counts=} {more >> 20} MiB more")
        assert max(asked) <= 2 * max(exchanges)  # a step that was tried again would have asked far more
        assert state["shift"]["passed"] == 2 * PORTS
        assert min(counts.values()) > 10
        # Some of those that the kernel counts as connected were never let in.
        assert 2 * (AT_ONCE + BACKLOG + PER_SECOND * flooded_s) > CONNECTIONS
        assert more < MORE_BYTES
