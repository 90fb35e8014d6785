"""The Debian packages of this checkout, built by `make packages`' own script.

packages = built("debian12", folder, "birthmark-agent")
packages["birthmark-agent"]
before = earlier("debian12")
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.earlier_version import PROGRAM_FOLDERS, holds, made_at, put
from harness.process import REPOSITORY, run

SUITES = {"debian12": "bookworm", "debian13": "trixie"}
NAMES = ("birthmark-signerd", "birthmark-agent", "birthmark-auditor")
BUILD = REPOSITORY / "deploy" / "packages" / "build.sh"
# 2026-11-29: the schema of signerd's database is 0010, the journal's form is 2.
EARLIER = "1f7e3a9016316820b817b65ed819b8f55334d50f"
# 2026-11-30: nothing before it builds packages. Its maintainer scripts are those that an upgrade calls first.
FIRST_PACKAGES = "a2cbe494fd658c37d216ebb403c4ae5f58a0fc4f"
_BUILD_S = 1800.0
_CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def no_builder() -> str:
    """Why they cannot be built here; an empty text if they can."""
    missing = [name for name in ("dh", "dpkg-buildpackage") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (deploy/setup/setup.sh --packages)" if missing else ""


def built(release: str, folder: Path, *names: str) -> Mapping[str, Path]:
    """Name to file; all three if none is named."""
    run([BUILD, "--release", release, folder, *names], timeout_s=_BUILD_S)
    return _found(folder)


def no_earlier() -> str:
    """Why this copy of the repository cannot build those of before; an empty text if it can."""
    missing = [commit[:7] for commit in (EARLIER, FIRST_PACKAGES) if not holds(commit)]
    return f"this copy has no history back to {', '.join(missing)}" if missing else ""


def earlier(release: str) -> Mapping[str, Path]:
    """Name to file: the programs of `EARLIER` in packages as `FIRST_PACKAGES` made them.

    Built once, and kept in ~/.cache/birthmark (or $BIRTHMARK_CACHE).
    """
    cache = Path(os.environ.get("BIRTHMARK_CACHE") or _CACHES / "birthmark")
    kept = cache / f"packages-{EARLIER[:12]}-{FIRST_PACKAGES[:12]}-{release}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with TemporaryDirectory(prefix="packages-", dir=cache) as work:
                _build_earlier(release, Path(work))
                (Path(work) / "made").rename(kept)
    return _found(kept)


def _build_earlier(release: str, work: Path) -> None:
    tree = work / "tree"
    put(FIRST_PACKAGES, tree)
    for folder in PROGRAM_FOLDERS:
        shutil.rmtree(tree / folder)
    put(EARLIER, tree, *PROGRAM_FOLDERS)
    (tree / ".venv").symlink_to(sys.prefix)
    dated = {**os.environ, "SOURCE_DATE_EPOCH": str(made_at(FIRST_PACKAGES))}
    build = tree / BUILD.relative_to(REPOSITORY)
    run([build, "--release", release, work / "made"], timeout_s=_BUILD_S, environment=dated)


def _found(folder: Path) -> Mapping[str, Path]:
    return {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}


def digests(packages: Mapping[str, Path]) -> dict[str, str]:
    """Name to SHA-256."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in packages.items()}
