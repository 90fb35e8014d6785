"""A Debian system of its own, made of Debian's packages and booted: nothing of this machine's is in it.

    with CleanRoot(made_root("trixie", folder)) as root:
        root.install(folder / "birthmark-agent_0.1.0-1+deb13_amd64.deb")
        root.run("systemctl start birthmark-agent@WO-1")

apt reaches Debian's packages there as this machine does. The terminals of /dev/pts are this
machine's, so that simulated boards are seen on both sides, and so is the folder `shared`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from harness.booted_machine import BootedMachine
from harness.process import run

_NEEDED = ("mmdebstrap", "unshare", "nsenter", "pivot_root")
# What a package may count on: Debian's own minimum, and a systemd that boots.
_INCLUDED = "systemd,systemd-sysv,udev,ca-certificates"
PACKAGES = "/srv"
_OURS = ("agent", "auditor", "birthmark", "signerd")
_OURS_IN = re.compile(rf"/site-packages/({'|'.join(_OURS)})/.*\.py$")
_REVISION = "_REVISION = "
_MAKE_S, _INSTALL_S = 900.0, 600.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Devices and kernel settings are this machine's: systemd leaves them alone where it cannot write /sys or
# /proc/sys. Its /tmp is its own, since Debian 12 empties it at each boot. systemd makes mounts for units'
# sandboxes: its root has to be a mount, not a folder that was changed to.
_BOOT = """
set -eu
cd {root}
mount --bind . .
cd {root}
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p .{shared}
mount --bind {shared} .{shared}
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir dev/pts dev/shm
for each in {devices}; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mount --bind /dev/pts dev/pts
ln -s pts/ptmx dev/ptmx
touch dev/console
mkdir -p old
pivot_root . old
umount -l old
mount --make-rshared /
echo made
exec env -i PATH={path} container=other /lib/systemd/systemd --system --unit=multi-user.target \
    --show-status=no >/dev/null 2>&1 </dev/null
"""


def no_clean_root() -> str:
    """Why there is none here; an empty text if there is."""
    if os.getuid() != 0:
        return "a system of its own takes root"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)} (deploy/setup/setup.sh --packages)"
    return ""


def made_root(suite: str, folder: Path, *, include: str = "") -> Path:
    """A fresh root of Debian's `suite` (`bookworm`, `trixie`) as a folder below `folder`."""
    root = folder / suite
    names = f"{_INCLUDED},{include}" if include else _INCLUDED
    options = ("--variant=minbase", f"--include={names}", "--skip=cleanup/apt/lists", "--quiet")
    run(["mmdebstrap", *options, suite, root], timeout_s=_MAKE_S)
    # How this machine reaches Debian's packages.
    settings = run(["apt-config", "dump", "Acquire"])
    (root / "etc/apt/apt.conf.d/99this-machine").write_text(settings, "utf-8")
    # Debian's installer writes it.
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n", "ascii")
    # Somebody says yes, and takes nothing that is only recommended.
    said = 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n'
    (root / "etc/apt/apt.conf.d/99somebody").write_text(said, "ascii")
    # Which goes when the test does: nothing waits for the disk.
    (root / "etc/dpkg/dpkg.cfg.d/99this-machine").write_text("force-unsafe-io\n", "ascii")
    # Units that have nothing to do here, and whose failing would hide one of ours.
    for unit in (
        "systemd-udevd.service",
        "systemd-networkd.service",
        "systemd-resolved.service",
        "getty.target",
    ):
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    return root


