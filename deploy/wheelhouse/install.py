#!/usr/bin/env python3
"""Installs what lies in this folder into an environment of its own. Needs no network.

    python3 install.py /opt/birthmark          on Windows: py -3.12 install.py C:\\Birthmark

First compare the SHA-256 of SHA256SUMS with the one that the company gave by another way. Then compare the
files with it: `sha256sum --check SHA256SUMS`. This program does the latter too, but one that was exchanged
would not.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
UNFINISHED = "birthmark-unfinished"  # stands in the environment as long as files come into it
_MAY_WRITE = (
    'Open the prompt by "Run as administrator", and stop the station that runs from there'
    if os.name == "nt"
    else "Install as root, or name a folder that you may write"
)
_AGAIN = "Given again, the same command makes the environment anew."
_OF_AN_ENVIRONMENT = ("Include", "Lib", "Scripts", "bin", "include", "lib", "lib64", "pyvenv.cfg")


def fail(text: str) -> NoReturn:
    """Ends the program with a word of what is wrong."""
    sys.stderr.write(f"install: {text}\n")
    raise SystemExit(1)


def check_machine(described: dict[str, str]) -> None:
    """This folder's wheels are for one Python and one platform."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.implementation.name != "cpython" or python != described["python"]:
        fail(
            f"this folder is for Python {described['python']}, this is {sys.implementation.name} {python}:"
            f" run it with that Python, or have a folder made with --python {python}"
        )
    platform = sysconfig.get_platform().replace("-", "_")
    if platform != described["platform"]:
        fail(
            f"this folder is for {described['platform']}, and this PC is {platform}:"
            f" have a folder made with --platform {platform}"
        )


def check_files() -> None:
    """Each file is the one that the company put here."""
    expected = dict(
        reversed(line.split("  ", 1)) for line in (HERE / "SHA256SUMS").read_text("utf-8").splitlines()
    )
    for name, digest in sorted(expected.items()):
        file = HERE / name
        if not file.is_file():
            fail(f"{name} is missing: copy the folder again, whole")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            fail(f"{name} is not the file that was put here: copy the folder again")
    for file in HERE.iterdir():
        if file.suffix == ".whl" and file.name not in expected:
            fail(f"{file.name} does not belong here: SHA256SUMS does not name it")


def begin(target: Path) -> Path:
    """Makes the folder ready; returns the mark of an installation under way, which stands from now on.

    What one that broke off has left is removed: pip takes half a package for a whole one.
    """
    mark = target / UNFINISHED
    target.mkdir(parents=True, exist_ok=True)
    if mark.exists():
        sys.stdout.write(f"an installation broke off in {target}: it is made anew\n")
        for part in (target / name for name in _OF_AN_ENVIRONMENT):
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)
    elif any(target.iterdir()) and not (target / "pyvenv.cfg").is_file():
        fail(f"{target} has other files in it: name a new folder")
    mark.touch()
    return mark


def install(target: Path) -> None:
    """An environment, and in it every wheel of the lock file."""
    try:
        mark = begin(target)
        venv.EnvBuilder(with_pip=True, clear=False, symlinks=os.name != "nt").create(target)
    except OSError as error:
        fail(f"no environment at {target}: {error}. {_MAY_WRITE}")
    except subprocess.CalledProcessError as error:
        fail(f"no environment at {target}: {error}. On Debian and Ubuntu: apt install python3-venv")
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install"]
    only_from_here = [
        "--no-index",
        "--find-links",
        str(HERE),
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--force-reinstall",  # else a version that is there already stays, with whatever files it has
    ]
    # Nothing of the account's settings: an index that it names, a folder that it trusts.
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    command = [*pip, *only_from_here, "--requirement", str(HERE / "requirements.txt")]
    if subprocess.run(command, env=environment, check=False).returncode:  # noqa: S603 -- pip of that environment
        fail(f"pip refused: see above. {_AGAIN}")
    check = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "check"]
    done = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        fail(f"something is missing:\n{done.stdout}{done.stderr}{_AGAIN}")
    mark.unlink()


def main() -> None:
    """Says where the commands are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name need not be in the code page
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the environment, as /opt/birthmark or C:\\Birthmark")
    target = parser.parse_args().folder.absolute()
    try:
        described = json.loads((HERE / "wheelhouse.json").read_text("utf-8"))
        check_machine(described)
        check_files()
    except (OSError, ValueError, KeyError) as error:
        fail(f"this folder is not whole ({error}): copy it again")
    install(target)
    commands = target / ("Scripts" if os.name == "nt" else "bin")
    sys.stdout.write(f"installed: {', '.join(described['programs'])}, in {commands}\n")


if __name__ == "__main__":
    main()
