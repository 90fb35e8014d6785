#!/usr/bin/env python3
"""Collects the wheels of a wheelhouse: deploy/wheelhouse.sh runs it in an environment of pinned tools.

Published wheels are taken by the digests of requirements/*.txt, for the target's platform and Python and no
other. What is published as source alone is built, and must come to the digest that stands there too. The
folder then holds the wheels, `requirements.txt` with exactly their digests, `wheelhouse.json` (what it is
for), `install.py`, and `SHA256SUMS` over all of them. Twice made, it is twice the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NoReturn

import source_wheels
from packaging.markers import Marker
from packaging.utils import canonicalize_name, parse_wheel_filename

REQUIREMENTS = source_wheels.REPOSITORY / "requirements"
PROGRAMS = ("agent", "agent-esp32", "auditor", "signerd", "signerd-tpm")
PYTHONS = ("3.11", "3.12", "3.13")
# Debian 12 has glibc 2.36, Ubuntu 22.04 2.35.
_MANYLINUX = (
    *(f"manylinux_2_{minor}" for minor in range(35, 4, -1)),
    "manylinux2014",
    "manylinux2010",
    "manylinux1",
)
PLATFORMS = {
    "linux_x86_64": tuple(f"{each}_x86_64" for each in _MANYLINUX),
    "win_amd64": ("win_amd64",),
}
_MARKERS = {
    "linux_x86_64": {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
    },
    "win_amd64": {
        "sys_platform": "win32",
        "platform_system": "Windows",
        "os_name": "nt",
        "platform_machine": "AMD64",
    },
}
_BUILT_FOR_THIS_MACHINE = "tpm2-pytss"  # against the system's TSS: no digest of it holds on every machine
_ENTRY = re.compile(
    r"(?m)^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\\n]+?))?"
    r"(?P<hashes>(?: \\\n    --hash=\S+)+)$"
)


def fail(text: str) -> NoReturn:
    """Ends the program with a word of what is wrong."""
    sys.stderr.write(f"wheelhouse: {text}\n")
    raise SystemExit(1)


def wanted_entries(programs: list[str], platform: str, python: str) -> dict[str, str]:
    """Name to requirement with hashes, of all that these programs need on this target."""
    environment = {
        "python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "implementation_version": f"{python}.0",
        **_MARKERS[platform],
    }  # fmt: skip
    entries: dict[str, str] = {}
    for program in programs:
        text = (REQUIREMENTS / f"{program}.txt").read_text("utf-8")
        for entry in _ENTRY.finditer(text):
            if entry["marker"] is None or Marker(entry["marker"]).evaluate(environment):
                entries[canonicalize_name(entry["name"])] = (
                    f"{entry['name']}=={entry['version']}{entry['hashes']}\n"
                )
    return entries


def run_pip(*arguments: str | Path) -> None:
    """A pip that says what is wrong itself."""
    done = subprocess.run(  # noqa: S603 -- pip, with arguments of our own
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *arguments],
        check=False,
    )
    if done.returncode:
        fail("pip could not get what the requirement files pin: see above")


def download(entries: dict[str, str], into: Path, platform: str, python: str, built: Path) -> None:
    """Every entry's wheel, by its digest. `built`: our own wheels, held against theirs too."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lock:
        lock.write("".join(entries.values()))
        lock.flush()
        platforms = [word for each in PLATFORMS[platform] for word in ("--platform", each)]
        target = (*platforms, "--python-version", python, "--implementation", "cp")
        run_pip(
            *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", *target),
            *("--find-links", built, "--dest", into, "--requirement", lock.name),
        )


def build_for_this_machine(entry: str, into: Path) -> None:
    """From the source of this digest."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lock:
        lock.write(entry)
        lock.flush()
        run_pip(
            *(
                "wheel",
                "--no-deps",
                "--no-build-isolation",
                "--use-pep517",
                "--require-hashes",
                "--no-binary",
            ),
            *(":all:", "--wheel-dir", into, "--requirement", lock.name),
        )


def digest(file: Path) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def describe(folder: Path, programs: list[str], platform: str, python: str) -> None:
    """The files beside the wheels."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        lines.append(f"{name}=={version} --hash=sha256:{digest(wheel)}\n")
    (folder / "requirements.txt").write_text("".join(sorted(lines)), "utf-8", newline="\n")
    described = {"programs": programs, "platform": platform, "python": python}
    (folder / "wheelhouse.json").write_text(json.dumps(described, indent=1) + "\n", "utf-8", newline="\n")
    shutil.copyfile(Path(__file__).with_name("install.py"), folder / "install.py")
    sums = [f"{digest(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8", newline="\n")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    here = "win_amd64" if sys.platform == "win32" else sysconfig.get_platform().replace("-", "_")
    parser = argparse.ArgumentParser(
        prog="wheelhouse.sh", description="Makes a folder to install from without a network."
    )
    parser.add_argument(
        "--python", default=f"3.{sys.version_info.minor}", help=f"of the target: {', '.join(PYTHONS)}"
    )
    parser.add_argument("--platform", default=here, help=f"of the target: {', '.join(PLATFORMS)}")
    parser.add_argument("folder", type=Path, help="new, or empty")
    parser.add_argument("programs", nargs="+", metavar="program", help=", ".join(PROGRAMS))
    given = parser.parse_args(arguments)
    if given.python not in PYTHONS:
        fail(f"no Python {given.python}: {', '.join(PYTHONS)}")
    if given.platform not in PLATFORMS:
        fail(f"no platform {given.platform}: {', '.join(PLATFORMS)}")
    for program in given.programs:
        if program not in PROGRAMS:
            fail(f"no program {program}: {', '.join(PROGRAMS)}")
    if given.folder.exists() and any(given.folder.iterdir()):
        fail(f"{given.folder} is not empty: name a new folder")
    return given


def main() -> None:
    """Makes the folder, whole or not at all."""
    given = parse()
    entries = wanted_entries(given.programs, given.platform, given.python)
    own = entries.pop(_BUILT_FOR_THIS_MACHINE, None)
    here = (sysconfig.get_platform().replace("-", "_"), f"3.{sys.version_info.minor}")
    if own and here != (given.platform, given.python):
        fail(
            f"signerd-tpm is built against the TSS of its machine:"
            f" make this folder on {given.platform} with Python {given.python}"
        )
    with tempfile.TemporaryDirectory() as work:
        made = Path(work, "made")
        built = Path(work, "built")
        source_wheels.sources(built)
        made.mkdir()
        download(entries, made, given.platform, given.python, built)
        if own:
            build_for_this_machine(own, made)
        source_wheels.project(made)
        describe(made, given.programs, given.platform, given.python)
        shutil.copytree(made, given.folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    wheels = len(list(given.folder.glob("*.whl")))
    sys.stdout.write(
        f"{given.folder}: {', '.join(given.programs)} for Python {given.python} on {given.platform},"
        f" {wheels} wheels\n"
        f"SHA-256 of its SHA256SUMS, to be compared by another way:\n{digest(given.folder / 'SHA256SUMS')}\n"
    )


if __name__ == "__main__":
    main()
