"""A machine of its own, as far as files and users go: documents are walked on it as they are printed.

    with MachineWithUsers() as machine:
        machine.run("adduser --system --group --no-create-home --home /nonexistent signerd")
        machine.run("id", user="signerd")
        machine.path("/etc/signerd")                 # from outside

A mount namespace: /etc, /var/lib and /usr/local are the machine's with changes that nobody else sees, /run,
/opt and /srv are empty but for the programs at /opt/birthmark. Users that are made there are real ones: the
kernel keeps them apart.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from harness.process import COMMANDS, REPOSITORY, run

_NEEDED = ("unshare", "nsenter", "setpriv", "runuser", "adduser")
_PATH = "/opt/birthmark/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAKE = """
set -eu
mount -t tmpfs -o mode=0755 tmpfs /srv
for each in etc var/lib usr/local {closed}; do
    mkdir -p "/srv/upper/$each" "/srv/work/$each"
    mount -t overlay -o "lowerdir=/$each,upperdir=/srv/upper/$each,workdir=/srv/work/$each" overlay "/$each"
done
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=0755 tmpfs /opt
{programs}
mkdir -p /etc/systemd/system
rm -rf /etc/signerd /etc/signerd-key /var/lib/signerd /var/lib/signerd-head /var/lib/signerd-key
"""


def script(put_programs: str) -> str:
    """Shell that makes the mounts; `put_programs` makes /opt/birthmark.

    Directories that others may not enter are open there, where our programs lie below them.
    """
    programs = (COMMANDS.resolve(), Path(sys.executable).resolve(), REPOSITORY)
    above = {parent for program in programs for parent in program.parents}
    closed = sorted(str(parent) for parent in above if not parent.stat().st_mode & 0o001)
    return _MAKE.format(
        closed=" ".join(shlex.quote(each.lstrip("/")) for each in closed),
        programs=put_programs,
    )


class MachineWithUsers:
    """There while the context is; what was started in it is the caller's to end."""

    _namespaces: ClassVar[Mapping[str, str]] = {"mount": "mnt"}

    def __enter__(self) -> Self:
        self._held = subprocess.Popen(
            self._make(),
            stdin=subprocess.PIPE,  # closed: it ends, also where the test dies
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._held.stdout is not None
        if self._held.stdout.readline() != b"made\n":
            raise OSError(f"no machine of its own: {self._held.communicate()[1].decode().strip()}")
        self._pid = self._held.pid
        return self

    def _make(self) -> list[str]:
        """Makes it, says so, and holds it."""
        programs = f"ln -s {shlex.quote(str(COMMANDS.parent))} /opt/birthmark"
        make = f"{script(programs)}echo made\nexec cat"
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", make]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.communicate(b"")

    def path(self, inside: str | Path) -> Path:
        """A path of the machine's, for us outside."""
        return Path(f"/proc/{self._pid}/root{inside}")

    def inside(self, path: str | Path) -> str:
        """The other way."""
        return str(path).replace(f"/proc/{self._pid}/root", "")

    def command(
        self, *command: str | Path, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """A command on the machine; by default root's. The process is the command's own."""
        as_user = []
        if user is not None:
            group = "nogroup" if user == "nobody" else user
            as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--inh-caps=-all"]
            as_user += ["--bounding-set=-all", "--no-new-privs", "sh", "-c", 'umask 0077; exec "$@"', "-"]
        variables = {"PATH": _PATH, "LANG": "C.UTF-8", "USER": user or "root", **(environment or {})}
        given = [f"{name}={value}" for name, value in variables.items()]
        namespaces = [f"--{name}=/proc/{self._pid}/ns/{kind}" for name, kind in self._namespaces.items()]
        enter = ["nsenter", *namespaces, f"--wd={REPOSITORY}"]
        return [*enter, "--", "env", "-i", *given, *as_user, *map(self.inside, command)]

    def run(self, line: str, *, user: str | None = None, expect: int = 0) -> str:
        """A line of a shell, as printed."""
        return run(self.command("sh", "-euc", line, user=user), expect=expect)

    def may(self, user: str, test: str, path: str) -> bool:
        """Whether a user can: -r reads, -w writes, -x enters."""
        return (
            subprocess.run(self.command("test", test, path, user=user), check=False, timeout=30).returncode
            == 0
        )

    def owner(self, path: str) -> str:
        """user:group and mode."""
        return run(self.command("stat", "--format=%U:%G %a", path)).strip()


def no_machine_with_users() -> str:
    """Why there is none here; an empty text if there is."""
    if os.getuid() != 0:
        return "users and mounts of one's own take root"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)}"
    try:
        with MachineWithUsers() as machine:
            readable = machine.may("nobody", "-x", str(COMMANDS / "signerd"))
    except OSError as error:
        return str(error)
    return "" if readable else f"other users may not enter {COMMANDS}"
