"""The agent as a process while its line to signerd is wrong: one verdict, and no other program's words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.agent_process import AgentBench

pytestmark = pytest.mark.check
PORTS = 4


async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_a_port_without_tls_is_one_verdict_and_grpc_says_nothing(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench, await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        text = bench.config.read_text("utf-8")
        assert bench.signerd.address in text
        bench.config.write_text(text.replace(bench.signerd.address, address), "utf-8")
        ports = [part for number in range(PORTS) for part in ("--port", bench.board(f"CHIP-{number}").port)]
        agent = await bench.start("run", "--order", "WO-1", *ports)
        ended = await agent.end()  # by itself: only a person can help
    assert (ended.code, ended.err) == (1, "")
    downs = [event for event in agent.events if event["event"] == "line_down"]
    assert [(down["code"], down["stop"]) for down in downs] == [("line_no_tls", True)]
    done = [event for event in agent.events if event["event"] == "board_parked"]
    assert done
    assert {(event["outcome"], event["code"]) for event in done} == {("PARKED", "line_no_tls")}
