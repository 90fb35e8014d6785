"""Marks: found again from memory, from runs and from merged runs; a chance meeting of two is no finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.adapters import marks as module
from auditor.adapters.marks import Kind, Marks
from auditor.adapters.state import MARKS, SqliteState
from auditor.core.growth import BUNDLE
from auditor.errors import ConfigError
from harness.audit_bench import bench, opened
from harness.paper_log import PaperLog

BOARDS = 90  # some entries lie in a second bundle
SMALL = 64  # cells: a run with each commit


def _value(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture(scope="module")
def log() -> PaperLog:
    made = opened(quantity=BOARDS)
    made.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        made.stamp(made.issue(number))
    return made


def test_what_was_added_is_found_in_runs_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH", SMALL)
    marks, names = Marks(tmp_path / MARKS, b"s" * 16), list[str]()
    marks.load([], [])
    most = 0
    for number in range(2_000):
        marks.add(Kind.KEY, _value(number // 2), number)  # each value in two entries
        flushed = marks.flush()
        if flushed is not None:
            names = flushed[0]
            marks.remove(flushed[1])
            most = max(most, len(names))
    assert 1 < most < 6  # merged as they grow
    unsaved = marks.unsaved()
    for number in range(1_000):
        assert marks.find(Kind.KEY, _value(number)) == [2 * number, 2 * number + 1]
        assert marks.find(Kind.CHALLENGE, _value(number)) == []
    assert marks.find(Kind.KEY, _value(1_001)) == []
    assert sorted(path.name for path in (tmp_path / MARKS).iterdir()) == sorted(names)
    marks.load(names, [unsaved])  # as the next start does
    assert marks.find(Kind.KEY, _value(0)) == [0, 1]
    assert marks.find(Kind.KEY, _value(999)) == [1_998, 1_999]
    marks.close()


@pytest.mark.parametrize("harm", ["cut", "missing"])
def test_a_run_that_is_not_whole_is_refused(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(module, "FLUSH", SMALL)
    with bench(log, tmp_path, chunk=BUNDLE // 4) as made:
        assert made.verify().clean
    (run, *_) = (tmp_path / MARKS).iterdir()
    if harm == "cut":
        run.write_bytes(run.read_bytes()[:-8])
    else:
        run.unlink()
    with pytest.raises(ConfigError, match="verify anew in another one"):
        SqliteState.open(tmp_path)


def test_runs_and_memory_give_the_same_findings(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = log.entries[-2].replace(b'"number":90', b'"number":91')  # another board with all its values
    log.append_raw(again)
    with bench(log, tmp_path / "memory", chunk=BUNDLE // 4) as made:
        expected = [(found.code, found.detail) for found in made.verify().new]
    monkeypatch.setattr(module, "FLUSH", SMALL)
    with bench(log, tmp_path / "runs", chunk=BUNDLE // 4) as made:
        assert [(found.code, found.detail) for found in made.verify().new] == expected
        assert list((tmp_path / "runs" / MARKS).iterdir())
    assert {code.name for code, _ in expected} >= {"KEY_TWICE", "CHIP_TWICE", "VALUE_REUSED"}


def test_values_that_share_a_mark_are_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them share one here, so each question goes to the entries."""
    log = opened(quantity=6)
    log.personalize(6)
    for number in range(1, 7):
        log.stamp(log.issue(number))
    monkeypatch.setattr(Marks, "_mark", lambda _self, _kind, _value: 7)
    with bench(log, tmp_path) as made:
        report = made.verify()
        assert report.clean
        assert (report.records, report.stamps) == (6, 6)
        log.append_raw(log.entries[-2])
        assert "KEY_TWICE" in {code for code, _ in made.codes()}


def _filled(state: SqliteState, first: int, count: int) -> None:
    with state.transaction():
        for number in range(first, first + count):
            state._marks.add(Kind.KEY, _value(number), number)


def test_who_opens_a_state_while_another_writes_it_leaves_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH", SMALL)
    save = SqliteState._save_marks

    def disturbed(self: SqliteState) -> list[str]:
        before = save(self)
        with SqliteState.open(tmp_path) as other:  # as `findings` does, between the run and its commit
            assert other.findings() == []
        return before

    monkeypatch.setattr(SqliteState, "_save_marks", disturbed)
    with SqliteState.open(tmp_path) as state:
        _filled(state, 0, SMALL)
    with SqliteState.open(tmp_path) as state:
        assert len(state._marks.names()) == 1
        assert state._marks.find(Kind.KEY, _value(1)) == [1]


def test_a_reader_that_finds_a_run_merged_reads_the_names_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH", SMALL)
    with SqliteState.open(tmp_path) as state:
        _filled(state, 0, SMALL)
        load = Marks.load

        def late(self: Marks, *named: Any) -> None:
            monkeypatch.setattr(Marks, "load", load)
            _filled(state, SMALL, SMALL)  # one run of both, and the first is gone
            load(self, *named)

        monkeypatch.setattr(Marks, "load", late)
        with SqliteState.open(tmp_path) as other:
            assert other._marks.find(Kind.KEY, _value(SMALL)) == [SMALL]


def test_a_word_on_a_finding_during_a_run_takes_nothing_back(tmp_path: Path) -> None:
    with SqliteState.open(tmp_path) as state, SqliteState.open(tmp_path) as other:
        with state.transaction():
            state.totals.certificates = 7
        with other.transaction():
            pass  # `acknowledge` was open before
        with state.transaction():
            state.totals.stamped = 5
    with SqliteState.open(tmp_path) as state:
        assert (state.totals.certificates, state.totals.stamped) == (7, 5)


def test_from_scratch_that_dies_in_its_first_transaction_leaves_all_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH", SMALL)
    with SqliteState.open(tmp_path) as state:
        _filled(state, 0, SMALL)

        def broken_off() -> None:
            with state.transaction():
                state.forget()
                assert state._marks.find(Kind.KEY, _value(1)) == []
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            broken_off()
        assert state._marks.find(Kind.KEY, _value(1)) == [1]
    with SqliteState.open(tmp_path) as state:
        assert state._marks.find(Kind.KEY, _value(1)) == [1]
        with state.transaction():
            state.forget()
    assert list((tmp_path / MARKS).iterdir()) == []
