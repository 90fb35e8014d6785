"""Files of results: each result once, whatever crashed and whoever took files away."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.journal import schema as journal_schema
from agent.adapters.results import files as results
from agent.adapters.results.files import Exporter, ResultsError
from agent.core.result_row import CSV_HEADER, ResultRow, csv_line, json_line
from agent.errors import ConfigError
from harness.shift import MORNING, add_run

DAY = "2026-11-20"


@dataclass
class Bench:
    state: Path
    folder: Path

    @property
    def journal(self) -> Path:
        return self.state / journal_schema.FILE_NAME

    def export(self, *, whole: bool = True) -> list[ResultRow]:
        return Exporter(self.state, self.folder).export(whole=whole)

    def json_runs(self, day: str = DAY) -> list[int]:
        path = self.folder / f"{day}.jsonl"
        return [json.loads(line)["run"] for line in path.read_text().splitlines()] if path.exists() else []

    def csv_runs(self, day: str = DAY) -> list[int]:
        with (self.folder / f"{day}.csv").open(newline="") as file:
            return [int(row["run"]) for row in csv.DictReader(file)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "state", tmp_path / "mes")
    made.state.mkdir()
    made.folder.mkdir()
    journal_schema.create(made.journal)
    made.export()  # from now on results are wanted
    return made


def test_a_result_is_in_both_files_once(bench: Bench) -> None:
    run = add_run(bench.journal, times={"flash": 2.0})
    assert [row.run for row in bench.export()] == [run]
    assert bench.export() == []
    assert (bench.json_runs(), bench.csv_runs()) == ([run], [run])


def test_what_was_there_before_results_were_wanted_is_not_exported(tmp_path: Path) -> None:
    journal_schema.create(tmp_path / journal_schema.FILE_NAME)
    add_run(tmp_path / journal_schema.FILE_NAME)
    assert Exporter(tmp_path, tmp_path).export(whole=True) == []


def test_days_are_utc(bench: Bench) -> None:
    late = add_run(bench.journal, ended=MORNING.replace(hour=23, minute=59))
    early = add_run(bench.journal, ended=MORNING.replace(hour=23, minute=59) + timedelta(minutes=2))
    bench.export()
    assert (bench.json_runs(), bench.json_runs("2026-11-21")) == ([late], [early])
    assert (bench.csv_runs(), bench.csv_runs("2026-11-21")) == ([late], [early])


def test_a_parked_board_whose_stamp_is_answered_has_a_second_row(bench: Bench) -> None:
    run = add_run(bench.journal, outcome="PARKED", code="signer_unavailable")
    bench.export()
    with closing(sqlite3.connect(bench.journal)) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'PASS', code = ''")
    assert [row.outcome for row in bench.export()] == ["PASS"]
    assert bench.export() == []
    assert bench.json_runs() == bench.csv_runs() == [run, run]


def test_a_board_under_way_is_exported_when_it_has_ended(bench: Bench) -> None:
    first, second = add_run(bench.journal), add_run(bench.journal)
    with closing(sqlite3.connect(bench.journal)) as connection, connection:
        connection.execute("UPDATE run SET ended_at = NULL WHERE id = ?", (first,))
    assert [row.run for row in bench.export()] == [second]
    with closing(sqlite3.connect(bench.journal)) as connection, connection:
        connection.execute("UPDATE run SET ended_at = started_at")
    assert [row.run for row in bench.export()] == [first]


def test_an_old_run_is_found_by_the_whole_look_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_RECENT_RUNS", 2)
    runs = [add_run(bench.journal) for _ in range(4)]
    assert [row.run for row in bench.export(whole=False)] == runs[-2:]
    assert [row.run for row in bench.export(whole=True)] == runs[:2]


def test_many_rows_take_several_transactions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_BATCH", 3)
    runs = [add_run(bench.journal, ended=MORNING + timedelta(seconds=n)) for n in range(7)]
    assert [row.run for row in bench.export()] == runs
    assert bench.json_runs() == bench.csv_runs() == runs


class PowerCutError(Exception):
    pass


def cut_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], None]:
    """The power fails at the so manieth writing to the disk."""
    fsync, calls = os.fsync, [0]

    def failing(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == number:
            raise PowerCutError
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    return lambda: monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_crash_between_any_two_writes_loses_and_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    runs = [add_run(bench.journal, ended=MORNING + timedelta(seconds=n)) for n in range(3)]
    mend = cut_at(monkeypatch, number)
    with pytest.raises(PowerCutError):
        bench.export()
    mend()
    assert [row.run for row in bench.export()] == runs
    assert bench.json_runs() == bench.csv_runs() == runs
    assert (bench.folder / f"{DAY}.csv").read_bytes().count(b"run,started_at") == 1


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_row_torn_at_any_byte_is_written_again(bench: Bench, form: str) -> None:
    first = add_run(bench.journal)
    bench.export()
    path = bench.folder / f"{DAY}.{form}"
    good = path.read_bytes()
    second = add_run(bench.journal, serial="SN-2")
    (row,) = results.read_results(bench.state, row_start(bench, second), "~")
    line = (json_line if form == "jsonl" else csv_line)(row).encode()
    saved = (bench.state / results.STATE_NAME).read_bytes()
    for cut in {*range(0, len(line), 9), len(line) - 2, len(line) - 1}:
        path.write_bytes(good + line[:cut])
        (bench.state / results.STATE_NAME).write_bytes(saved)
        bench.export()
        assert path.read_bytes() == good + line
    assert bench.json_runs().count(second) >= 1
    assert first in bench.json_runs()


def row_start(bench: Bench, run: int) -> str:
    with closing(sqlite3.connect(bench.journal)) as connection, connection:
        connection.execute("UPDATE run SET ended_at = ? WHERE id = ?", (f"{DAY}T05:00:01.000+00:00", run))
    return f"{DAY}T05:00:01.000+00:00"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_header_torn_is_made_whole(bench: Bench, form: str) -> None:
    run = add_run(bench.journal)
    (bench.folder / f"{DAY}.csv").write_bytes(CSV_HEADER.encode()[:17])
    bench.export()
    assert (bench.json_runs() if form == "jsonl" else bench.csv_runs()) == [run]


def test_files_that_were_taken_away_do_not_come_back(bench: Bench) -> None:
    add_run(bench.journal)
    bench.export()
    for path in bench.folder.iterdir():
        path.unlink()
    second = add_run(bench.journal)
    bench.export()
    assert bench.json_runs() == bench.csv_runs() == [second]


def test_a_new_journal_with_old_numbers_is_exported(bench: Bench) -> None:
    first = add_run(bench.journal)
    bench.export()
    for path in bench.state.glob(f"{journal_schema.FILE_NAME}*"):
        path.unlink()
    journal_schema.create(bench.journal)
    assert add_run(bench.journal, ended=MORNING + timedelta(hours=1)) == first
    assert [row.run for row in bench.export()] == [first]


def test_a_folder_that_went_away_is_said_and_caught_up(bench: Bench) -> None:
    bench.folder.rmdir()
    run = add_run(bench.journal)
    with pytest.raises(ResultsError, match=str(bench.folder)):
        bench.export()
    bench.folder.mkdir()
    bench.export()
    assert bench.json_runs() == bench.csv_runs() == [run]


def test_without_a_journal_nothing_is_exported(bench: Bench) -> None:
    bench.journal.unlink()
    with pytest.raises(ConfigError, match="no journal"):
        bench.export()


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"SQLite format 3\x00" + bytes(200)])
def test_a_damaged_state_file_is_said(tmp_path: Path, content: bytes) -> None:
    journal_schema.create(tmp_path / journal_schema.FILE_NAME)
    (tmp_path / results.STATE_NAME).write_bytes(content)
    if content == b"":
        assert Exporter(tmp_path, tmp_path).export(whole=True) == []  # as a new one
        return
    with pytest.raises(ResultsError, match=results.STATE_NAME):
        Exporter(tmp_path, tmp_path).export(whole=True)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "=cmd()", "a\r\nb,c", 'a"b', "\x00", "\u202e", "x" * 5_000],
    ids=["path", "formula", "lines", "quote", "nul", "turned", "long"],
)
def test_hostile_names_stay_in_their_cells(bench: Bench, name: str) -> None:
    before = (bench.state / results.STATE_NAME).read_bytes()
    run = add_run(bench.journal, port=name, serial=name, chip=name, detail=name, code=name, step=name)
    bench.export()
    assert bench.json_runs() == bench.csv_runs() == [run]
    assert sorted(path.name for path in bench.folder.iterdir()) == [f"{DAY}.csv", f"{DAY}.jsonl"]
    row = json.loads((bench.folder / f"{DAY}.jsonl").read_text())
    assert (row["port"], row["serial_number"]) == (name, name)
    (bench.state / results.STATE_NAME).write_bytes(before)  # as if the power had failed before the note
    add_run(bench.journal)
    bench.export()
    assert len(bench.csv_runs()) == len(bench.json_runs()) == 2
