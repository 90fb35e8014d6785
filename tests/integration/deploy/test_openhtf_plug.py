"""The OpenHTF plug, as the example script uses it: real openhtf, a real station, a simulated board."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.journal.schema import FILE_NAME
from agent.config import load
from agent.core.remedies import error_for
from harness.agent_process import TIMEOUT_S, AgentBench
from harness.process import REPOSITORY

EXAMPLE = REPOSITORY / "deploy" / "openhtf" / "example_test.py"


@dataclass
class Ran:
    code: int
    record: dict[str, Any]
    log: str

    @property
    def phase(self) -> dict[str, Any]:
        (phase,) = (phase for phase in self.record["phases"] if phase["name"] == "provision")
        return dict(phase)

    def measured(self, name: str) -> Any:
        return self.phase["measurements"][f"provision_{name}"].get("measured_value")


async def run_example(bench: AgentBench, port: str, *more: str, order: str = "WO-1") -> Ran:
    out = bench.directory / "records"
    out.mkdir()
    command = [sys.executable, str(EXAMPLE), "--port", port, "--order", order, "--out", str(out), *more]
    process = await asyncio.create_subprocess_exec(
        *command, "--station", str(bench.config), stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(TIMEOUT_S):
        said, log = await process.communicate()
    assert process.returncode is not None
    records = list(out.glob("*.json"))
    assert len(records) == 1, (said + log).decode()
    (record,) = records
    return Ran(process.returncode, json.loads(record.read_bytes()), (said + log).decode())


def runs(bench: AgentBench) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(load(bench.config).state / FILE_NAME)) as connection:
        return connection.execute("SELECT chip_id, outcome, code FROM run").fetchall()


async def test_a_good_board_passes_and_its_record_says_who_it_is(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        board = bench.board("CHIP-1")
        tested = await run_example(bench, board.port)
    assert (tested.code, tested.record["outcome"], tested.record["dut_id"]) == (0, "PASS", "BM-000001")
    assert [tested.measured(name) for name in ("outcome", "code", "serial_number", "chip_id")] == [
        "PASS",
        "",
        "BM-000001",
        "CHIP-1",
    ]
    steps = dict(tested.measured("step_seconds"))
    assert {"identify", "keygen", "sign", "record"} <= set(steps)
    assert 0 < sum(steps.values()) < TIMEOUT_S
    assert tested.measured("seconds") > 0
    assert "provision.json" in tested.phase["attachments"]
    assert [phase["outcome"] for phase in tested.record["phases"]] == ["PASS", "PASS"]
    assert runs(bench) == [("CHIP-1", "PASS", "")]


async def test_a_port_without_a_board_fails_with_its_code_and_the_test_goes_on(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        tested = await run_example(bench, str(tmp_path / "no-such-port"))
    assert (tested.code, tested.record["outcome"]) == (1, "FAIL")
    assert (tested.measured("outcome"), tested.measured("code")) == ("FAIL", "port_gone")
    assert tested.phase["result"]["phase_result"] == "FAIL_AND_CONTINUE"


async def test_an_order_that_cannot_be_worked_stops_the_test(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        board = bench.board("CHIP-1")
        bench.signerd.company.before["open_session"].append(error_for("order_full"))
        tested = await run_example(bench, board.port)
    assert (tested.code, tested.record["outcome"]) == (1, "FAIL")
    assert (tested.measured("outcome"), tested.measured("code")) == ("FAIL", "order_full")
    assert tested.phase["result"]["phase_result"] == "STOP"


@pytest.mark.check
async def test_a_phase_that_takes_too_long_parks_its_board(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        board = bench.board("CHIP-1", keygen_s=60.0)
        tested = await run_example(bench, board.port, "--timeout", "2")
    assert (tested.code, tested.record["outcome"]) == (1, "TIMEOUT")
    assert runs(bench) == [("CHIP-1", "PARKED", "stopped")]


@pytest.mark.parametrize("missing", ["station.key", FILE_NAME])
async def test_a_station_that_cannot_work_is_an_error_and_no_board_s_failure(
    tmp_path: Path, missing: str
) -> None:
    async with AgentBench(tmp_path) as bench:
        board = bench.board("CHIP-1")
        (path,) = bench.directory.rglob(missing)
        path.unlink()
        tested = await run_example(bench, board.port)
    assert (tested.code, tested.record["outcome"]) == (1, "ERROR")
    assert missing in json.dumps(tested.record["outcome_details"])
