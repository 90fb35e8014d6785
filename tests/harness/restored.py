"""An installation whose disk is lost, and that goes on from its last backup: token, PIN and second place were
elsewhere."""

from __future__ import annotations

from pathlib import Path

from harness.installation import Installation
from harness.process import run

_ELSEWHERE = ("softhsm", "hsm.pin", "root")


def goes_on_from_backup(installation: Installation, backup: Path) -> None:
    """Made, lost, restored, checked and started again."""
    installation.process.stop()
    installation.admin("backup", "--out", backup)
    home, lost = installation.home, installation.home.with_name("lost")
    home.rename(lost)
    checkpoint = ("--checkpoint", lost / "head" / "checkpoint")
    run([installation.commands / "signerd", "restore", backup, home, *checkpoint])
    for name in _ELSEWHERE:
        if (lost / name).exists():
            (lost / name).rename(home / name)
    assert "WRONG" not in installation.admin("check-config", "--login")
    installation.start_signerd()
