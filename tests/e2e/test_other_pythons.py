"""`make unit` on a machine whose Python is another one than this. In `make soak` also a choice of the tests
that have sockets, processes, terminals and databases."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import wheelhouses
from harness.process import REPOSITORY, run

pytestmark = pytest.mark.timeout(5400)
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


@dataclass(frozen=True, slots=True)
class Checkout:
    """This checkout once more, on a machine with another Python."""

    version: str
    place: Path
    environment: dict[str, str]

    @property
    def python(self) -> Path:
        return self.place / ".venv" / "bin" / "python"

    def run(self, *command: str | Path) -> str:
        return run(command, directory=self.place, environment=self.environment, timeout_s=_RUN_S)


@pytest.fixture(scope="module", params=_OTHERS)
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    version = str(request.param)
    interpreter = wheelhouses.python(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} on this machine")  # nothing that CI has to have
    folder = tmp_path_factory.mktemp("pythons")
    first, place = folder / "bin", folder / "checkout"
    first.mkdir()
    (first / "python3").symlink_to(interpreter.resolve())
    for name in run(["git", "-C", REPOSITORY, "ls-files"]).splitlines():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, place / name, follow_symlinks=False)
    made = Checkout(version, place, {**os.environ, "PATH": f"{first}:{os.environ['PATH']}"})
    made.run("make", "setup")
    assert made.run(made.python, "--version").startswith(f"Python {version}.")
    return made


@pytest.mark.check
def test_the_unit_tests_pass(checkout: Checkout) -> None:
    assert " passed" in checkout.run("make", "unit")


@pytest.mark.soak
def test_more_tests_pass(checkout: Checkout) -> None:
    tier = ("-q", "-n", "2", "--dist", "loadfile", "-m", "not check and not soak and not bench")
    chosen = [f"tests/integration/{each}" for each in _CHOSEN]
    assert " passed" in checkout.run(checkout.python, "-m", "pytest", *tier, *chosen)
