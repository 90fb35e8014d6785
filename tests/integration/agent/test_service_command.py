"""`birthmark-agent service`: what is of every system. Windows' own part is in tests/windows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from agent.adapters.cli.service import _ARGUMENTS, _command
from agent.adapters.service import failures
from agent.errors import ConfigError
from harness.process import COMMANDS


@pytest.mark.parametrize("arguments", [("status",), ("remove",), ("install", "--order", "WO-1")])
def test_elsewhere_it_names_the_unit(arguments: tuple[str, ...]) -> None:
    command = [str(COMMANDS / "birthmark-agent"), "service", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "systemctl enable --now birthmark-agent@ORDER" in done.stderr


def test_the_command_of_a_service_is_quoted_and_read_back() -> None:
    config = Path(r"C:\Program Files\Birth --order X\agent.toml")
    command = _command(config, "WO-1")
    assert command.startswith('"')  # a path with blanks that is not quoted may start another program
    found = _ARGUMENTS.search(command)
    assert found is not None
    assert found.groupdict() == {"order": "WO-1", "config": str(config)}


def test_the_last_failure_is_told(tmp_path: Path) -> None:
    assert failures.last(tmp_path) is None
    failures.record(tmp_path, ValueError("first"))
    failures.record(tmp_path, ConfigError("the file is wrong", remedy="Mend it."))
    with (tmp_path / failures.FILE).open("ab") as file:
        file.write(b'[1]\n{"time": "a power c')
    found = failures.last(tmp_path)
    assert found is not None
    assert (found["detail"], found["remedy"]) == ("the file is wrong", "Mend it.")
    first = json.loads((tmp_path / failures.FILE).read_text("utf-8").splitlines()[0])
    assert first["detail"] == "ValueError: first"
    assert first["traceback"]
