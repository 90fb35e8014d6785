"""The Debian packages of this checkout, built by `make packages`' own script.

packages = built("debian12", folder, "birthmark-agent")
packages["birthmark-agent"]
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.process import REPOSITORY, run

SUITES = {"debian12": "bookworm", "debian13": "trixie"}
NAMES = ("birthmark-signerd", "birthmark-agent", "birthmark-auditor")
BUILD = REPOSITORY / "deploy" / "packages" / "build.sh"
_BUILD_S = 1800.0


def no_builder() -> str:
    """Why they cannot be built here; an empty text if they can."""
    missing = [name for name in ("dh", "dpkg-buildpackage") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (deploy/setup/setup.sh --packages)" if missing else ""


def built(release: str, folder: Path, *names: str) -> Mapping[str, Path]:
    """Name to file; all three if none is named."""
    run([BUILD, "--release", release, folder, *names], timeout_s=_BUILD_S)
    return {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}


def digests(packages: Mapping[str, Path]) -> dict[str, str]:
    """Name to SHA-256."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in packages.items()}
