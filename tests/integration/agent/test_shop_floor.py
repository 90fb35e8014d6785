"""A station as it runs: page, live file, `status` beside it, results in files and by command."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.shown.live_state import FILE_NAME
from agent.config import load
from harness.agent_process import TIMEOUT_S, AgentBench
from harness.served_page import free_port
from harness.waiting import until

COMMAND = """
import json, os, sys
row = json.load(sys.stdin)
told = {name: os.environ["BIRTHMARK_" + name] for name in ("OUTCOME", "PORT", "SERIAL_NUMBER", "CODE")}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({"row": row, "told": told}) + "\\n")
sys.exit(int(sys.argv[2]))
"""


def furnish(bench: AgentBench, *, command: list[str] | None = None) -> int:
    """Adds page and results to the station's configuration; returns the page's port."""
    port, folder = free_port(), bench.directory / "mes"
    folder.mkdir()
    command = command or [sys.executable, "-c", COMMAND, str(bench.directory / "told"), "0"]
    with bench.config.open("a") as file:
        file.write(f'\n[page]\nlisten = "127.0.0.1:{port}"\n')
        file.write(f"\n[results]\nfolder = {json.dumps(str(folder))}\n")
        file.write(f"command = {json.dumps(command)}\ncommand_timeout_s = 5\n")
    return port


def page_state(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state", timeout=TIMEOUT_S) as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def told(bench: AgentBench) -> list[dict[str, Any]]:
    path = bench.directory / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_two_boards_are_seen_everywhere(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        port = furnish(bench)
        first, second = bench.board("CHIP-1"), bench.board("CHIP-2", keygen_s=1.0)
        agent = await bench.start("run", "--order", "WO-1", "--port", first.port, "--port", second.port)
        await agent.event("board_done", chip_id="CHIP-1")
        await agent.event("board_done", chip_id="CHIP-2")
        live = load(bench.config).state / FILE_NAME
        await until(
            lambda: live.exists() and json.loads(live.read_text())["shift"]["passed"] == 2, "both boards"
        )

        state = await asyncio.to_thread(page_state, port)
        assert (state["work_order"], state["shift"]["passed"]) == ("WO-1", 2)
        assert {(board["state"], board["chip_id"]) for board in state["ports"]} == {
            ("pass", "CHIP-1"),
            ("pass", "CHIP-2"),
        }
        status = await bench.command("status", "-c", bench.config)
        assert status.out.count(" PASS ") == 2
        as_json = json.loads((await bench.command("status", "-c", bench.config, "--json")).out)
        assert as_json["live"]["alive"] is True
        assert as_json["live"]["pid"] == agent.process.pid

        agent.process.terminate()
        assert (await agent.end()).code == 0
        assert not live.exists()
        assert "the station does not run" in (await bench.command("status", "-c", bench.config)).out
        assert {row["told"]["SERIAL_NUMBER"] for row in told(bench)} == {"BM-000001", "BM-000002"}
        assert all(row["row"]["serial_number"] == row["told"]["SERIAL_NUMBER"] for row in told(bench))
        assert {row["told"]["OUTCOME"] for row in told(bench)} == {"PASS"}
        rows = [json.loads(line) for path in (tmp_path / "mes").glob("*.jsonl") for line in path.open()]
        assert sorted(row["chip_id"] for row in rows) == ["CHIP-1", "CHIP-2"]
        exported = await bench.command("results", "-c", bench.config, "--since", "1h", "--csv")
        assert {row["chip_id"] for row in csv.DictReader(exported.out.splitlines())} == {"CHIP-1", "CHIP-2"}
        report = json.loads((await bench.command("report", "-c", bench.config, "--json")).out)
        assert (report["boards"], report["passed"], report["codes"]) == (2, 2, {})
        assert {step["step"] for step in report["steps"]} >= {"keygen", "session", "sign", "record"}


async def test_a_port_without_a_board_is_on_the_page(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        port = furnish(bench)
        silent = tmp_path / "silent"
        master, slave = os.openpty()
        silent.symlink_to(os.ttyname(slave))
        with bench.config.open("a") as file:
            file.write(f'\n[places]\n"{silent}" = "bench 3"\n')
        agent = await bench.start("run", "--order", "WO-1", "--port", silent)
        shown = await until(lambda: _ports(port), "the page")
        assert [(view["port"], view["state"]) for view in shown] == [("bench 3", "empty")]
        agent.process.terminate()
        await agent.end()
        os.close(master)
        os.close(slave)


def _ports(port: int) -> list[dict[str, Any]]:
    try:
        return list(page_state(port)["ports"])
    except OSError:
        return []


@pytest.mark.check
async def test_results_that_a_kill_left_behind_are_written_at_the_next_start(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        furnish(bench)
        board = bench.board("CHIP-1", keygen_s=3.0)
        agent = await bench.start("run", "--order", "WO-1", "--port", board.port)
        await agent.event("step_started", step="keygen")
        live = load(bench.config).state / FILE_NAME
        await until(live.exists, "the live file")
        await agent.kill()
        assert "NO STATION RUNS" in (await bench.command("status", "-c", bench.config)).out
        again = await bench.start("run", "--order", "WO-1", "--port", board.port, "--count", "1")
        assert (await again.end()).code == 0
        outcomes = [(row["row"]["run"], row["told"]["OUTCOME"], row["told"]["CODE"]) for row in told(bench)]
        assert sorted(outcomes) == [(1, "PARKED", "interrupted"), (2, "PASS", "")]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ([sys.executable, "-c", COMMAND, "/dev/null", "3"], "exit code 3"),
        ([sys.executable, "-c", "import sys; sys.exit('the MES is away')"], "exit code 1: the MES is away"),
        (["/no/such/command"], "cannot start /no/such/command"),
        ([sys.executable, "-c", "import time; time.sleep(600)"], "ended after 5 s"),
    ],
    ids=["code", "words", "missing", "hangs"],
)
@pytest.mark.check
async def test_a_command_that_fails_is_said_and_changes_no_verdict(
    tmp_path: Path, command: list[str], says: str
) -> None:
    async with AgentBench(tmp_path) as bench:
        furnish(bench, command=command)
        board = bench.board("CHIP-1")
        ended = await (
            await bench.start("run", "--order", "WO-1", "--port", board.port, "--count", "1")
        ).end()
        events = [json.loads(line) for line in ended.out.splitlines()]
        assert ended.code == 0
        assert [event["outcome"] for event in events if event["event"] == "board_done"] == ["PASS"]
        (notice,) = (event["detail"] for event in events if event["event"] == "notice")
        assert says in notice
        assert "BM-000001" in notice


@pytest.mark.parametrize("wrong", ["folder", "page"])
async def test_what_cannot_start_is_said_before_the_first_board(tmp_path: Path, wrong: str) -> None:
    async with AgentBench(tmp_path) as bench:
        port = furnish(bench)
        board = bench.board("CHIP-1")
        server = None
        if wrong == "folder":
            (tmp_path / "mes").rmdir()
        else:
            server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)
        ended = await bench.command("run", "--order", "WO-1", "--port", board.port, "-c", bench.config)
        if server is not None:
            server.close()
        assert ended.code == 3
        assert ("results.folder" if wrong == "folder" else "page.listen") in ended.err
        assert bench.signerd.company.calls == []
