"""What docs/esp32.md tells to try without chips does what it says: its commands are run as they stand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from harness.process import COMMANDS, REPOSITORY

pytestmark = pytest.mark.check

TIMEOUT_S = 240.0  # 25 s on two idle cores
(SCRIPT,) = re.findall(
    r"^```sh\n(.*?)^```$", (REPOSITORY / "docs" / "esp32.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


def test_the_commands_of_the_page_make_two_products(tmp_path: Path) -> None:
    folder = tmp_path / "try"
    folder.mkdir()
    environment = {**os.environ, "CHECKOUT": str(REPOSITORY), "PATH": f"{COMMANDS}:{os.environ['PATH']}"}
    said = folder / "said"
    with said.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-e"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # signerd and the chips go on when the shell has ended
        )
        try:
            shell.communicate(SCRIPT.encode(), timeout=TIMEOUT_S)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
    text = said.read_text("utf-8")
    assert shell.returncode == 0, text
    assert "BAD" not in text
    assert re.search(r"stamped +│ 2 ", text), text
    assert len(list((folder / "station" / "labels").iterdir())) == 2
    assert (folder / "shift.svg").stat().st_size > 0
