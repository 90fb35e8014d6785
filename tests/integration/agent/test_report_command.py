"""`report`, `results` and `status` over a journal as a shift leaves it."""

from __future__ import annotations

import asyncio
import builtins
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from agent.adapters.cli.app import app
from agent.adapters.cli.period import moment
from agent.adapters.cli.report import lines
from agent.adapters.cli.status import live_lines
from agent.adapters.journal.plot import draw
from agent.adapters.journal.schema import FILE_NAME, create
from agent.adapters.results.files import count_outcomes, read_results
from agent.adapters.shown.live_state import FILE_NAME as LIVE
from agent.adapters.shown.live_state import LiveFile, LiveState, read_live
from agent.core.events import BoardSeen, Finished
from agent.core.floor import Snapshot
from agent.core.shift_report import report_of
from agent.errors import ConfigError
from harness.factory_floor import HandTime, busy_floor, result
from harness.shift import add_run, write_shift
from harness.waiting import until

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shift")
    write_shift(folder / FILE_NAME, ports=4, hours=4.5)
    enrolment = "".join(
        f'{key} = "{key}"\n' for key in ("certificate", "key", "operations_ca", "log_vkey", "device_root")
    )
    config = f'deployment = "paper"\nstate = "."\n[signerd]\naddress = "signer.example:1"\n{enrolment}'
    (folder / "agent.toml").write_text(config)
    return folder


def run(state: Path, *arguments: str) -> str:
    command = [*arguments, "-c", str(state / "agent.toml")]
    result = CliRunner().invoke(app, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("outcome", ["FAIL", "PARKED"])
def test_no_figure_is_told_of_boards_that_are_none(state: Path, tmp_path: Path, outcome: str) -> None:
    create(tmp_path / FILE_NAME)
    (tmp_path / "agent.toml").write_text((state / "agent.toml").read_text())
    add_run(tmp_path / FILE_NAME, outcome=outcome, code="no_answer", seconds=1.0)
    out = run(tmp_path, "report", "--since", "2026-11-20T00:00+00:00") + run(tmp_path, "status")
    assert "a board that passed: none" in out
    assert "waiting for signerd" not in out
    assert "0.00 s" not in out
    assert ("median -" in out, "yield -" in out) == (True, outcome == "PARKED")
    assert ("none has a verdict" in out, " - of 0" in out) == (outcome == "PARKED",) * 2
    assert ("0.0 %" in out) == (outcome == "FAIL")


def test_the_report_fits_80_columns_and_adds_up(state: Path) -> None:
    out = run(state, "report", "--since", "2026-11-20T00:00+00:00", "--until", "2026-11-21T00:00+00:00")
    assert max(map(len, out.splitlines())) <= 88
    report = json.loads(run(state, "report", "--since", "2026-11-20T00:00+00:00", "--json"))
    assert sum(step["share_percent"] for step in report["steps"]) == pytest.approx(100)
    assert (
        report["boards"] == report["passed"] + report["failed"] == sum(p["boards"] for p in report["ports"])
    )
    assert sum(report["codes"].values()) == report["failed"]
    assert all(port["breaks"] == 1 for port in report["ports"])
    assert f"{report['boards']} boards" in out


def test_bounds_and_orders_choose_rows(state: Path) -> None:
    everything = run(state, "results", "--since", "2026-11-20T00:00+00:00").splitlines()
    half = run(state, "results", "--since", "2026-11-20T06:00+00:00", "--until", "2026-11-20T07:00+00:00")
    hours = {json.loads(line)["ended_at"][11:13] for line in half.splitlines()}
    assert hours == {"06"}
    assert len(everything) > len(half.splitlines()) > 0
    assert run(state, "results", "--since", "2026-11-20T00:00+00:00", "--order", "WO-9") == ""
    assert "no boards" in run(state, "report", "--since", "2026-11-20T00:00+00:00", "--order", "WO-9")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_plot_is_drawn(state: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"shift{suffix}"
    run(state, "report", "--since", "2026-11-20T00:00+00:00", "--plot", str(path))
    content = path.read_bytes()
    assert content.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.size == (1320, 900)
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20  # something is drawn


def test_a_plot_of_nothing_and_of_hostile_names(tmp_path: Path) -> None:
    draw(report_of([], UTC), tmp_path / "nothing.png", "no boards")
    for suffix in ("png", "svg"):
        write_hostile(tmp_path / suffix)
        rows = list(read_results(tmp_path / suffix, "", "~"))
        draw(report_of(rows, UTC), tmp_path / f"hostile.{suffix}", r"$\frac{1}{0}$")
        assert (tmp_path / f"hostile.{suffix}").stat().st_size > 1_000


def write_hostile(state: Path) -> None:
    state.mkdir()
    write_shift(state / FILE_NAME, ports=1, hours=0.1)
    for name in (r"$\frac{1}{0}$", "$", "<script>alert(1)</script>", "x" * 500, "\x1b[2J", "\u202e"):
        add_run(state / FILE_NAME, port=name, code=name, step=name, outcome="FAIL", times={name: 1.0})


def test_hostile_names_send_no_escape_to_the_terminal(tmp_path: Path) -> None:
    write_hostile(tmp_path / "state")
    out = "\n".join(lines(report_of(list(read_results(tmp_path / "state", "", "~")), UTC), "WO-1"))
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(
        name: str,
        names: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        chosen: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, names, local, chosen, level)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match="matplotlib") as error:
        draw(report_of([], UTC), tmp_path / "shift.svg", "")
    assert "agent-esp32" in error.value.remedy


@pytest.mark.parametrize("name", ["shift.exe", "shift", "no/such/folder/shift.svg"])
def test_a_plot_that_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="shift"):
        draw(report_of([], UTC), tmp_path / name, "")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("90m", "2026-11-20T10:30:00.000+00:00"),
        ("8h", "2026-11-20T04:00:00.000+00:00"),
        ("2d", "2026-11-18T12:00:00.000+00:00"),
        ("2026-11-20T06:00+02:00", "2026-11-20T04:00:00.000+00:00"),
    ],
)
def test_moments(text: str, utc: str) -> None:
    assert moment(text, NOW) == utc


