"""The sheet of a personalization: its last step leaves no key behind, whatever chips are called."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from signerd.adapters.espefuse import SHEET, write_files

CHIPS = ["7c:df:a1:00:00:01", "-rf", ".hidden", "..", "a.key"]


@pytest.mark.parametrize("chips", [CHIPS[:1], CHIPS])
def test_its_last_step_destroys_every_key(tmp_path: Path, chips: list[str]) -> None:
    write_files(tmp_path, dict.fromkeys(chips, bytes(32)), chip="esp32c3", block="BLOCK_KEY5", locked=True)
    assert len(list(tmp_path.iterdir())) == len(chips) + 1
    step = re.search(r"^5\. .*?: (.+)$", (tmp_path / SHEET).read_text("ascii"), re.MULTILINE)
    assert step is not None
    subprocess.run(["sh", "-c", step[1]], cwd=tmp_path, check=True)
    assert [file.name for file in tmp_path.iterdir()] == [SHEET]
