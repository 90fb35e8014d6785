"""Boards out of a real journal, as the page asks for them."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.journal import boards
from agent.adapters.journal.boards import board_runs, find_boards, shift_rows
from agent.adapters.journal.schema import FILE_NAME, create
from agent.adapters.results.files import read_results
from agent.adapters.shown.page.run_log import MAX_LINES, run_log
from agent.core.shift_report import report_of
from agent.errors import ConfigError, JournalError
from harness.shift import MORNING, add_run, write_shift

SINCE = MORNING.isoformat(timespec="milliseconds")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    create(tmp_path / FILE_NAME)
    return tmp_path / FILE_NAME


def test_the_page_and_the_report_count_the_same(tmp_path: Path) -> None:
    write_shift(tmp_path / FILE_NAME, ports=4, hours=1.0)
    rows, whole = shift_rows(tmp_path / FILE_NAME, SINCE)
    assert whole
    assert len(rows) > 100
    rows.sort(key=lambda row: (row.ended_at, row.run))
    assert report_of(rows) == report_of(list(read_results(tmp_path, SINCE, "~")))


def test_a_shift_beyond_the_bound_is_its_end(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        add_run(journal, chip=f"CHIP-{number}", ended=MORNING + timedelta(minutes=number))
    monkeypatch.setattr(boards, "MAX_SHIFT", 3)
    rows, whole = shift_rows(journal, SINCE)
    assert ([row.chip_id for row in rows], whole) == (["CHIP-3", "CHIP-2", "CHIP-1"], False)


def test_a_board_is_all_its_runs_by_any_name(journal: Path) -> None:
    first = add_run(journal, chip="CHIP-A", serial="", outcome="FAIL", times={"flash": 2.0})
    add_run(journal, chip="CHIP-B", serial="SN-2")
    last = add_run(journal, chip="CHIP-A", serial="SN-1")
    for key in ("CHIP-A", "chip-a", "SN-1", str(first), str(last)):
        found = board_runs(journal, key)
        assert found is not None
        assert [run.run for run in found.runs] == [last, first]
        assert found.runs[1].times == {"flash": 2.0}
    assert board_runs(journal, "CHIP") is None
    assert board_runs(journal, "9" * 18) is None
    assert [row.chip_id for row in find_boards(journal, "hip-b")] == ["CHIP-B"]


def test_runs_without_a_chip_are_not_one_board(journal: Path) -> None:
    run = add_run(journal, chip="", serial="", outcome="FAIL")
    add_run(journal, chip="", serial="", outcome="FAIL")
    found = board_runs(journal, str(run))
    assert found is not None
    assert [one.run for one in found.runs] == [run]


def test_the_receipt_s_index_stands_with_its_run(journal: Path) -> None:
    run = add_run(journal)
    with sqlite3.connect(journal) as connection:
        connection.execute(
            "INSERT INTO outbox (run, work_order, chip_id, serial_number, certificate_sha256, session, stamp,"
            " signature, queued_at, answered_at, ledger_index)"
            " VALUES (?, 'WO', 'CHIP-1', 'SN-1', x'', x'', x'', x'', ?, ?, 41)",
            (run, SINCE, SINCE),
        )
    connection.close()
    found = board_runs(journal, "SN-1")
    assert found is not None
    assert [(stamp.run, stamp.ledger_index) for stamp in found.stamps] == [(run, 41)]


def test_a_question_that_takes_too_long_ends(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "READ_S", -1.0)
    monkeypatch.setattr(boards, "_LOOK_STEPS", 1)
    add_run(journal)
    with pytest.raises(JournalError, match="interrupted"):
        find_boards(journal, "CHIP")
    with pytest.raises(ConfigError):
        find_boards(journal.with_name("none"), "CHIP")


def test_the_log_of_a_run_is_its_events_alone(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    lines = [
        {"basis": {"secret": "x"}},
        {"call": {"of": "board", "call": "request", "answer": "evidence"}},
        {"happened": {"at_s": 0.0, "event": "BoardSeen", "members": {"port": "1", "chip_id": "C"}}},
        {"happened": {"at_s": 0.5, "event": "StepStarted", "members": {"step": "flash"}}},
        {"happened": {"at_s": "soon", "event": "StepStarted", "members": {"step": "flash"}}},
        {"happened": {"at_s": 2.0, "event": "StepDone", "members": {"step": "flash", "seconds": 1.5}}},
        {"happened": {"at_s": 2.0, "event": "Unknown", "members": {}}},
    ]
    file = tmp_path / "recordings" / "000000007-FAIL.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "torn{")
    texts = [(line["at_s"], line["text"]) for line in run_log(tmp_path, 7)]
    assert texts == [(0.0, "board C answers"), (0.5, "flash begins"), (2.0, "flash is done, after 1.50 s")]
    file.write_text((json.dumps(lines[2]) + "\n") * 2_000)
    assert len(run_log(tmp_path, 7)) == MAX_LINES
    assert run_log(tmp_path, 8) == []
