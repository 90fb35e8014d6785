"""The table on a terminal that is not UTF-8: `run` itself, as an operator of an old console has it."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from harness.agent_process import AgentBench
from harness.terminal import _COLUMNS, Terminal

PLAIN_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.check),
        pytest.param(PLAIN_C, marks=pytest.mark.soak),
    ],
    ids=["PYTHONIOENCODING", "LANG=C"],
)
async def test_no_line_is_longer_than_the_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    async with AgentBench(tmp_path) as bench:
        port = bench.board("CHIP-1").port
        command = [sys.executable, "-m", "agent", "run", "-c", str(bench.config), "--order", "WO-1"]
        with Terminal([*command, "--port", port, "--count", "1"], environment) as terminal:
            assert await asyncio.to_thread(terminal.wait) == 0
            text = terminal.text
    assert '#"# #"# #"" #""' in text
    assert text.isascii()
    assert "\\u" not in text
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= _COLUMNS
