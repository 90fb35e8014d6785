"""A factory whose programs came as Debian packages, on a clean system of Debian's.

with PackagedFactory(CleanRoot(root), packages) as factory:
    run = factory.new_run(boards=1)
    factory.work(run)
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from harness.booted_factory import BootedFactory, BootedInstallation
from harness.clean_root import PACKAGES, CleanRoot
from harness.factory import Run
from harness.process import REPOSITORY, ProgramError, wait_until
from harness.walked_factory import MachineInstallation

SIGNERDS = (
    *("/etc/signerd", "/etc/signerd-key"),
    *("/var/lib/signerd", "/var/lib/signerd-head", "/var/lib/signerd-key"),
)
STATIONS = ("/etc/birthmark-agent", "/var/lib/birthmark-agent")


# What is outside below /proc/PID/root has its own name inside.
_GIVEN = """\
#!/bin/sh
for each; do shift; set -- "$@" "${{each#{root}}}"; done
exec {command} "$@"
"""
_PAGES = ("operations.md", "stations.md", "auditing.md")
_OF_THE_PACKAGE = re.compile(r"adduser --system .* signerd-key$")


def printed_lines() -> Mapping[str, str]:
    """What the pages tell to install each package, for Debian 13."""
    pages = "".join((REPOSITORY / "docs" / name).read_text("utf-8") for name in _PAGES)
    return {
        line[2]: line[1] for line in re.finditer(r"(?m)^    (apt install \./(birthmark-\w+)_\S+)$", pages)
    }


def the_key_holders_line() -> str:
    """What takes the place of the lines of docs/key-holder.md that the package makes needless."""
    section = (
        (REPOSITORY / "docs/operations.md").read_text("utf-8").partition("\n### From Debian packages\n")[2]
    )
    (line,) = re.findall(r"(?m)^    (cp -r /usr/share/doc/\S+ \S+)$", section.partition("\n#")[0])
    return str(line)


class PackagedInstallation(BootedInstallation):
    """The packages bring users, folders and units: docs/operations.md, "From Debian packages"."""

    def _shared(self) -> Path:
        assert isinstance(self.machine, CleanRoot)
        return self.machine.shared

    def _put_signerd(self) -> None:
        assert isinstance(self.machine, CleanRoot)
        self.machine.run("test ! -e /etc/signerd")
        PackagedFactory.install(self.machine)
        self.commands = self._commands()
        ours = "'signerd*' 'birthmark*'"
        assert self.machine.run(f"systemctl list-units --plain --no-legend {ours}") == "", "started by itself"
        self.machine.run("adduser signerd softhsm")
        self.machine.run("install -d -o signerd -m 0700 /run/signerd")

    def _commands(self) -> Path:
        """A folder of commands that are the packages', for who is outside."""
        folder = self.directory / "commands"
        folder.mkdir()
        for name in ("birthmark-agent", "birthmark-auditor"):
            command = shlex.join(self.machine.command(name))
            (folder / name).write_text(_GIVEN.format(root=self.machine.path(""), command=command), "utf-8")
            (folder / name).chmod(0o755)
        return folder


class PackagedFactory(BootedFactory):
    """`packages` are files; all three programs' are installed."""

    installed_by: ClassVar[type[MachineInstallation]] = PackagedInstallation
    packages: ClassVar[Sequence[Path]] = ()

    def __init__(self, root: CleanRoot, packages: Sequence[Path]) -> None:
        PackagedFactory.packages = packages
        self.root = root
        super().__init__(root)

    @classmethod
    def install(cls, root: CleanRoot) -> None:
        """By the lines of the pages, as they are printed for Debian 13."""
        root.install("softhsm2", "adduser")
        for package in cls.packages:
            shutil.copy(package, root.root / PACKAGES[1:])
            name, version, _ = package.stem.split("_")
            release = version.partition("+")[2]
            root.apt(printed_lines()[name].replace("+deb13_", f"+{release}_"))

    def give(self, line: str) -> str:
        """A line of docs/key-holder.md, but for those that are the package's."""
        if line.startswith("cp -r deploy/systemd/"):
            line = the_key_holders_line()
        return "" if _OF_THE_PACKAGE.match(line) else super().give(line)

    def work(self, run: Run) -> str:
        """Its files in their place, its unit started: its name. Later runs have new ports."""
        etc, state = STATIONS
        unit = f"birthmark-agent@{run.work_order}"
        drop_in = f"/etc/systemd/system/{unit}.service.d"
        config = self.root.path(etc) / "agent.toml"
        if not config.exists():
            self.root.run(
                f"cp -r {run.station.directory}/. {etc}; mv {etc}/state/* {state}; mkdir -p {drop_in}"
            )
            self.root.run(f"printf '[Service]\\nDeviceAllow=char-pts rw\\n' >{drop_in}/boards.conf")
        ports = f'state = "{state}"\nports = {json.dumps(run.farm.ports)}'
        text = run.station.config.read_text("utf-8")
        config.write_text(text.replace('state = "state"', ports), "utf-8")
        self.root.run(f"chown -R birthmark:birthmark {etc} {state} {' '.join(run.farm.ports)}")
        try:
            self.root.run(f"systemctl daemon-reload; systemctl enable {unit}; systemctl restart {unit}")
        except ProgramError as error:
            raise ProgramError(f"{error}\n{self.root.journal(unit)}") from error
        return unit

    def board(self) -> str:
        """One more is certified and stamped by the installed station: its unit."""
        run = self.new_run(boards=1)
        unit = self.work(run)
        # Its journal has the boards of the runs before, too.
        done = f'"{run.chips[0]}"'
        said = partial(self.root.journal, unit)
        wait_until(
            lambda: any('"board_done"' in each and done in each for each in said().splitlines()),
            "a board",
            timeout_s=90,
        )
        self.finished_once(run)
        return unit

    def kept(self, *folders: str) -> Mapping[str, str]:
        """Path to SHA-256, owner and mode of every file, for programs that are stopped."""
        lines = {}
        for folder in folders:
            for path in sorted(self.root.path(folder).rglob("*")):
                if path.is_file():
                    inside = self.root.inside(path)
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    lines[inside] = f"{digest} {self.root.owner(inside)}"
        return lines
