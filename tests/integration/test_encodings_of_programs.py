"""The three programs as processes whose terminal has not the letters that they print: none fails by it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.process import COMMANDS, REPOSITORY

pytestmark = pytest.mark.check

SAVED = REPOSITORY / "tests" / "vectors" / "editors" / "agent-with-bom.toml"
# A command of each that reads its configuration and nothing before it.
PROGRAMS = {
    "birthmark-agent": ("doctor", "--json"),
    "birthmark-auditor": ("verify",),
    "signerd": ("check-config",),
}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TERMINALS = {
    "C": (C_LOCALE, "ascii"),
    "strict": ({**C_LOCALE, "PYTHONIOENCODING": "ascii:strict"}, "ascii"),
    "cp1252": ({"PYTHONIOENCODING": "cp1252"}, "cp1252"),
}


def said(program: str, config: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [str(COMMANDS / program), *PROGRAMS[program], "-c", str(config)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


@pytest.mark.parametrize("terminal", sorted(TERMINALS))
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_name_that_the_terminal_lacks_is_told(program: str, terminal: str, tmp_path: Path) -> None:
    environment, page = TERMINALS[terminal]
    done = said(program, tmp_path / "Prüfplatz → 板.toml", environment)
    text = "".join(each.decode(page, "replace") for each in (done.stdout, done.stderr))
    assert "Traceback" not in text
    assert "Pr" in text
    assert ".toml" in text
    assert done.returncode == (1 if program == "birthmark-agent" else 3), text  # doctor's verdict


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_file_with_a_byte_order_mark_is_read(program: str) -> None:
    """It is the agent's: the others name its keys, and no fault of its form."""
    done = said(program, SAVED, {})
    text = (done.stdout + done.stderr).decode()
    if program == "birthmark-agent":
        assert '"check": "configuration", "ok": true' in text
    else:
        assert "signerd" in text
        assert "TOML" not in text
