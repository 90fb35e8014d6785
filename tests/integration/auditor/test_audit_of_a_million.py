"""A full audit of very many boards: the same from signerd and from tiles, in bounded time, memory and state.

A million boards, or as many as `BIRTHMARK_SOAK_BOARDS` says. The bound in time is by CPU: of the auditor and
of signerd together, on two cores that are busy to the end. So it holds on a machine that is not ours alone.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.large_ledger import LargeLedger, MeasuredRun, large_ledger

BOARDS = int(os.environ.get("BIRTHMARK_SOAK_BOARDS", "1000000"))
CPU_MS = 2 * 15 * 60 / 1_000  # a board: two cores for 15 minutes, over a million
STATE_BYTES = 300  # a board
RESIDENT_MB = 600
START_S = 10.0  # of signerd
_SAME = (
    "clean", "tree_size", "root", "certificates", "stamped", "revoked", "refused", "levels", "orders",
    "alarms", "one_chip", "open_intents", "findings",
)  # fmt: skip

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7_200)]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LargeLedger]:
    with large_ledger(tmp_path_factory.mktemp("million") / "line", BOARDS) as filled:
        assert filled.start_s < START_S
        yield filled


@pytest.fixture(scope="module")
def whole(ledger: LargeLedger) -> MeasuredRun:
    """An audit from signerd."""
    return ledger.auditor_runs("whole", "verify")


def test_an_audit_ends_in_time_and_finds_nothing(ledger: LargeLedger, whole: MeasuredRun) -> None:
    assert (whole.code, whole.errors) == (0, "")
    assert whole.summary["clean"]
    assert (whole.summary["records"], whole.summary["stamps"]) == (BOARDS, BOARDS)
    assert 1_000 * (whole.cpu_s + whole.signerd_cpu_s) / BOARDS < CPU_MS
    assert whole.resident_mb < RESIDENT_MB
    assert ledger.state_bytes("whole") / BOARDS < STATE_BYTES


def test_tiles_say_the_same_of_the_entries(ledger: LargeLedger, whole: MeasuredRun) -> None:
    by_tiles = ledger.auditor_runs("tiles", "verify", "--tiles", ledger.tiles)
    assert by_tiles.code == 0
    assert {name: by_tiles.summary[name] for name in _SAME} == {name: whole.summary[name] for name in _SAME}
    assert by_tiles.summary["without_records"]


def test_a_run_that_is_killed_goes_on_where_it_was(ledger: LargeLedger, whole: MeasuredRun) -> None:
    """Killed with its workers while it judges records."""
    running = ledger.start("killed", "verify")
    assert running.stdout is not None
    for line in running.stdout:
        if '"records"' in line:
            break
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    running.stdout.close()
    went_on = ledger.auditor_runs("killed", "verify")
    assert (went_on.code, went_on.summary["resumed"]) == (0, "records")
    assert went_on.summary["verified_from"] == whole.summary["tree_size"]
    assert 0 < went_on.summary["records"] <= BOARDS
    assert went_on.summary["certificates"] == BOARDS
    assert went_on.cpu_s < whole.cpu_s


def test_an_export_is_as_large_as_the_ledger_and_bounded_in_memory(
    ledger: LargeLedger, whole: MeasuredRun, tmp_path: Path
) -> None:
    first = ledger.auditor_runs("whole", "export", "--out", tmp_path / "out")
    assert (first.code, first.summary["certificates"]) == (0, BOARDS)
    assert first.summary["entries"] == whole.summary["tree_size"]
    assert first.resident_mb < RESIDENT_MB
    again = ledger.auditor_runs("whole", "export", "--out", tmp_path / "out")
    assert (again.code, again.summary["certificates"]) == (0, BOARDS)
    assert again.cpu_s < first.cpu_s / 4 or BOARDS < 10_000
    shutil.rmtree(tmp_path / "out")
