"""The wall clock of an installation's signerd, which a test sets.

clock = WallClock(directory)
installation = Installation(directory / "installation", signerd=clock.signerd)
clock.step(7200)                                      # while signerd runs
clock.start_at(installation, 7200, new_boot=True)     # and between two starts
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.installation import Installation

_SCRIPT = Path(__file__).with_name("signerd_at_another_time.py")


class WallClock:
    """Right until it is stepped. The machine's own clock stays as it is."""

    def __init__(self, directory: Path) -> None:
        self._offset = directory / "offset"

    @property
    def signerd(self) -> Sequence[str | Path]:
        """The command whose `run` is a signerd with this clock."""
        return [sys.executable, _SCRIPT, self._offset]

    def step(self, seconds: float) -> None:
        """Off by so many seconds from now on."""
        new = self._offset.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self._offset)

    def start_at(self, installation: Installation, seconds: float, *, new_boot: bool) -> None:
        """Stops signerd and starts it when its clock is off; `new_boot`: with the machine."""
        installation.process.stop()
        if new_boot:
            next(installation.home.rglob("*.clock")).unlink()
        self.step(seconds)
        installation.start_signerd()
