"""Each program says which one it is, and which protocol it speaks, without loading what its commands need."""

from __future__ import annotations

import subprocess
from importlib.metadata import version

import pytest

from harness.process import COMMANDS


@pytest.mark.parametrize("program", ["birthmark-agent", "birthmark-auditor", "signerd"])
def test_a_program_says_which_one_it_is(program: str) -> None:
    done = subprocess.run(
        [COMMANDS / program, "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{program} {version('birthmark')} (birthmark.v1)\n"
    assert done.stderr == ""
