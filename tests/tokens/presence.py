"""What a machine cannot have is skipped by name, with what to install. In CI nothing is skipped."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

_LIBRARIES = (Path("/usr/lib"), Path("/usr/local/lib"))
_SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin:/sbin"


def library(name: str) -> Path | None:
    """A shared library in /usr/lib, with or without the directory of the machine's architecture."""
    for folder in _LIBRARIES:
        for pattern in (name, f"*-linux-gnu*/{name}"):
            for path in sorted(folder.glob(pattern)):
                return path
    return None


def program(name: str) -> Path | None:
    """A program on PATH, or where the system's daemons are."""
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_PROGRAMS)
    return None if found is None else Path(found)


def missing(what: str, **parts: Path | None) -> str | None:
    """Why a test cannot run here; None if it can. A part is named after its package, with `_` for `-`."""
    absent = [package.replace("_", "-") for package, path in parts.items() if path is None]
    return f"{what}: not installed here: apt install {' '.join(absent)}" if absent else None


def no_tpm2_pytss() -> str | None:
    """Why signerd speaks to no TPM here; None if it does."""
    if find_spec("tpm2_pytss") is not None:
        return None
    return "tpm2-pytss: not installed here: deploy/setup/setup.sh builds it"


def skip(reason: str | None) -> None:
    """Skips the test for this reason, if there is one. In CI the test fails instead."""
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI runs every token: {reason}")
    pytest.skip(reason)
