"""docs/operations.md, "A backup was restored", walked with its printed commands: boards are certified, the
disk is lost, the newest backup is behind, and the log goes on as a successor. Station and auditor follow."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.factory import LINE, Factory, Run
from harness.process import run
from harness.signerd_commands import run_signerd, signerd

pytestmark = pytest.mark.soak  # a minute

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ELSEWHERE = ("softhsm", "hsm.pin", "root")


def printed(program: str) -> str:
    """The command of the page's section."""
    _, _, after = PAGE.read_text("utf-8").partition("#### The log goes on as a successor\n")
    section, _, _ = after.partition("\n### ")
    (command,) = re.findall(rf"^ +(signerd {program} .*)$", section, re.MULTILINE)
    return str(command)


def given(command: str, places: Mapping[str, Path]) -> tuple[int, str]:
    _, *words = shlex.split(command)
    return run_signerd(*(places.get(word, word) for word in words))


def certified(factory: Factory) -> Run:
    made = factory.new_run(boards=1, **LINE)
    assert made.start_agent().wait() == 0
    factory.finished_once(made)
    return made


def auditor(factory: Factory, *arguments: str, expect: int) -> str:
    command = factory.installation.commands / "birthmark-auditor"
    return run([command, *arguments, "--config", factory.auditor.config], expect=expect)


def lose(factory: Factory) -> Path:
    """The disk with the installation's files; token and second place were elsewhere."""
    home = factory.installation.home
    factory.installation.process.stop()
    return home.rename(home.with_name("lost"))


def test_the_page_is_walked(factory: Factory, tmp_path: Path) -> None:
    installation, backup = factory.installation, tmp_path / "backup.signerd"
    certified(factory)
    installation.admin("backup", "--out", backup)
    gone = certified(factory)
    factory.verify()  # the auditor has the part that will be lost
    lost = lose(factory)
    second_place = lost / "head" / "checkpoint"
    (seen,) = factory.station.directory.rglob("seen-checkpoint-*")
    places = {
        "backup.signerd": backup, "/etc/signerd": installation.home,
        "/etc/signerd/signerd.toml": installation.config, "pc1.checkpoint": seen, "pc2.checkpoint": seen,
    }  # fmt: skip
    kept = ("--checkpoint", second_place)  # it lies in the lost folder here

    code, said = run_signerd("restore", backup, installation.home, *kept)
    assert (code, "a restored backup" in said) == (3, True), said
    code, said = given(f"{printed('restore')} --checkpoint {second_place}", places)
    assert code == 0, said
    for name in ELSEWHERE:
        if (lost / name).exists():
            (lost / name).rename(installation.home / name)
    code, said = signerd(installation, "run")
    assert (code, "a restored backup" in said) == (3, True), said
    code, said = given(printed("ledger succeed"), places)
    assert code == 0, said
    assert "/successor-2 from now on" in said
    assert "open: WO-FACTORY, whose places are known up to 1 of" in said
    code, said = given(printed("ledger succeed"), places)
    assert (code, "nothing is lost" in said) == (3, True), said

    installation.start_signerd()
    certified(factory)
    doctor: list[str | Path] = [
        installation.commands / "birthmark-agent",
        "doctor",
        "--config",
        factory.station.config,
    ]
    assert "it follows the log's successor" in run(doctor, expect=1)  # no port is plugged in now
    said = auditor(factory, "verify", expect=1)
    assert "F112" in said
    found = re.findall(r'"code": *"(F\d+)"', auditor(factory, "findings", "--json", expect=1))
    assert found == ["F112"]
    assert gone.start_agent().wait() == 1
    assert gone.outcomes() == dict.fromkeys(gone.chips, "sealed")  # as the page says
