"""Logs of form 1, logs that go on in form 2, and the state that an older auditor kept of them."""

from __future__ import annotations

import json
from pathlib import Path

from harness.audit_bench import bench, opened, small
from harness.paper_log import PaperLog


def _go_on_in_form_2(log: PaperLog) -> None:
    log.form = 2
    log.stamp(log.issue(4))


def test_a_log_of_form_1_that_goes_on_in_form_2(tmp_path: Path) -> None:
    log = small(form=1)
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        _go_on_in_form_2(log)
        report = made.verify()
        assert report.clean
        assert made.state.totals.form == 2
        assert made.verify(from_scratch=True).clean


def test_form_1_is_found_behind_form_2_in_a_later_run_too(tmp_path: Path) -> None:
    log = opened()
    with bench(log, tmp_path) as made:
        assert made.verify().clean
    with bench(log, tmp_path) as made:
        log.form = 1
        index = log.issue(1).issued_index
        assert made.codes() == [("FORM_ORDER", index)]


def test_an_id_is_found_again_in_a_later_run_too(tmp_path: Path) -> None:
    log = opened()
    used = json.loads(log.entries[3])["id"]
    with bench(log, tmp_path) as made:
        assert made.verify().clean
    with bench(log, tmp_path) as made:
        board = log.issue(1, id=used)
        found = made.verify().new
    assert [(finding.code.name, finding.index, finding.found) for finding in found] == [
        ("VALUE_REUSED", board.issued_index, used)
    ]
    assert "entry 3" in found[0].detail
