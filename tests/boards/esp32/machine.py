"""What runs on a chip outside of its ROM loader: the interface, and the machine of an empty chip."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from boards.esp32.chip import Chip


class Cause(Enum):
    """Why the chip starts; `code` is what the ROM prints after `rst:`."""

    POWER_ON = (0x1, "POWERON")
    SOFTWARE = (0x3, "RTC_SW_SYS_RST")
    WATCHDOG = (0x9, "RTCWDT_SYS_RST")
    PIN = (0x15, "USB_UART_CHIP_RESET")

    @property
    def code(self) -> int:
        """The number that the ROM prints."""
        return self.value[0]

    @property
    def text(self) -> str:
        """The name that the ROM prints."""
        return self.value[1]


class State(Enum):
    """What holds the UART."""

    OFF = "off"
    RUN = "run"  # the machine: boot chain and firmware
    LOADER = "loader"  # the ROM loader or the stub
    HALTED = "halted"  # strapped for download where the eFuses forbid it: powered, and silent


class Machine(Protocol):
    """What the chip does when it is not in the ROM loader: boot chain and firmware.

    All calls come from the event loop. Any of them, and any coroutine given to `chip.spawn`, may raise
    `PowerLost` out of a flash or eFuse operation: the chip handles it.
    """

    def power_on(self, chip: Chip, cause: Cause) -> None:
        """The ROM has found the boot straps set to run: begin. RAM is empty. Called at each reset to run."""

    def received(self, data: bytes) -> None:
        """Bytes came on the UART, after the time they take on the line."""

    def stop(self) -> None:
        """RAM is lost: the chip is reset, enters the loader or is off. Tasks of `spawn` are cancelled."""


class EmptyFlash:
    """The machine of a chip without firmware: what the ROM prints when there is no bootloader."""

    def power_on(self, chip: Chip, cause: Cause) -> None:
        chip.send(f"ESP-ROM:{chip.family.name}\r\nrst:{cause.code:#x} ({cause.text}),boot:0x8\r\n".encode())
        chip.send(b"invalid header: 0xffffffff\r\n" * 3)

    def received(self, data: bytes) -> None:
        """Nobody listens."""

    def stop(self) -> None:
        """Nothing runs."""
