"""A root with the C library, zlib, a shell and one program's folder. No Python, nothing else of the PC's.

A program in it is as badly off as a factory can make it. Its user may do nothing else and has no home. No
file of the root can be written, nothing can be started from /tmp, and the network has signerd alone.
Processes and devices are the machine's, so that a station in it finds ports. `shared` is the one folder that
is the same inside, and its folder `tmp` is /tmp.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.lonely_network import LonelyNetwork, no_lonely_network

USER = 54321  # has no name
# And zlib, which every Linux has: the programs' loader wants it.
_LIBRARIES = ("c", "m", "dl", "pthread", "rt", "util", "resolv", "nss_files", "nss_dns", "z")
_ENTER = """
mount --bind "$0" "$0"
for each in /dev /proc "$2"; do mount --rbind "$each" "$0$each"; done
mount --bind "$2/tmp" "$0/tmp"
mount -o remount,bind,noexec,nosuid,nodev "$0/tmp"
mount -o remount,bind,ro "$0"
program=$1; user=$3; shift 3
exec chroot --userspec="$user" "$0" "$program" "$@"
"""


def no_bare_root() -> str | None:
    """What is missing for one; None where nothing is."""
    if os.geteuid() != 0:
        return "a root of one's own needs root"
    if missing := [tool for tool in ("unshare", "mount", "chroot") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} is missing"
    return no_lonely_network() or None


def make_bare_root(root: Path, shared: Path) -> None:
    """`shared` is empty, and in a folder that every user can enter."""
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
    for folder in ("dev", "proc", "tmp", "opt", "usr/local/bin", str(shared).lstrip("/")):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (shared / "tmp").mkdir()
    (shared / "tmp").chmod(0o1777)


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def write_entrance(file: Path, root: Path, program: str, shared: Path, network: LonelyNetwork) -> None:
    """A command that runs this program of the root, inside, with nothing of the caller's environment."""
    path = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    enter = f"{' '.join(network.inside())} unshare --mount --propagation private /bin/sh -euc '{_ENTER}'"
    file.write_text(
        f"#!/bin/sh\nexec env -i PATH={path} LANG=C.UTF-8 HOME=/nonexistent {enter}"
        f" '{root}' '{program}' '{shared}' {USER}:{USER} \"$@\"\n",
        "utf-8",
    )
    file.chmod(0o755)


def hand_over(folder: Path, ports: Iterable[str]) -> None:
    """Gives a station's folder, with all in it, and its ports to the user of the root."""
    for each in (folder, *folder.rglob("*"), *map(Path, ports)):
        os.chown(each, USER, USER)
