"""Records judged in worker processes: the same findings in the same order. A worker that ends is no pass."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from auditor.adapters import workers
from auditor.adapters.workers import Workers
from auditor.core.findings import Finding
from auditor.errors import ConfigError, WorkerEnded
from auditor.judging import Batch, Outcome
from harness.audit_bench import bench, opened
from harness.paper_log import PaperLog

BOARDS = 30


@pytest.fixture(scope="module")
def lying() -> PaperLog:
    """Every fifth record is off, each in another way."""
    log = opened(quantity=BOARDS)
    log.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        log.stamp(log.issue(number))
    for place, record in enumerate(log.records):
        match place % 15:
            case 4:
                record.csr_der = record.csr_der[:-1] + bytes([record.csr_der[-1] ^ 1])
            case 9:
                record.stamp_signature = b"\0"
            case 14:
                record.evidence.evidence = bytes(32)
    return log


def _findings(log: PaperLog, directory: Path, count: int) -> list[Finding]:
    with bench(log, directory, workers=count) as made:
        return list(made.verify().new)


@pytest.mark.check
@pytest.mark.parametrize("count", [2, 3])
def test_findings_do_not_depend_on_who_judges(lying: PaperLog, tmp_path: Path, count: int) -> None:
    alone = _findings(lying, tmp_path / "alone", 1)
    assert [finding.code.name for finding in alone] == ["CSR", "STAMP_SIGNATURE", "EVIDENCE"] * 2
    assert _findings(lying, tmp_path / "several", count) == alone


def _die(_batch: Batch) -> list[Outcome]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


@pytest.mark.check
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_ends_is_no_pass(
    lying: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(lying, tmp_path, workers=2) as made:
        monkeypatch.setattr(workers, "_work", _die)
        with pytest.raises(WorkerEnded, match="--workers 1"):
            made.verify()
        assert issubclass(WorkerEnded, ConfigError)  # exit code 3
        monkeypatch.undo()
        assert len(made.state.unchecked(-1, 100)) == BOARDS
    assert [each.code.name for each in _findings(lying, tmp_path, 1)] == [
        "CSR",
        "STAMP_SIGNATURE",
        "EVIDENCE",
    ] * 2


def test_few_records_start_no_process() -> None:
    with Workers(2, None) as judges:
        assert judges.submit(Batch(1))() == []
        assert judges._pool is None
