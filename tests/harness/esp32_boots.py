"""A simulated chip that boots, in the test's own event loop, and what a station would write to it.

async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
    await bench.until_runs("manufacturing")
    bench.write(images.final_stage)
    bench.reset()
    await bench.until_runs("application")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boards.esp32.boot import BootOptions
from boards.esp32.chip import Cause, State
from boards.esp32.farm import FarmChip, FarmOptions, make_chip
from boards.esp32.flash import SECTOR
from boards.esp32.security import Security
from boards.simulated_board import SimulatedBoard
from harness.waiting import until

MAC = "7c:df:a1:00:00:01"
_LOOP_S = 0.005  # of a chip that has nothing to start


class BootBenchError(AssertionError):
    """No firmware answers."""


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a chip erased, programmed and burned; each a place at which its power may be cut."""

    flash_bytes: int
    efuse_words: int


class BootBench:
    """One chip, kept in memory or in `state_dir`."""

    def __init__(
        self, family: str, folder: Path, stage: Mapping[int, bytes] | None = None, **options: Any
    ) -> None:
        boot = options.pop("boot", BootOptions(loop_s=_LOOP_S))
        self.farm_chip: FarmChip = make_chip(
            0, FarmOptions(family, link_dir=folder, stage=stage or {}, boot=boot, **options)
        )
        self.chip, self.chain = self.farm_chip.chip, self.farm_chip.chain
        self.port = self.farm_chip.link

    async def __aenter__(self) -> Self:
        await self.farm_chip.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.farm_chip.stop()

    @property
    def board(self) -> SimulatedBoard:
        """The running firmware's."""
        if self.chain.running is None or self.chain.running.board is None:
            raise BootBenchError(f"nothing answers:\n{self.printed}")
        return self.chain.running.board

    @property
    def locks(self) -> dict[str, bool]:
        """By the eFuses."""
        return Security(self.chip.efuses).state

    @property
    def printed(self) -> str:
        """The console's last lines."""
        return "\n".join(self.chain.printed)

    @property
    def consumed(self) -> Consumption:
        """So far."""
        return Consumption(self.chip.supply.flash_bytes, self.chip.supply.efuse_words)

    def hello(self) -> dict[str, Any]:
        """The running firmware's answer."""
        return self.board.handle(write=False, command="hello", body={})

    def write(self, images: Mapping[int, bytes]) -> None:
        """As the ROM loader writes: the cells take the bytes as they are."""
        for offset, image in images.items():
            self.chip.flash.erase(offset, -(-len(image) // SECTOR) * SECTOR)
            self.chip.flash.program(offset, image)

    def damage(self, address: int) -> None:
        """Clears a byte in flash that is not zero."""
        sector = address // SECTOR * SECTOR
        cells = bytearray(self.chip.flash.read(sector, SECTOR))
        cells[address - sector] ^= 0xFF
        self.write({sector: bytes(cells)})

    def reset(self) -> None:
        """Presses the button."""
        self.chain.printed.clear()
        self.chip.reset(Cause.PIN)

    def power_on(self) -> None:
        """Supplies it again."""
        self.chain.printed.clear()
        self.chip.power_on()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for a condition."""
        await until(condition, what, said=lambda: self.printed)

    async def until_runs(self, role: str) -> None:
        """Waits until that firmware answers."""
        await self.until(lambda: self.chain.running is not None and self.chain.running.role == role, role)

    async def until_printed(self, text: str, times: int = 1) -> None:
        """Waits until the console says so."""
        await self.until(lambda: self.printed.count(text) >= times, text)

    async def until_off(self) -> None:
        """Waits until the power has failed."""
        await self.until(lambda: self.chip.state is State.OFF, "the power cut")

    async def until_settled(self) -> None:
        """Waits until firmware answers, or the chip has started over twice without finding any."""
        starts = self.chip.resets
        await self.until(
            lambda: self.chain.running is not None or self.chip.resets >= starts + 3, "a firmware or a loop"
        )
