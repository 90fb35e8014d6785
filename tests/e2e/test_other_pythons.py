"""`make unit` on a machine whose Python is another one than this, and a choice of the tests that have
sockets, processes, terminals and databases."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from harness import wheelhouses
from harness.process import REPOSITORY, run
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(5400)]
_RUN_S = 2700.0
_CHOSEN = (
    "agent/drivers",
    "agent/test_agent_line.py",
    "agent/test_journal.py",
    "agent/test_signer_client.py",
    "agent/test_signer_line.py",
    "auditor/test_auditor_commands.py",
    "signerd/keyholder",
    "signerd/rpc",
    "signerd/store",
    "signerd/test_issuance.py",
    "test_versions.py",
)
_OTHERS = [each for each in wheelhouses.PYTHONS if each != f"3.{sys.version_info.minor}"]


@pytest.mark.parametrize("version", _OTHERS)
def test_the_tests_pass(version: str, tmp_path: Path) -> None:
    interpreter = wheelhouses.python(version)
    presence.skip(None if interpreter else f"no Python {version} on this machine")
    assert interpreter is not None
    first = tmp_path / "bin"
    first.mkdir()
    (first / "python3").symlink_to(interpreter.resolve())
    checkout = tmp_path / "checkout"
    for name in run(["git", "-C", REPOSITORY, "ls-files"]).splitlines():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, checkout / name, follow_symlinks=False)
    environment = {**os.environ, "PATH": f"{first}:{os.environ['PATH']}"}
    said = run(["make", "unit"], directory=checkout, environment=environment, timeout_s=_RUN_S)
    assert " passed" in said
    python = checkout / ".venv" / "bin" / "python"
    assert run([python, "--version"]).startswith(f"Python {version}.")
    tier = ("-q", "-n", "2", "--dist", "loadfile", "-m", "not check and not soak and not bench")
    chosen = [f"tests/integration/{each}" for each in _CHOSEN]
    run(
        [python, "-m", "pytest", *tier, *chosen],
        directory=checkout,
        environment=environment,
        timeout_s=_RUN_S,
    )
