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
    archived = _git("archive", "--format=tar", commit, "agent", "auditor", "proto", "signerd")
    archived.check_returncode()
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
        archive.extractall(tree, filter="data")
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


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, check=False)
