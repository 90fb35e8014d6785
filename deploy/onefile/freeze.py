#!/usr/bin/env python3
"""Makes the self-contained station of the environment that runs this: one archive, and its SHA256SUMS.

    python freeze.py WHEELHOUSE OUT      OUT/birthmark-agent-VERSION-PLATFORM.tar.gz; on Windows .zip

The environment has the station of WHEELHOUSE, a wheelhouse of `agent-esp32`, and requirements/onefile.txt.
In the archive, `licenses` has the licence of everything inside, and what has none ends the build. `source`
has the wheels of what is under the GPL, for wheels are source.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NoReturn

_HERE = Path(__file__).resolve().parent
_SOURCE = ("birthmark", "esptool", "esp_pylib", "reedsolo")
_TIME = 315532800  # of all files in the archive: 1980, where zip's begins
_LICENCE_FILE = re.compile(r"(?i)^(licen[cs]e|copying|notice|authors)")
_BUILD_ONLY = {
    "pip",
    "setuptools",
    "altgraph",
    "pyinstaller-hooks-contrib",
    "packaging",
    "pefile",
    "pywin32-ctypes",
}


def fail(text: str) -> NoReturn:
    """Ends the program with a word of what is wrong."""
    sys.stderr.write(f"freeze: {text}\n")
    raise SystemExit(1)


def freeze(out: Path) -> Path:
    """PyInstaller's folder."""
    with tempfile.TemporaryDirectory() as work:
        command = [
            sys.executable,
            "-m",
            "PyInstaller",
            "--noconfirm",
            "--log-level",
            "WARN",
            "--distpath",
            str(out),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": str(_TIME)}
        done = subprocess.run(  # noqa: S603 -- PyInstaller, with arguments of our own
            [*command, "--workpath", work, str(_HERE / "birthmark-agent.spec")], env=environment, check=False
        )
    if done.returncode:
        fail("PyInstaller failed: see above")
    return out / "birthmark-agent"


def licences_of_packages(into: Path) -> list[str]:
    """A line for each Python package, and its licence files."""
    lines = []
    for package in sorted(distributions(), key=lambda package: str(package.metadata["Name"]).lower()):
        name = str(package.metadata["Name"])
        if name.lower() in _BUILD_ONLY:
            continue
        lines.append(f"{name} {package.version}: {_stated(package)}\n")
        for file in package.files or ():
            if ".dist-info" in file.parts[0] and _LICENCE_FILE.match(file.name):
                target = into / f"{name}-{package.version}" / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(file.locate())), target)
    return lines


def _stated(package: Distribution) -> str:
    """What a package says of its licence."""
    metadata = package.metadata
    classified = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier", [])
        if each.startswith("License ::")
    ]
    stated = metadata.get("License-Expression") or ", ".join(classified) or (metadata.get("License") or "")
    if not stated.strip():
        fail(f"{metadata['Name']} does not state its licence")
    return stated.strip().partition("\n")[0]


def licences_of_libraries(folder: Path, into: Path) -> list[str]:
    """Debian's word on each library of the system that came along."""
    lines = []
    for library in sorted((folder / "_internal").glob("lib*.so*")):
        # A link leads to a package's own libraries, which the package's licences name.
        if library.is_symlink():
            continue
        if library.name.startswith("libpython"):
            lines.append(f"{library.name}: python.txt\n")
            continue
        found = subprocess.run(  # noqa: S603
            ["/usr/bin/dpkg-query", "--search", f"*/{library.name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        package = found.stdout.partition(":")[0]
        copyright_file = Path("/usr/share/doc", package, "copyright")
        if not package or not copyright_file.exists():
            fail(f"no licence for {library.name}: no package of this system has it")
        lines.append(f"{library.name}: Debian's {package}, {package}/copyright\n")
        (into / package).mkdir(exist_ok=True)
        shutil.copyfile(copyright_file, into / package / "copyright")
    return lines


def python_licence(into: Path) -> str:
    """The interpreter's own."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    places = (
        Path(sys.base_prefix, "LICENSE.txt"),
        Path(f"/usr/share/doc/python{version}/copyright"),
        Path(sysconfig.get_path("stdlib"), "LICENSE.txt"),
    )
    for place in places:
        if place.exists():
            shutil.copyfile(place, into / "python.txt")
            return f"Python {version}: python.txt\n"
    fail(f"no licence of Python itself: looked for {', '.join(map(str, places))}")


def copy_source(folder: Path, wheelhouse: Path) -> str:
    """The source of both programs. Returns the station's version."""
    (folder / "source").mkdir()
    for name in _SOURCE:
        found = sorted(wheelhouse.glob(f"{name}-*.whl"))
        if len(found) != 1:
            fail(f"{wheelhouse} has {len(found)} wheels of {name}: name a wheelhouse of agent-esp32")
        shutil.copyfile(found[0], folder / "source" / found[0].name)
    (own,) = wheelhouse.glob("birthmark-*.whl")
    return own.name.split("-")[1]


def archived(folder: Path, out: Path, version: str) -> Path:
    """The folder as one file, as its system unpacks it without help."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    if sys.platform == "win32":
        archive = out / f"{folder.name}-{version}-win_amd64.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for file in files:
                name = file.relative_to(folder.parent).as_posix()
                zipped.writestr(zipfile.ZipInfo(name), file.read_bytes(), zipfile.ZIP_DEFLATED)
        return archive
    archive = out / f"{folder.name}-{version}-linux_{os.uname().machine}.tar.gz"
    with gzip.GzipFile(archive, "wb", mtime=_TIME) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for file in files:
            tar.add(file, file.relative_to(folder.parent), recursive=False, filter=_plain)
    return archive


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = _TIME
    return member


def main(wheelhouse: Path, out: Path) -> None:
    """Makes the archive."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = freeze(Path(work))
        version = copy_source(folder, wheelhouse)
        write_licences(folder)
        archive = archived(folder, out, version)
    line = f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
    (out / "SHA256SUMS").write_text(line, "utf-8", newline="\n")
    sys.stdout.write(line)


def write_licences(folder: Path) -> None:
    """`licenses`, with a list of what is inside."""
    licences = folder / "licenses"
    licences.mkdir()
    lines = [python_licence(licences), *licences_of_packages(licences)]
    if sys.platform != "win32":
        lines += licences_of_libraries(folder, licences)
    (licences / "README.txt").write_text(
        "What is in this folder, and its licences. birthmark-agent is Apache-2.0.\n"
        "birthmark-esptool-worker, a program of its own, is GPL-2.0-or-later, as esptool is.\n"
        "The folder source has the source of both.\n\n" + "".join(lines),
        "utf-8",
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        fail("usage: freeze.py WHEELHOUSE OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
