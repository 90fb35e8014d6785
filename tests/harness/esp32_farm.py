"""Simulated ESP32 chips (tests/boards/esp32) in a process of their own, commanded over standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.process import REPOSITORY, Program, wait_until

# A shell starts in milliseconds; the port's link and its control FIFO stand beside each other.
RESET_COMMAND = ("sh", "-c", 'echo "reset $BIRTHMARK_RESET" > "$BIRTHMARK_PORT.control"')


@dataclass(frozen=True, slots=True)
class ChipOnPort:
    """A chip that is plugged in."""

    number: int
    chip_id: str
    port: str


class Esp32Farm:
    """Running chips of one family; `options` are those of `python -m boards.esp32`, True is a flag."""

    def __init__(self, family: str, folder: Path, *, log: Path, options: Mapping[str, object]) -> None:
        command: list[str | Path] = [sys.executable, "-m", "boards.esp32", "--chip", family]
        command += ["--link-dir", folder / "line", "--state-dir", folder / "chips"]
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            text = json.dumps(value) if isinstance(value, Mapping) else str(value)
            command += [flag] if value is True else [flag, text]
        self.program = Program(
            command, log=log, environment={"PYTHONPATH": str(REPOSITORY / "tests")}, commanded=True
        )
        self._answers = 0
        wait_until(lambda: '{"ready"' in self.program.output(), "the chips", program=self.program)
        self.chips = [
            ChipOnPort(line["board"], line["chip"], line["port"]) for line in self._lines() if "port" in line
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

    def tell(self, number: int, **command: object) -> dict[str, Any]:
        """Sends one command and returns its answer."""
        self.program.tell(json.dumps({"board": number, **command}))
        self._answers += 1
        wait_until(lambda: len(self._replies()) >= self._answers, "a chip's answer", program=self.program)
        reply = self._replies()[self._answers - 1]
        assert reply["ok"], reply
        return reply

    def _replies(self) -> list[dict[str, Any]]:
        return [line for line in self._lines() if "ok" in line]

    def _lines(self) -> list[dict[str, Any]]:
        # The last piece is empty, or a line that is still being written.
        return [json.loads(line) for line in self.program.output().split("\n")[:-1]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.stop()
