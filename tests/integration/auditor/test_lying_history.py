"""A log whose tree is genuine and whose content lies, over the wire: a lie of each kind is one finding at its
entry. All of them, on values: tests/unit/auditor/test_auditor_history.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit_bench import bench, opened
from harness.lying_history import HONEST, LIES, Story, none_with_level
from harness.paper_log import PaperLog

FIRST_OF_EACH_KIND = {code: story for story, code in reversed(LIES)}


@pytest.mark.parametrize("story", HONEST)
def test_what_is_allowed_is_no_finding(tmp_path: Path, story: Story) -> None:
    log = opened()
    story(log)
    with bench(log, tmp_path) as made:
        assert made.codes() == []


@pytest.mark.parametrize("code", FIRST_OF_EACH_KIND)
def test_a_lie_of_each_kind_is_one_finding_at_its_entry(tmp_path: Path, code: str) -> None:
    log = opened()
    index = FIRST_OF_EACH_KIND[code](log)
    with bench(log, tmp_path) as made:
        assert made.codes() == [(code, index)]
        assert made.state.kept() is not None


def test_a_level_without_evidence_is_one_lie_in_the_entry_and_one_in_the_record(tmp_path: Path) -> None:
    log = opened()
    index = none_with_level(log)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("LEVEL", index), ("EVIDENCE_LEVEL", index)]


@pytest.mark.parametrize("member", ["deployment", "origin", "vkey", "root_sha256"])
def test_entry_0_of_another_log(tmp_path: Path, member: str) -> None:
    log = PaperLog()
    log.open_log(**{member: "00" * 32})
    with bench(log, tmp_path) as made:
        assert made.codes() == [("LOG_IDENTITY", 0)]
