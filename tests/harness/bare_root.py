"""A root with the C library, zlib, a shell and one program's folder. No Python, nothing else of the PC's.

Processes, devices and the network are the machine's own, so that a station in it finds ports and signerd.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

# And zlib, which every Linux has: the programs' loader wants it.
_LIBRARIES = ("c", "m", "dl", "pthread", "rt", "util", "resolv", "nss_files", "nss_dns", "z")
_ENTER = """
for each in /dev /proc "$2"; do mount --rbind "$each" "$0$each"; done
program=$1; shift 2
exec chroot "$0" "$program" "$@"
"""


def no_bare_root() -> str | None:
    """What is missing for one; None where nothing is."""
    if os.geteuid() != 0:
        return "a root of one's own needs root"
    missing = [tool for tool in ("unshare", "mount", "chroot") if shutil.which(tool) is None]
    return f"{', '.join(missing)} is missing" if missing else None


def make_bare_root(root: Path, shared: Path) -> None:
    """`shared`: the one folder that is the same inside."""
    shell = Path("/bin/sh").resolve()
    linked = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    (libc,) = re.findall(r"=> (/\S+/libc\.so\.6)", linked)
    (loader,) = re.findall(r"^\s*(/\S*ld-linux\S+)", linked, re.MULTILINE)
    wanted = [Path(loader)]
    for name in _LIBRARIES:
        wanted += Path(libc).parent.glob(f"lib{name}.so.[0-9]")
    for file in wanted:
        _copy(file, root / str(file).lstrip("/"))
    _copy(shell, root / "bin" / "sh")
    for folder in ("dev", "proc", "tmp", str(shared).lstrip("/")):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def write_entrance(file: Path, root: Path, program: str, shared: Path) -> None:
    """A command that runs this program of the root, inside, with nothing of the caller's environment."""
    file.write_text(
        f"#!/bin/sh\nexec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp unshare --mount"
        f" --propagation private /bin/sh -euc '{_ENTER}' '{root}' '{program}' '{shared}' \"$@\"\n",
        "utf-8",
    )
    file.chmod(0o755)
