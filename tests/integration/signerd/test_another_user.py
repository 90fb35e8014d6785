"""Another user than signerd's is told so, whatever it is that the user may not read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.installation import Installation
from harness.process import COMMANDS

# Root may read everything; without these two it may read what its modes say, as anyone else.
_CAPABILITIES = "-dac_override,-dac_read_search"
_AS_ANYONE = ("setpriv", f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}")

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="modes are tried as root, with setpriv"
)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """Belongs to somebody else, and is not started."""
    with Installation(tmp_path / "installation") as made:
        yield made


def refused(installation: Installation, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*_AS_ANYONE, str(COMMANDS / "signerd"), *arguments, "-c", str(installation.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_socket(installation: Installation) -> None:
    socket_dir = installation.config.parent / "admin"
    said = refused(installation, "product", "list")
    assert (said[0], "there is no such socket\nis it running?" in said[1]) == (4, True), said
    shutil.chown(socket_dir, 65534)
    said = refused(installation, "product", "list")
    wanted = f"this user may not enter {socket_dir}: run the command as signerd's user"
    assert (said[0], wanted in said[1]) == (4, True), said


def test_the_configuration(installation: Installation) -> None:
    installation.config.chmod(0o600)
    shutil.chown(installation.config, 65534)
    said = refused(installation, "product", "list")
    assert (said[0], "this user may not read it. Run the command as signerd's user" in said[1]) == (
        3,
        True,
    ), said
