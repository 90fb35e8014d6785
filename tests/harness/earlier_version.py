"""The programs as they were at an earlier commit, beside those of today.

    commands = earlier_commands("7f20d1e…", directory)
    with Factory(directory / "line", commands=commands) as factory:
        …
        factory.installation.commands = COMMANDS

What they import of others is what is installed today.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tarfile
import venv
from io import BytesIO
from pathlib import Path

from harness.process import REPOSITORY

PROGRAM_FOLDERS = ("agent", "auditor", "proto", "signerd")
_PROGRAMS = {
    "signerd": "signerd.__main__",
    "birthmark-agent": "agent.__main__",
    "birthmark-auditor": "auditor.__main__",
}


def holds(commit: str) -> bool:
    """Whether this is a repository that has the commit: a copy without history, or a shallow one, has not."""
    if shutil.which("git") is None:
        return False
    return _git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def earlier_commands(commit: str, directory: Path) -> Path:
    """Makes an environment with the commit's programs in `directory`; returns the folder of its commands."""
    tree = directory / "tree"
    put(commit, tree, *PROGRAM_FOLDERS)
    environment = directory / "environment"
    venv.create(environment, symlinks=True)
    paths = sysconfig.get_paths("venv", {"base": str(environment), "platbase": str(environment)})
    # A process that clears its environment, as the key holder's, imports by this file too.
    lines = [tree, tree / "proto", sysconfig.get_path("purelib")]
    Path(paths["purelib"], "earlier.pth").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    commands = Path(paths["scripts"])
    for name, module in _PROGRAMS.items():
        script = f"#!{commands / 'python'}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        (commands / name).write_text(script, encoding="utf-8")
        (commands / name).chmod(0o755)
    return commands


def put(commit: str, directory: Path, *paths: str) -> None:
    """The commit's files, or those below `paths`, into `directory`."""
    archived = _git("archive", "--format=tar", commit, *paths)
    archived.check_returncode()
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
        archive.extractall(directory, filter="data")


def made_at(commit: str) -> int:
    """When, in seconds since 1970."""
    said = _git("log", "-1", "--format=%ct", commit)
    said.check_returncode()
    return int(said.stdout)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, check=False)
