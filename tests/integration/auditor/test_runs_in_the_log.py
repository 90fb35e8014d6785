"""Starts and stops of signerd: each stop is one of a start, and over several runs of the auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.core import history
from harness.audit_bench import bench, opened
from harness.paper_log import PaperLog

RUN, OTHER = "00" * 16, "01" * 16
NOTHING: dict[str, Any] = {"upgraded_from": None, "backup_made": None, "backup_size": None}


def start(log: PaperLog, run: str, **members: Any) -> int:
    return log.append(
        "signerd_started", **{"run": run, "version": "1.0", "schema": "0011", **NOTHING, **members}
    )


def stop(log: PaperLog, run: str) -> int:
    return log.append("signerd_stopped", run=run)


def test_starts_stops_and_crashes_are_no_finding(tmp_path: Path) -> None:
    log = opened()
    start(log, RUN)
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        stop(log, RUN)
        start(log, OTHER, upgraded_from="0010", backup_made="2026-11-01T00:00:00Z", backup_size=3)
        start(log, "02" * 16)  # the one before has crashed
        assert made.verify().clean


def test_a_stop_without_a_start_is_found(tmp_path: Path) -> None:
    log = opened()
    start(log, RUN)
    index = stop(log, OTHER)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("RUN_HISTORY", index)]


def test_a_second_stop_is_found(tmp_path: Path) -> None:
    log = opened()
    start(log, RUN)
    stop(log, RUN)
    index = stop(log, RUN)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("RUN_HISTORY", index)]


def test_a_name_that_comes_again_after_its_stop_is_found(tmp_path: Path) -> None:
    log = opened()
    start(log, RUN)
    stop(log, RUN)
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        index = start(log, RUN)
        stop(log, RUN)
        assert made.codes() == [("RUN_HISTORY", index)]


def test_of_starts_without_a_stop_the_newest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_OPEN_RUNS", 2)
    log = opened()
    for number in range(3):
        start(log, f"{number:02}" * 16)
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        assert list(made.state.totals.runs) == ["01" * 16, "02" * 16]
        stop(log, "02" * 16)
        assert made.verify().clean


def test_two_starts_of_one_name_are_found(tmp_path: Path) -> None:
    log = opened()
    start(log, RUN)
    index = start(log, RUN)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("RUN_HISTORY", index)]
