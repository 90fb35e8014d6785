"""Wheelhouses as deploy/wheelhouse.sh makes them and docs/operations.md installs from them, and the Pythons
that this machine has for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.process import REPOSITORY, run

PYTHONS = ("3.11", "3.12", "3.13")
_PAGE = REPOSITORY / "docs" / "operations.md"
_MAKE = REPOSITORY / "deploy" / "wheelhouse.sh"
_MAKE_S, _INSTALL_S = 1200.0, 600.0


def python(version: str) -> Path | None:
    """This machine's interpreter of that version, with venv; None if there is none."""
    found = [shutil.which(f"python{version}")]
    found += sorted(map(str, (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python3")))
    for candidate in filter(None, found):
        asked = [candidate, "-c", "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == version:
            return Path(candidate)
    return None


def made(folder: Path, *programs: str, version: str, platform: str = "linux_x86_64") -> Path:
    """The folder, with these programs in it."""
    run([_MAKE, "--python", version, "--platform", platform, folder, *programs], timeout_s=_MAKE_S)
    return folder


def page_lines(interpreter: str | Path, target: Path) -> str:
    """The page's lines that install, beside a folder `wheelhouse`."""
    (lines,) = re.findall(
        r"^(    sha256sum wheelhouse/SHA256SUMS\n(?:    .+\n)+)", _PAGE.read_text("utf-8"), re.MULTILINE
    )
    return str(lines).replace("python3 ", f"{interpreter} ").replace("/opt/birthmark", str(target))


def without_a_network(*command: str | Path) -> list[str]:
    """The command where there is a loopback and nothing else."""
    script = 'PATH="$PATH:/usr/sbin:/sbin"; ip link set lo up; exec "$0" "$@"'
    return ["unshare", "--net", "/bin/sh", "-euc", script, *map(str, command)]


def install(wheelhouse: Path, interpreter: Path, target: Path) -> None:
    """By the page's lines, without a network, and with an account's settings of pip that lead nowhere."""
    environment = {**os.environ, "PIP_FIND_LINKS": "/nonexistent"}
    command: Sequence[str] = without_a_network("/bin/sh", "-euc", page_lines(interpreter, target))
    run(command, directory=wheelhouse.parent, environment=environment, timeout_s=_INSTALL_S)