class CleanRoot(BootedMachine):
    """Booted while the context is. The folder stays, with what was changed in it."""

    _namespaces: ClassVar[Mapping[str, str]] = {
        "mount": "mnt", "pid": "pid", "uts": "uts", "ipc": "ipc", "cgroup": "cgroup",
    }  # fmt: skip

    def __init__(self, root: Path) -> None:
        self.root = root
        self._holding = TemporaryDirectory(prefix="bm-root-")
        self.shared = Path(self._holding.name)
        self.shared.chmod(0o755)

    def _make(self) -> list[str]:
        places = {"root": shlex.quote(str(self.root)), "shared": self.shared}
        boot = _BOOT.format(**places, devices=" ".join(_DEVICES), path=_PATH)
        kinds = ("--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc")
        unshare = shlex.join(["unshare", *kinds, "--propagation", "private", "sh", "-c", boot])
        # What it is in when its namespace of cgroups is made is the root of that.
        enter = f"echo $$ >{self._cgroup}/cgroup.procs\nexec {unshare}"
        return ["setpriv", "--pdeathsig", "KILL", "sh", "-euc", enter]

    def command(
        self, *command: str | Path, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """As on every machine, with the programs where its packages put them."""
        variables = {"PATH": _PATH, "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
        made = super().command(*command, user=user, environment=variables)
        # The repository's folder is not there.
        made = [each for each in made if not each.startswith("--wd=")]
        return [*made[: made.index("env") + 1], "--chdir=/", *made[made.index("env") + 1 :]]

    def install(self, *packages: str | Path) -> str:
        """By apt, with what they depend on and nothing else; what it and the scripts said."""
        names = []
        for each in packages:
            if isinstance(each, Path):
                self.put(each)
                each = f"{PACKAGES}/{each.name}"  # noqa: PLW2901 -- as the root sees it
            names.append(shlex.quote(each))
        return self.apt(f"apt-get install --quiet --allow-downgrades {' '.join(names)}")

    def apt(self, line: str, *, expect: int = 0) -> str:
        """A line that is root's, where the packages are."""
        command = self.command("sh", "-euc", f"cd {PACKAGES}; {line} 2>&1")
        return run(command, timeout_s=_INSTALL_S, expect=expect)

    def put(self, package: Path) -> None:
        """Where `apt` works."""
        shutil.copy(package, self.root / PACKAGES[1:])

    def cut(self, packages: str, renamed: int) -> None:
        """dpkg is killed while it puts packages' files into their places, as by a power cut. Takes strace."""
        kill = f"strace -f -o /dev/null -e trace=rename -e inject=rename:signal=KILL:when={renamed}"
        self.apt(f"{kill} dpkg --install {packages}", expect=137)

    def full(self, place: str, *, spare_k: int) -> None:
        """A folder becomes a disk with so many KiB left; `mount -o remount,size=` makes it larger."""
        disk = f"/mnt{place.replace('/', '-')}"
        self.run(
            f"mountpoint -q {place} || {{ mkdir {disk}; mount -t tmpfs -o mode=0755 tmpfs {disk};"
            f" cp -a {place}/. {disk}; mount --bind {disk} {place}; }}; df --output=used {place} >{disk}.used"
            f"; mount -o remount,size=$(($(tail -n 1 {disk}.used) + {spare_k}))k {place}"
        )

    def refused(self, line: str, code: int) -> str:
        """What a line said that ended so, on both streams."""
        return self.run(f"({line}) 2>&1", expect=code)

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").strip()


def repacked(package: Path, revision: int, folder: Path) -> Path:
    """The same package under another revision, which each of our modules names in its last line.

    Two such packages differ in no module's size or date, as those of two builds may.
    """
    tree = folder / f"{package.name}.tree"
    run(["dpkg-deb", "--raw-extract", package, tree], timeout_s=_INSTALL_S)
    for module in _modules(tree):
        date = module.stat().st_mtime_ns
        with module.open("a", encoding="utf-8") as file:
            file.write(f"{_REVISION}{revision}\n")
        os.utime(module, ns=(date, date))
    (tree / "DEBIAN" / "md5sums").write_text(_md5sums(tree), "utf-8")
    control = tree / "DEBIAN" / "control"
    text = control.read_text("utf-8")
    old = next(line for line in text.splitlines() if line.startswith("Version: "))
    before, _, release = old.partition("+")
    new = f"{before.rpartition('-')[0]}-{revision}+{release}"
    control.write_text(text.replace(old, new), "utf-8")
    made = folder / package.name.replace(old.split()[1], new.split()[1])
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made], timeout_s=_INSTALL_S)
    shutil.rmtree(tree)
    return made


def middle(package: Path) -> int:
    """How many files dpkg unpacks before it comes to that which is amidst our modules."""
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(unpacked.stdout)) as archive:
        files = [member.name for member in archive if member.isreg()]
    ours = [number for number, name in enumerate(files) if _OURS_IN.search(name)]
    return ours[len(ours) // 2]


def revisions(root: Path, folder: str = "/usr/lib/birthmark/*") -> set[str]:
    """Of our modules that are installed there; an empty text for one that was not repacked."""
    modules = _modules(root, folder)
    last = (module.read_text("utf-8").rstrip("\n").rpartition("\n")[2] for module in modules)
    return {line.removeprefix(_REVISION) if line.startswith(_REVISION) else "" for line in last}


def _modules(root: Path, folder: str = "/usr/lib/birthmark/*") -> list[Path]:
    sites = root.glob(f"{folder[1:]}/lib/python3.*/site-packages")
    return sorted(path for site in sites for program in _OURS for path in (site / program).rglob("*.py"))


def _md5sums(tree: Path) -> str:
    files = sorted(
        path for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink() and "DEBIAN" not in path.relative_to(tree).parts[:1]
    )  # fmt: skip
    return "".join(
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files
    )
