"""The station's log: what a plug-in driver raised stands in it, no secret does, and it stays small."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.line.watch import Plan, PortWatch
from agent.adapters.log.agent_log import agent_log, log_event
from agent.adapters.log.rotating import RotatingFile
from agent.config import Config, Log
from agent.ports import Driver, PortInfo
from harness.agent_world import ORDER, AgentWorld, opened

PORT = PortInfo("port-0", "port-0", "")


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def log(tmp_path: Path, notices: list[str]) -> Iterator[Path]:
    config = Config.model_construct(state=tmp_path, log=Log())
    with agent_log(config, notices.append):
        yield tmp_path / "agent.log"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


async def test_key_error_of_a_plug_in_driver_stands_in_the_log_with_file_and_line(log: Path) -> None:
    world = AgentWorld()
    world.progress.also = log_event
    board = world.board("A")
    board.before["install"] = [KeyError("serial")]
    result = await world.provision(board)
    assert result.code == "driver_fault"
    fault, verdict = lines(log)
    assert (fault["event"], fault["level"], fault["code"]) == ("driver_fault", "error", "driver_fault")
    assert fault["chip_id"] == "A"
    traceback = fault["traceback"]
    assert isinstance(traceback, list)
    assert traceback[-1] == "KeyError: 'serial'"
    assert any(line.startswith("agent_world.py:") for line in traceback)
    assert (verdict["event"], verdict["outcome"], verdict["step"]) == ("board", "FAIL", "install")


async def test_fault_at_each_look_is_one_line(log: Path) -> None:
    world = AgentWorld()
    opened_so_far = 0

    @asynccontextmanager
    async def open_driver(_port: str) -> AsyncIterator[Driver]:
        nonlocal opened_so_far
        opened_so_far += 1
        if opened_so_far < 50:
            raise KeyError("baudrate")
        async with opened(world.board("A")) as driver:
            yield driver

    watch = PortWatch(world.station, open_driver, lambda: (PORT,), Plan(ORDER, boards=1, look_s=0.0))
    await watch.run()
    assert [line["event"] for line in lines(log)] == ["driver_fault"]


@pytest.mark.parametrize("call", ["pop", "configure"])
def test_what_is_raised_beside_a_secret_is_not_quoted(log: Path, call: str) -> None:
    said = "k7Qz" + "-secret"  # not in a source line, which tracebacks have

    def raises() -> None:
        raise ValueError(said)

    raises.__code__ = raises.__code__.replace(co_name=call)
    try:
        raises()
    except ValueError:
        logging.getLogger("agent.test").exception("driver_fault")
    text = log.read_text(encoding="ascii")
    assert said not in text
    assert "ValueError: (left out" in text


def test_warnings_of_other_packages_are_kept_and_do_not_reach_the_terminal(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("grpc._cython").error("E0000 tls \x1b[31m\xff")
    (line,) = lines(log)
    assert (line["logger"], line["detail"]) == ("grpc._cython", "E0000 tls \x1b[31m\xff")
    assert capsys.readouterr().err == ""


def write(file: RotatingFile, count: int) -> None:
    for number in range(count):
        file.write(json.dumps({"n": number, "text": "x" * 60}))


def test_the_log_stays_within_its_bound_and_loses_the_oldest(tmp_path: Path) -> None:
    write(RotatingFile(tmp_path / "agent.log", file_bytes=1000, files=3), 500)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = [line["n"] for file in reversed(files) for line in lines(file)]
    assert kept == list(range(500 - len(kept), 500))
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_that_windows_does_not_rename_is_written_on_and_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RotatingFile(tmp_path / "agent.log", file_bytes=1000, files=3)

    def in_use(_self: Path, _target: Path) -> Path:
        raise PermissionError(32, "used by another process")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", in_use)
        with pytest.raises(OSError, match="holds it open"):
            write(file, 500)
        assert 1000 < file.path.stat().st_size <= 2000
    write(file, 1)
    assert (tmp_path / "agent.log.1").exists()
    assert len(lines(file.path)) == 1


def test_a_crash_in_the_middle_of_a_line_costs_that_line_alone(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "agent.log", file_bytes=1000, files=2)
    write(file, 2)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-10])
    write(file, 1)
    cut, *rest = file.path.read_text(encoding="ascii").splitlines()[1:]
    assert not cut.endswith("}")
    assert [json.loads(line)["n"] for line in rest] == [0]


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, notices: list[str]) -> None:
    config = Config.model_construct(state=tmp_path, log=Log(folder=tmp_path / "missing"))
    with agent_log(config, notices.append):
        for _ in range(3):
            logging.getLogger("agent.test").error("x")
        (tmp_path / "missing").mkdir()
        logging.getLogger("agent.test").error("y")
    assert len(notices) == 1
    (line,) = lines(tmp_path / "missing" / "agent.log")
    assert (line["event"], line["lost"]) == ("y", 3)
