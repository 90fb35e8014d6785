#!/usr/bin/env python3
"""Builds the wheels of requirements/source.txt, and the project's own, the same bytes wherever it runs.

    source_wheels.py DIR              the wheels of what is published as source alone
    source_wheels.py --project DIR    the project's wheel

Runs with the tools of requirements/build.txt in its environment. It fetches the source that source.txt pins
and nothing else. A wheel depends on its source and on those tools, not on the clock, the umask, the folder, a
C compiler or the compression library: crcmod is built in pure Python, and each wheel is packed again, sorted,
dated 1980 and uncompressed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_EPOCH = "315532800"  # 1980-01-01, the first date that a zip file can hold
_FIRST = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "wheel")


def build(arguments: list[str | Path], into: Path) -> list[Path]:
    """The wheels that `pip wheel` makes of these arguments, packed again."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *_PIP,
            "--no-deps",
            "--no-build-isolation",
            "--no-cache-dir",
            "--wheel-dir",
            folder,
            *arguments,
        ]
        # crcmod's set-up takes its pure Python where no compiler works: one wheel for every platform.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "CC": "false"}
        subprocess.run(command, env=environment, check=True)  # noqa: S603 -- pip, with arguments of our own
        return [pack(wheel, into / wheel.name) for wheel in sorted(Path(folder).glob("*.whl"))]


def pack(wheel: Path, packed: Path) -> Path:
    """The same files in the same order with the same dates and modes, stored."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as new:
        # A wheel's metadata comes last, its RECORD as the very last (the wheel format's recommendation).
        for name in sorted(
            old.namelist(), key=lambda name: (".dist-info/" in name, name.endswith("/RECORD"), name)
        ):
            if not name.endswith("/"):
                entry = zipfile.ZipInfo(name, _FIRST)
                entry.external_attr, entry.create_system = _MODE, 3
                new.writestr(entry, old.read(name))
    return packed


def sources(into: Path) -> list[Path]:
    """The wheels of requirements/source.txt."""
    lock = REPOSITORY / "requirements" / "source.txt"
    return build(["--use-pep517", "--require-hashes", "--no-binary", ":all:", "--requirement", lock], into)


def project(into: Path) -> Path:
    """The wheel of this checkout."""
    (wheel,) = build([REPOSITORY], into)
    return wheel


def main() -> None:
    """Says what it made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--project", action="store_true", help="the project's own wheel instead")
    parser.add_argument("folder", type=Path)
    wanted = parser.parse_args()
    for wheel in [project(wanted.folder)] if wanted.project else sources(wanted.folder):
        sys.stdout.write(f"{wheel}\n")


if __name__ == "__main__":
    main()
