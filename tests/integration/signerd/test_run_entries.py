"""Of a real signerd: who reads the ledger can tell a stop from a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.process import wait_until


@pytest.mark.check
def test_a_stop_stands_in_the_ledger_and_a_crash_leaves_none(tmp_path: Path) -> None:
    with Installation(tmp_path / "line") as installation:
        installation.start_signerd()
        installation.process.stop()
        installation.start_signerd()
        installation.process.kill()
        wait_until(lambda: not installation.process.running(), "signerd to die")
        line = HostileLine(installation)  # which starts it
        entries = [entry for entry in line.entries() if entry["type"].startswith("signerd_")]
        line.close()
    kinds = [entry["type"] for entry in entries]
    assert kinds == ["signerd_started", "signerd_stopped", "signerd_started", "signerd_started"]
    first, stop, second, third = (entry["run"] for entry in entries)
    assert stop == first
    assert len({first, second, third}) == 3
