"""The agent as a process while its connection to signerd is wrong: one verdict, in its own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boards.simulated_board import BoardModel, SimulatedBoard
from harness.agent_process import AgentBench

pytestmark = pytest.mark.check


class Box:
    """Something on the way to signerd, which becomes a web server when it is told to."""

    def __init__(self, address: str) -> None:
        self._host, self._port = address.split(":")
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_web = False

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.is_web:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()
            return
        beyond_reader, beyond = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, beyond]
        for source, sink in ((reader, beyond), (beyond_reader, writer)):
            task = asyncio.create_task(_pass_on(source, sink))
            self._tasks.add(task)

    def become_web(self) -> None:
        """From now on; connections that stand are cut."""
        self.is_web = True
        for writer in self._writers:
            writer.close()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(16_384):
        sink.write(data)
    sink.close()


@pytest.fixture(name="bench")
async def make_bench(tmp_path: Path) -> AsyncIterator[AgentBench]:
    async with AgentBench(tmp_path) as bench:
        yield bench


@pytest.fixture(name="box")
async def make_box(bench: AgentBench) -> AsyncIterator[Box]:
    box = Box(bench.signerd.address)
    async with await asyncio.start_server(box.take, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        text = bench.config.read_text("utf-8")
        assert bench.signerd.address in text
        bench.config.write_text(text.replace(bench.signerd.address, address), "utf-8")
        yield box
        box.become_web()


async def test_a_port_without_tls_is_refused_before_the_first_board(bench: AgentBench, box: Box) -> None:
    box.become_web()
    port = bench.board("CHIP-1").port
    ended = await (await bench.start("run", "--order", "WO-1", "--port", port)).end()
    (said,) = ended.err.splitlines()  # cause and remedy, and nothing of gRPC
    assert ended.code == 3
    cause, _, remedy = said.partition(". ")
    assert cause.startswith("birthmark-agent: no TLS there: ")
    assert "signerd.address" in remedy


async def test_a_line_that_becomes_another_is_one_verdict_and_grpc_says_nothing(
    bench: AgentBench, box: Box
) -> None:
    boards = [bench.board(f"CHIP-{number}") for number in range(4)]
    agent = await bench.start("run", "--order", "WO-1", *(f"--port={board.port}" for board in boards))
    for _ in boards:
        await agent.event("board_done")
    box.become_web()
    for number, board in enumerate(boards):
        board.exchange(SimulatedBoard(BoardModel(f"CHIP-N{number}", bytes(32), key_types=("p256",))))
    ended = await agent.end()  # by itself: only a person can help
    assert (ended.code, ended.err) == (1, "")
    downs = [event for event in agent.events if event["event"] == "line_down" and event["stop"]]
    assert [down["code"] for down in downs] == ["line_no_tls"]
    done = [event for event in agent.events if event["event"] == "board_parked"]
    assert {(event["outcome"], event["code"]) for event in done} <= {("PARKED", "line_no_tls")}


async def test_a_signerd_of_before_is_no_reason_to_stand_still(bench: AgentBench) -> None:
    """Stations may be brought up to date before signerd is."""
    bench.signerd.knows_checks = False
    port = bench.board("CHIP-1").port
    ended = await (await bench.start("run", "--order", "WO-1", "--port", port, "--count", "1")).end()
    assert (ended.code, ended.err) == (0, "")
    events = [json.loads(line)["event"] for line in ended.out.splitlines()]
    assert "board_done" in events
    assert "line_down" not in events
