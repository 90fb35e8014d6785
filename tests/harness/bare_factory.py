"""A factory whose station is a program in a bare root, with nothing but signerd in its network.

with BareFactory(folder, commands, network) as factory:
    run = factory.new_run(boards=2)
    assert run.start_agent().wait(120) == 0
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.bare_root import hand_over
from harness.factory import Factory, Run
from harness.installation import Installation
from harness.lonely_network import LonelyNetwork
from harness.process import Program, or_ended


class BareInstallation(Installation):
    """`directory` is in the folder that the root shares. The station's user may read certificates there."""

    def __init__(self, directory: Path, commands: Path, network: LonelyNetwork) -> None:
        directory.mkdir()
        directory.chmod(0o1777)
        self._network = network
        super().__init__(directory, commands=commands)

    def _make(self) -> None:
        super()._make()
        for folder in (self.home, self.home / "ca", self.home / "operations"):
            folder.chmod(0o755)

    def start_signerd(self, environment: Mapping[str, str] | None = None) -> Program:
        program = super().start_signerd(environment)
        self._network.carry(int(self.port_file.read_text("ascii")))
        return program


class BareFactory(Factory):
    """Boards' terminals belong to the station's user, as udev gives them to it."""

    def __init__(self, directory: Path, commands: Path, network: LonelyNetwork) -> None:
        self.installation = BareInstallation(directory, commands, network)
        with or_ended(self.installation.close):
            self.installation.start_signerd()
            self._fill()

    def new_run(self, *, boards: int, **options: object) -> Run:
        run = super().new_run(boards=boards, **options)
        hand_over(self.station.directory, run.farm.ports)
        return run
