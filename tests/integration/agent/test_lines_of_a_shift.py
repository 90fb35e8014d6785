"""A shift of `run --json` as a collector reads it, and collectors that go away or stall."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.shown.json_lines import MAX_LINE
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard
from harness import stalled_reader
from harness.agent_process import AgentBench

BOARDS, PORTS, FAILING_EVERY = 200, 8, 10
SLOW_S = 60.0  # the keys of the boards that are under way at the end


@pytest.fixture(name="bench")
async def make_bench(tmp_path: Path) -> AsyncIterator[AgentBench]:
    async with AgentBench(tmp_path) as bench:
        yield bench


def board(number: int, keygen_s: float = 0.0) -> SimulatedBoard:
    key_types = ("rsa2048",) if number % FAILING_EVERY == 0 else ("p256",)  # the product takes no RSA
    return SimulatedBoard(BoardModel(f"CHIP-{number:06}", bytes(32), key_types=key_types, keygen_s=keygen_s))


@pytest.mark.check
async def test_each_line_of_a_shift_is_one_valid_object(bench: AgentBench) -> None:
    """Boards that pass and fail, and at the end some that are parked: the station is told to stop."""
    with bench.config.open("a", encoding="utf-8") as config:
        config.write("\n[timeouts]\nstop_s = 0.1\n")
    lines = [bench.board(f"CHIP-{number:06}") for number in range(1, PORTS + 1)]
    ports = [part for line in lines for part in ("--port", line.port)]
    agent = await bench.start("run", "--order", "WO-1", "--json", *ports)
    assert agent.process.stdout is not None
    said, number, slow = list[bytes](), PORTS, set[str]()
    by_port, chips = {line.port: line for line in lines}, dict[str, str]()
    while text := await agent.process.stdout.readline():
        said.append(text)
        event = json.loads(text)
        if event["event"] in {"board_done", "board_failed"}:
            number += 1
            last = number > BOARDS  # no key is made before the end: they are parked
            there = board(number * FAILING_EVERY + 1, SLOW_S) if last else board(number)
            by_port[event["port"]].exchange(there)
        elif event["event"] == "board_seen":
            chips[event["port"]] = event["chip_id"]
        elif event["event"] == "step_started" and event["step"] == "keygen":
            slow |= {chips[event["port"]]} - {f"CHIP-{each:06}" for each in range(1, BOARDS + 1)}
            if len(slow) == PORTS:
                agent.process.terminate()
    assert agent.process.stderr is not None
    assert await agent.process.stderr.read() == b""
    assert await agent.process.wait() == 1
    check(said)


def check(said: list[bytes]) -> None:
    events = [json.loads(text) for text in said]
    assert all(text.isascii() and text.endswith(b"\n") and len(text) <= MAX_LINE for text in said)
    assert all({"event", "time"} <= event.keys() for event in events)
    times = [event["time"] for event in events]
    assert times == sorted(times)
    ends = [event for event in events if event["event"] in {"board_done", "board_failed", "board_parked"}]
    outcomes = Counter(event["outcome"] for event in ends)
    assert outcomes["PASS"] + outcomes["FAIL"] == BOARDS
    assert outcomes["FAIL"] == BOARDS // FAILING_EVERY
    assert outcomes["PARKED"] == PORTS
    assert len({event["chip_id"] for event in ends}) == BOARDS + PORTS
    assert all(event["code"] and event["remedy"] for event in ends if event["outcome"] == "FAIL")
    summary = events[-1]
    assert summary["event"] == "summary"
    assert summary["boards"] == len(ends)
    assert (summary["passed"], summary["parked"]) == (outcomes["PASS"], PORTS)


async def test_a_reader_that_goes_away_ends_nothing(bench: AgentBench) -> None:
    board_there = bench.board("CHIP-1")
    reading, writing = os.pipe()
    command = (
        "run",
        "--order",
        "WO-1",
        "--port",
        board_there.port,
        "--count",
        "1",
        "--json",
        "-c",
        bench.config,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", *map(str, command)), stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    os.close(reading)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert board_there.board.storage.get("credential") is not None


@pytest.mark.check
async def test_a_reader_that_stalls_holds_up_no_board(bench: AgentBench) -> None:
    there: list[PtyBoard] = [bench.board("CHIP-1"), bench.board("CHIP-2")]
    bench.within = (sys.executable, stalled_reader.__file__)
    ports = [part for line in there for part in ("--port", line.port)]
    agent = await bench.start("run", "--order", "WO-1", *ports, "--count", "2", "--json")
    async with asyncio.timeout(60):
        assert await agent.process.wait() == 0
    assert all(line.board.storage.get("credential") is not None for line in there)
