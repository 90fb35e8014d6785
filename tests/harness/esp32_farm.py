"""Simulated ESP32 chips (tests/boards/esp32) in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commanded_farm import CommandedFarm, flags

# A shell starts in milliseconds; the port's link and its control FIFO stand beside each other.
RESET_COMMAND = ("sh", "-c", 'echo "reset $BIRTHMARK_RESET" > "$BIRTHMARK_PORT.control"')


@dataclass(frozen=True, slots=True)
class ChipOnPort:
    """A chip that is plugged in."""

    number: int
    chip_id: str
    port: str


class Esp32Farm(CommandedFarm):
    """Running chips of one family; `options` are those of `python -m boards.esp32`."""

    def __init__(self, family: str, folder: Path, *, log: Path, options: Mapping[str, object]) -> None:
        known = {"chip": family, "link_dir": folder / "line", "state_dir": folder / "chips"}
        super().__init__("boards.esp32", flags({**known, **options}), log=log)
        self.chips = [
            ChipOnPort(line["board"], line["chip"], line["port"]) for line in self.said if "port" in line
        ]

    def show(self, number: int) -> dict[str, Any]:
        """What the chip holds and does (`boards.esp32.farm.FarmChip.show`)."""
        return self.tell(number, show=True)

    def state(self, number: int) -> str:
        """Whether it is `off`, or what runs (`boards.esp32.chip.State`)."""
        return str(self.tell(number)["state"])

    def press(self, number: int, button: str) -> None:
        """Presses a button (`boards.esp32.control`)."""
        self.tell(number, press=button)
