"""A factory whose programs came as Debian packages, on a clean system of Debian's.

with PackagedFactory(CleanRoot(root), packages) as factory:
    run = factory.new_run(boards=1)
    factory.work(run)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from harness.booted_factory import BootedFactory, BootedInstallation
from harness.clean_root import CleanRoot
from harness.factory import Run
from harness.process import ProgramError
from harness.walked_factory import MachineInstallation

SIGNERDS = ("/etc/signerd", "/var/lib/signerd", "/var/lib/signerd-head")
STATIONS = ("/etc/birthmark-agent", "/var/lib/birthmark-agent")


class PackagedInstallation(BootedInstallation):
    """The packages bring users, folders and units: docs/operations.md, "From Debian packages"."""

    def _shared(self) -> Path:
        assert isinstance(self.machine, CleanRoot)
        return self.machine.shared

    def _put_signerd(self) -> None:
        assert isinstance(self.machine, CleanRoot)
        self.machine.run("test ! -e /etc/signerd")
        self.machine.install("softhsm2", "adduser", *PackagedFactory.packages)
        self.machine.run("adduser signerd softhsm")
        self.machine.run("install -d -o signerd -m 0700 /run/signerd")


class PackagedFactory(BootedFactory):
    """`packages` are files; all three programs' are installed."""

    installed_by: ClassVar[type[MachineInstallation]] = PackagedInstallation
    packages: ClassVar[Sequence[Path]] = ()

    def __init__(self, root: CleanRoot, packages: Sequence[Path]) -> None:
        PackagedFactory.packages = packages
        self.root = root
        super().__init__(root)

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
