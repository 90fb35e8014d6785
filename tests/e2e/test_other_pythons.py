"""`make unit` on a machine whose Python is the newest other one. In `make soak` also on those between, and
the two commands of the README in a fresh clone, with each of them, and on a Debian 13 in which nothing of
this machine is."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import wheelhouses
from harness.clean_root import CleanRoot, made_root, no_clean_root
from harness.process import REPOSITORY, run
from tokens import presence

pytestmark = pytest.mark.timeout(5400)
_RUN_S = 2700.0
_REGISTRIES = ("PIP_", "SSL_CERT_", "NODE_EXTRA_CA_", "npm_config_")  # of variables
_COUNTED = re.compile(r"^=*.* (\d+) passed.* in .*s", re.MULTILINE)
_LEAST = 10_000  # tests
# What a clean root lacks, whatever its Python: a udev that evaluates rules, a polkit that lets us to pcscd.
_ELSEWHERE = ("deploy/test_udev_rules.py", "tokens/test_virtual_yubikey.py")
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


@pytest.fixture(
    scope="module",
    params=[*(pytest.param(each, marks=pytest.mark.soak) for each in _OTHERS[:-1]), *_OTHERS[-1:]],
)
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    version = str(request.param)
    interpreter = wheelhouses.python(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} on this machine")  # nothing that CI has to have
    folder = tmp_path_factory.mktemp("pythons")
    first, place = folder / "bin", folder / "checkout"
    first.mkdir()
    (first / "python3").symlink_to(interpreter.resolve())
    clone(place)
    made = Checkout(version, place, {**os.environ, "PATH": f"{first}:{os.environ['PATH']}"})
    made.run("make", "setup")
    assert made.run(made.python, "--version").startswith(f"Python {version}.")
    return made


@pytest.mark.check
def test_the_unit_tests_pass(checkout: Checkout) -> None:
    assert " passed" in checkout.run("make", "unit")


@pytest.mark.soak
def test_a_newcomer_s_two_commands(checkout: Checkout) -> None:
    played(checkout.run("make", "demo"))
    counted(checkout.run("make", "test"))


@pytest.mark.soak
def test_a_newcomer_s_two_commands_on_debian_13(tmp_path: Path) -> None:
    """Its Python 3.13 and no other; what is missing, setup.sh installs."""
    presence.skip(no_clean_root() or None)
    root = made_root("trixie", tmp_path, include="git,make")
    clone(root / "srv" / "birthmark")
    left_out = " ".join(f"--ignore=tests/integration/{each}" for each in _ELSEWHERE)
    reached = {**registries(root), "PYTEST_ADDOPTS": left_out}
    with CleanRoot(root) as machine:
        assert machine.run("python3 --version || echo none").startswith(("Python 3.13.", "none"))

        def make(what: str) -> str:
            line = f"cd /srv/birthmark; make {what} 2>&1"
            return run(machine.command("sh", "-euc", line, environment=reached), timeout_s=_RUN_S)

        played(make("demo"))
        assert machine.run("/srv/birthmark/.venv/bin/python --version").startswith("Python 3.13.")
        counted(make("test"))


def played(said: str) -> None:
    """The demo, to its end."""
    assert "checks hold" in said


def counted(said: str) -> None:
    """All of the tests: a run of a few would say so too."""
    (passed,) = _COUNTED.findall(said)
    assert int(passed) > _LEAST


def clone(place: Path) -> None:
    """What is committed, and what was changed since."""
    run(["git", "clone", "--quiet", REPOSITORY, place])
    for name in run(["git", "-C", REPOSITORY, "ls-files"]).splitlines():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, place / name, follow_symlinks=False)


def registries(root: Path) -> dict[str, str]:
    """How this machine reaches the packages of Python and Node: settings, and the CAs that they name."""
    for name in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf", "/etc/npmrc"):
        if Path(name).exists():
            shutil.copy(name, root / name[1:])
    given = {name: text for name, text in os.environ.items() if name.startswith(_REGISTRIES)}
    return {**given, "HOME": "/root"}
