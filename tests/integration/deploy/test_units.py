"""The units of deploy/systemd, by systemd's own judgement: how much is left open to what runs in them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from harness.process import REPOSITORY, run

_MOST = 1.5  # systemd-analyze(1): 0 is closed, 10 open
UNITS = REPOSITORY / "deploy" / "systemd"
# Locked memory for sealed keys, and what hardening.py, pool.py and the notes do at a start.
_NEEDED = {"mlock", "setrlimit", "prlimit64", "socketpair", "fdatasync", "getsockopt"}


def _old() -> bool:
    if shutil.which("systemd-analyze") is None:
        return True
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1].split("~")[0].split(".")[0]) < 250  # no --offline before


pytestmark = pytest.mark.skipif(_old(), reason="systemd-analyze of systemd 250 or newer: not on this machine")


@pytest.mark.parametrize(
    "name", ["systemd/signerd", "systemd/signerd-key-holder", "examples/birthmark-witness"]
)
def test_exposure(name: str) -> None:
    said = run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS.parent / f"{name}.service"]
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found, said
    print(f"{name}: {found[1]}")
    assert float(found[1]) <= _MOST


def test_the_key_holders_calls_of_the_system_are_let_through() -> None:
    text = (UNITS / "signerd-key-holder.service").read_text("utf-8")
    allowed: set[str] = set()
    for said in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        calls = {call for name in said.lstrip("~").split() for call in _calls(name)}
        allowed = allowed - calls if said.startswith("~") else allowed | calls
    assert allowed >= _NEEDED
    assert not allowed & {"mount", "ptrace", "init_module", "reboot"}


def _calls(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    lines = run(["systemd-analyze", "syscall-filter", "--no-pager", name]).splitlines()
    said = [line.strip() for line in lines if line.startswith("    ") and not line.strip().startswith("#")]
    return {call for each in said for call in _calls(each)}
