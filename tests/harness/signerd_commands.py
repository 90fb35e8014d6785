"""signerd's commands as an administrator sees them fail, and settings that a test changes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.installation import Installation
from harness.process import COMMANDS

SIGNERD = COMMANDS / "signerd"


def signerd(installation: Installation, *arguments: str | Path) -> tuple[int, str]:
    """Runs a command on this installation: its exit code, and all that it said."""
    return run_signerd(*arguments, "-c", installation.config)


def run_signerd(
    *arguments: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Runs a command, of `init` or of no installation: its exit code, and all that it said."""
    done = subprocess.run(
        [str(SIGNERD), *map(str, arguments)],
        cwd=folder,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def change(installation: Installation, old: str, new: str) -> None:
    """Changes the settings for good."""
    text = installation.config.read_text("utf-8")
    assert old in text
    installation.config.write_text(text.replace(old, new, 1), "utf-8")


@contextmanager
def changed(installation: Installation, old: str, new: str) -> Iterator[None]:
    """Changes the settings for a while."""
    before = installation.config.read_text("utf-8")
    change(installation, old, new)
    try:
        yield
    finally:
        installation.config.write_text(before, "utf-8")
