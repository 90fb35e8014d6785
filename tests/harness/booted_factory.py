"""The walked factory on a machine whose process 1 is systemd: units run in their sandbox.

with BootedFactory() as factory:
    factory.walk()
    factory.inside("signerd", "true")
"""

from __future__ import annotations

import json
from typing import ClassVar

from harness.booted_machine import BootedMachine
from harness.factory import Run
from harness.process import Program, ProgramError
from harness.units import Units
from harness.walked_factory import SIGNERD, MachineInstallation, WalkedFactory


class BootedUnits(Units):
    """Units by systemctl. What one said is the output of a program that follows the journal."""

    def start(self, name: str) -> Program:
        try:
            self._machine.run(f"systemctl daemon-reload; systemctl start {name}")
        except ProgramError as error:
            assert isinstance(self._machine, BootedMachine)
            said = self._machine.journal(name)
            raise ProgramError(f"{error}\n{said}") from error
        if name not in self._running:
            self._follow(name)
        return self._running[name]

    def stop(self, name: str) -> int:
        self._machine.run(f"systemctl stop {name}")
        return int(self._machine.run(f"systemctl show --property=ExecMainStatus --value {name}"))

    def _follow(self, name: str) -> None:
        assert isinstance(self._machine, BootedMachine)
        program = Program(self._machine.follow(name), log=self._logs / name)
        self._running[name] = self._stack.enter_context(program)


class BootedInstallation(MachineInstallation):
    """Its daemon is a unit."""

    units_by: ClassVar[type[Units]] = BootedUnits


class BootedFactory(WalkedFactory):
    """Lines with systemctl are given as printed."""

    installed_by: ClassVar[type[MachineInstallation]] = BootedInstallation

    def __init__(self, machine: BootedMachine | None = None) -> None:
        self.booted = machine or BootedMachine()
        super().__init__(self.booted)

    def probed(self, unit: str, state: str) -> None:
        """From its next start on, `sandbox_probe` runs beside the daemon, in the same sandbox."""
        drop_in = f"/etc/systemd/system/{unit}.service.d/probe.conf"
        probe = f"/opt/birthmark/bin/python3 /opt/project/tests/harness/sandbox_probe.py {state}"
        text = f"[Service]\\nExecStartPost={probe}\\n"
        self.machine.run(f"mkdir -p $(dirname {drop_in}); printf '{text}' >{drop_in}")

    def station_unit(self, run: Run, *directives: str) -> None:
        """The station's user, unit and files; its ports become the user's."""
        unit, station = "birthmark-agent@.service", "/etc/birthmark-agent"
        drop_in = "".join(f"{line}\\n" for line in ("[Service]", *directives))
        for line in (
            # docs/stations.md
            "adduser --system --group --no-create-home --home /var/lib/birthmark-agent birthmark",
            "adduser birthmark dialout",
            f"cp deploy/systemd/{unit} /etc/systemd/system/; mkdir /etc/systemd/system/{unit}.d",
            f"printf '{drop_in}' >/etc/systemd/system/{unit}.d/boards.conf; systemctl daemon-reload",
            f"cp -r {run.station.directory} {station}; mv {station}/state /var/lib/birthmark-agent",
            f"chown -R birthmark:birthmark {station} /var/lib/birthmark-agent {' '.join(run.farm.ports)}",
        ):
            self.machine.run(line)
        config = self.machine.path(station) / "agent.toml"
        ports = f'state = "/var/lib/birthmark-agent"\nports = {json.dumps(run.farm.ports)}'
        config.write_text(config.read_text("utf-8").replace('state = "state"', ports), "utf-8")

    def give(self, line: str) -> str:
        if line.startswith("systemctl ") and line != f"systemctl start {SIGNERD}":
            return self.machine.run(line)
        return super().give(line)
