"""A machine with users on which systemd runs as process 1, so that units run in their own sandbox.

    with BootedMachine() as machine:
        machine.run("systemctl start signerd")
        machine.run("systemd-analyze security signerd.service")

As `MachineWithUsers`, in namespaces of processes, cgroups and the host's name too. systemd
knows the units that are in /etc/systemd/system, and of its own those that ours name. The programs are in a
Python environment below /opt, by an interpreter that `ProtectHome=` does not hide.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psutil

from harness.machine_with_users import MachineWithUsers, script
from harness.process import COMMANDS, REPOSITORY, ProgramError, wait_until

_SYSTEMD = Path("/lib/systemd/systemd")
_NEEDED = ("unshare", "nsenter", "setpriv", "systemctl", "systemd-creds", "journalctl")
_UNITS = (
    *("sysinit.target", "basic.target", "multi-user.target", "shutdown.target", "umount.target"),
    *("network.target", "network-online.target", "time-sync.target"),
    *("systemd-journald.service", "systemd-journald.socket"),
)
_HIDDEN = ("/root/", "/home/", "/run/")  # by ProtectHome=, and by our own mounts
_PROGRAMS = """
mkdir /opt/project /opt/packages
mount --bind {project} /opt/project
mount --bind {packages} /opt/packages
{python} -m venv --without-pip /opt/birthmark
{{ printf '%s\\n' /opt/project /opt/project/proto; echo 'import site; site.addsitedir("/opt/packages")'; }} \
    >$(echo /opt/birthmark/lib/python3*/site-packages)/birthmark.pth
for each in signerd birthmark-agent; do
    {{ echo '#!/opt/birthmark/bin/python3'; tail -n +2 {commands}/$each; }} >/opt/birthmark/bin/$each
    chmod 0755 /opt/birthmark/bin/$each
done
"""
# Credentials are mounted by a child of systemd and have to be seen by others: it is so outside of containers.
_BOOT = """
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs /var/log
mount -t tmpfs -o mode=0755 tmpfs /etc/systemd/system
cd /etc/systemd/system
for each in {units}; do ln -s "/lib/systemd/system/$each" .; done
mkdir sysinit.target.wants
ln -s ../systemd-journald.service ../systemd-journald.socket sysinit.target.wants
touch /srv/console
mount --make-rshared /
[ ! -e /dev/console ] || mount --bind /srv/console /dev/console
echo made
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other SYSTEMD_UNIT_PATH=/etc/systemd/system \
    {systemd} --system --unit=multi-user.target --show-status=no >/dev/null 2>&1 </dev/null
"""


class BootedMachine(MachineWithUsers):
    """What runs there ends with it."""

    _namespaces: ClassVar[Mapping[str, str]] = {"mount": "mnt", "pid": "pid", "uts": "uts", "ipc": "ipc"}

    def __enter__(self) -> Self:
        self._cgroup = _cgroups() / f"birthmark-{os.getpid()}-{time.monotonic_ns()}"
        self._cgroup.mkdir()
        try:
            super().__enter__()
            (booted,) = psutil.Process(self._held.pid).children()
            self._pid = booted.pid
            wait_until(self._serves, "systemd")
        except BaseException:
            self._end()
            raise
        return self

    def _make(self) -> list[str]:
        programs = _PROGRAMS.format(
            project=shlex.quote(str(REPOSITORY)),
            packages=shlex.quote(str(_packages())),
            python=shlex.quote(str(_python())),
            commands=shlex.quote(str(COMMANDS)),
        )
        boot = script(programs) + _BOOT.format(units=" ".join(_UNITS), systemd=_SYSTEMD)
        kinds = ("--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc")
        unshare = shlex.join(["unshare", *kinds, "--propagation", "private", "sh", "-c", boot])
        # What it is in when its namespace of cgroups is made is the root of that.
        enter = f"echo $$ >{self._cgroup}/cgroup.procs\nexec {unshare}"
        return ["setpriv", "--pdeathsig", "KILL", "sh", "-euc", enter]

    def _serves(self) -> bool:
        asked = self.command("systemctl", "is-system-running")
        said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
        return said in ("running", "degraded")

    def journal(self, unit: str) -> str:
        """What a unit said so far."""
        return self.run(f"journalctl --no-pager --output=cat --unit={unit}")

    def follow(self, unit: str) -> list[str]:
        """The command that prints what a unit says, from its first line on, until it is ended."""
        enter = ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt", "--"]
        return [*enter, "journalctl", "--follow", "--lines=all", "--output=cat", f"--unit={unit}"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        held = getattr(self, "_held", None)
        if held is not None:
            held.kill()
            held.communicate()
        # Those of units, from the leaves on; processes that were killed leave them a moment later.
        wait_until(lambda: _removed(self._cgroup), "cgroups to be left")


def no_booted_machine() -> str:
    """Why there is none here; an empty text if there is."""
    if os.getuid() != 0:
        return "systemd of one's own takes root"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)}"
    if not _SYSTEMD.exists():
        return f"no {_SYSTEMD}"
    try:
        _python()
        with BootedMachine():
            return ""
    except (OSError, ProgramError) as error:
        return f"systemd does not boot in namespaces here: {error}"


def _cgroups() -> Path:
    """Where cgroups of version 2 are mounted; beside those of version 1 on some machines."""
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        about, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(about.split()[4])
    raise OSError("no cgroups of version 2 are mounted")


def _removed(cgroup: Path) -> bool:
    try:
        for path in sorted((each for each in cgroup.rglob("*") if each.is_dir()), reverse=True):
            path.rmdir()
        cgroup.rmdir()
    except OSError:
        return False
    return True


def _python() -> Path:
    """Of the version that runs this, at a place that services see."""
    wanted = f"python3.{sys.version_info.minor}"
    for candidate in (Path("/usr/bin") / wanted, Path(sys.base_prefix) / "bin" / wanted):
        if candidate.exists() and not str(candidate.resolve()).startswith(_HIDDEN):
            return candidate
    raise OSError(f"{wanted} is below a home, which ProtectHome= hides from units")


def _packages() -> Path:
    return COMMANDS.parent / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
