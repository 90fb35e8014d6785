"""A command from the process that has loaded it ends and speaks as one that is started anew."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.loaded_commands import is_loaded, loaded_command
from harness.process import COMMANDS

WORDS = (
    ("signerd", "order", "list", "--config", "none.toml"),
    ("signerd", "no-such-command"),
    ("birthmark-agent", "doctor", "--json", "--config", "none.toml"),
    ("birthmark-auditor", "findings", "--config", "none.toml"),
    ("birthmark-auditor", "--help"),
)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_it_is_as_a_command_that_is_started(words: tuple[str, ...], tmp_path: Path) -> None:
    command = [str(COMMANDS / words[0]), *words[1:]]
    started = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    loaded = loaded_command(command, directory=tmp_path, environment=dict(os.environ), timeout_s=60)
    assert loaded is not None
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (
        started.returncode,
        started.stdout,
        started.stderr,
    )


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "signerd.toml")
    command = [str(COMMANDS / "signerd"), "order", "list", "--config", str(tmp_path / "signerd.toml")]
    with pytest.raises(subprocess.TimeoutExpired):
        loaded_command(command, directory=tmp_path, environment=dict(os.environ), timeout_s=1.0)
    test_it_is_as_a_command_that_is_started(("signerd", "--version"), tmp_path)


def test_whatever_tells_the_interpreter_something_else_is_started_anew() -> None:
    command = [str(COMMANDS / "signerd"), "--version"]
    assert is_loaded(command, os.environ)
    for name in ("PYTHONPATH", "LD_PRELOAD", "LC_ALL", "COLUMNS"):
        assert not is_loaded(command, {**os.environ, name: "other"})
    assert not is_loaded(["/usr/bin/signerd", "--version"], os.environ)
    assert not is_loaded([str(COMMANDS / "python"), "-c", "pass"], os.environ)
