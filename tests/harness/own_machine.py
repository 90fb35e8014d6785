"""A machine of one's own as far as files go: `/etc`, `/var/lib`, `/run`, `/opt` and `/usr/local/bin` are a
folder's, so that root can do what a document says, users among it, and nothing of the real machine changes.

    with OwnMachine(folder) as machine:
        machine.root("adduser --system signerd")
        machine.user("signerd", "signerd --help")
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import COMMANDS, REPOSITORY, or_ended, wait_until

_NEEDED = ("unshare", "nsenter", "runuser", "adduser", "mount")
# Another user can neither enter a home nor need anything there but the interpreter.
_SET_UP = """
set -e
cp -a /etc "$0/etc"
for each in etc:/etc lib:/var/lib run:/run opt:/opt bin:/usr/local/bin; do
    mkdir -p "$0/${each%%:*}"
    mount --bind "$0/${each%%:*}" "${each#*:}"
done
if [ -n "$1" ]; then
    mkdir "$0/python"
    mount --bind "$1" "$0/python"
    mount -t tmpfs -o mode=755 none /root
    mkdir -p "$1"
    mount --bind "$0/python" "$1"
fi
"""


def no_own_machine() -> str | None:
    """What is missing for one; None where nothing is."""
    if os.geteuid() != 0:
        return "a machine of one's own needs root"
    if REPOSITORY.is_relative_to("/root"):
        return "another user cannot enter /root, where the project is"
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    return f"{', '.join(missing)} is missing" if missing else None


class OwnMachine:
    """Its processes end with the context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        python = sys.base_prefix if Path(sys.base_prefix).is_relative_to("/root") else ""
        holding = [
            *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
            f'{_SET_UP}\ntouch "$0/ready"\nexec sleep infinity',
        ]
        self._holder = subprocess.Popen([*holding, self.folder, python], stdin=subprocess.DEVNULL)
        with or_ended(self._end_holder):
            wait_until(
                lambda: (self.folder / "ready").exists() or self._holder.poll() is not None, "a machine"
            )
            assert self._holder.poll() is None
        program = self.folder / "opt" / "birthmark" / "bin" / "signerd"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {COMMANDS / "signerd"} "$@"\n', "utf-8")
        program.chmod(0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._running:
            os.killpg(each.pid, signal.SIGTERM)
            each.wait(60)
        self._end_holder()

    def _end_holder(self) -> None:
        self._holder.kill()
        self._holder.wait(60)

    def root(self, commands: str, *, typed: str = "", expect: int = 0) -> str:
        """Commands as root, in the project's folder; what they said."""
        return self._run(["sh", "-e", "-c", commands], typed, expect)

    def user(self, name: str, command: str, *, typed: str = "", expect: int = 0) -> str:
        """A command as `sudo -u NAME`; `typed` is its standard input."""
        return self._run(["runuser", "-u", name, "--", "sh", "-c", f"exec {command}"], typed, expect)

    def start(self, name: str, command: str, log: Path) -> None:
        """A daemon as this user."""
        with log.open("wb") as out:
            line = [*self._inside, "runuser", "-u", name, "--", "sh", "-c", f"exec {command}"]
            self._running.append(
                subprocess.Popen(
                    line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
                )
            )

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self._holder.pid}", "--mount", f"--wdns={REPOSITORY}"]

    def _run(self, command: list[str], typed: str, expect: int) -> str:
        done = subprocess.run(
            [*self._inside, *command],
            input=typed,
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, (command, done.stdout + done.stderr)
        return done.stdout + done.stderr
