"""The walked factory on a machine whose process 1 is systemd: units run in their sandbox.

with BootedFactory() as factory:
    factory.walk()
    factory.inside("signerd", "true")
"""

from __future__ import annotations

from typing import ClassVar

from harness.booted_machine import BootedMachine
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

    def __init__(self) -> None:
        self.booted = BootedMachine()
        super().__init__(self.booted)

    def give(self, line: str) -> str:
        if line.startswith("systemctl ") and line != f"systemctl start {SIGNERD}":
            return self.machine.run(line)
        return super().give(line)