@pytest.mark.parametrize("text", ["", "8", "8 h", "yesterday", "2026-13-01", "-1h", "99999999d", "²h"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text, NOW)


def live_of(path: Path, **changed: object) -> None:
    content = {"pid": os.getpid(), **asdict(busy_floor(16).snapshot()), "time": NOW.isoformat(), **changed}
    (path / LIVE).write_text(json.dumps(content))


def test_a_live_file_of_a_station_that_runs(tmp_path: Path) -> None:
    live_of(tmp_path)
    live = read_live(tmp_path, NOW + timedelta(seconds=3))
    assert live is not None
    assert (live.alive, live.age_s) == (True, 3.0)
    shown = list(live_lines(live))
    assert len(shown) == 16
    assert shown[1].split() == ["1.2", "WORKING", "7c:df:a1:00:00:02", "flash", "22", "%"]
    assert "Take the board to the repair desk" in shown[2]


@pytest.mark.parametrize(
    ("changed", "after_s"),
    [({}, 60), ({}, -60), ({"pid": 2**22 + 1}, 0), ({"pid": 0}, 0), ({"pid": -1}, 0), ({"pid": 10**30}, 0)],
    ids=["old", "of tomorrow", "gone", "zero", "minus", "huge"],
)
def test_a_live_file_that_was_left_is_known(tmp_path: Path, changed: dict[str, object], after_s: int) -> None:
    live_of(tmp_path, **changed)
    live = read_live(tmp_path, NOW + timedelta(seconds=after_s))
    assert live is not None
    assert not live.alive
    assert next(live_lines(live)).startswith("NO STATION RUNS")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"pid": 1, "time": 5, "ports": []}',
        b'{"pid": true, "time": "2026-11-20T12:00:00+00:00", "ports": []}',
        b'{"pid": 1, "time": "2026-11-20T12:00:00+00:00", "ports": {}}',
        b'{"pid": 1, "time": "2026-11-20T12:00:00", "ports": []}',
    ],
    ids=["empty", "bare", "list", "null", "bytes", "deep", "time", "pid", "ports", "naive"],
)
def test_a_live_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LIVE).write_bytes(content)
    assert read_live(tmp_path, NOW) is None
    assert list(live_lines(None)) == ["the station does not run"]


def test_whatever_stands_in_a_live_file_is_text(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07"
    live_of(
        tmp_path,
        ports=[{"port": evil, "state": evil, "code": {}}, 5, None, [evil]],
        notices=[{"text": evil}, 1],
    )
    live = read_live(tmp_path, NOW)
    assert live is not None
    assert "\x1b" not in "".join(live_lines(live))


class CountedFile(LiveFile):
    """Counts how often it was tried."""

    tries = 0

    def _write(self, snapshot: Snapshot) -> None:
        self.tries += 1
        super()._write(snapshot)


async def test_a_disk_that_takes_no_live_file_is_said_once_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.adapters.shown.live_state._WRITE_S", 0.01)
    live = busy_floor(1)
    async with CountedFile(tmp_path / "gone", live) as file, asyncio.timeout(30):
        while file.tries < 5:
            live(BoardSeen("1", f"CHIP-{file.tries}"))
            await asyncio.sleep(0.01)
    notices = [notice.text for notice in live.snapshot().notices]
    assert [("No such file" in text, LIVE in text) for text in notices] == [(True, True)]


async def test_the_live_file_goes_with_its_station(tmp_path: Path) -> None:
    (tmp_path / f"{LIVE}.{2**22 + 1}").write_text("half of")  # of one that was killed
    async with CountedFile(tmp_path, busy_floor(4)) as file:
        await until((tmp_path / LIVE).exists, "the live file")
    assert file.tries == 1
    assert names(tmp_path) == []


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_counts_begin_anew_with_the_shift_and_not_in_it() -> None:
    clock = HandTime()
    start = clock.now.astimezone() + timedelta(hours=1)
    live = LiveState("WO-1", 14, shifts=[f"{start:%H:%M}"], now=clock)
    live(Finished(result("1", 1)))
    clock.go(3_000)
    live(Finished(result("1", 2)))
    assert live.snapshot().shift.passed == 2
    clock.go(700)
    assert (live.snapshot().shift.passed, live.snapshot().shift.failed) == (0, 0)
    live(Finished(result("1", 3)))
    clock.go(60_000)
    assert live.snapshot().shift.passed == 1


def test_a_station_started_in_the_shift_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    write_shift(path, ports=1, hours=0.2)
    every = count_outcomes(tmp_path, "2026-11-20T00:00:00.000+00:00")
    assert sum(every.values()) == len(list(read_results(tmp_path, "", "~"))) > 5
    add_run(path, ended=NOW, outcome="FAIL")
    assert count_outcomes(tmp_path, NOW.isoformat(timespec="milliseconds")) == {"FAIL": 1}
