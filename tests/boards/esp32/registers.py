"""The chip's address space as READ_REG and WRITE_REG see it: controllers, watchdog, constants, RAM."""

from __future__ import annotations

from boards.esp32.efuses import Efuses
from boards.esp32.family import Family
from boards.esp32.flash import Flash
from boards.esp32.spi import SpiController

_CRYSTAL_HZ = 40_000_000


class Registers:
    """Words of 32 bits. What has no meaning here is remembered until the next reset."""

    def __init__(self, family: Family, flash: Flash, efuses: Efuses) -> None:
        self._family = family
        self._efuses = efuses
        self._spi = SpiController(family, flash)
        self._words: dict[int, int] = {}
        self.baud = 115_200  # of the UART, from which its clock divider follows
        self.watchdog_bites = False

    def reset(self) -> None:
        """RAM and controllers forget what was written."""
        self._words.clear()
        self._efuses.reset_controller()
        self.watchdog_bites = False

    @property
    def read_hooked(self) -> bool:
        """Whether the ROM's pointer to its flash read function has been bent."""
        return bool(self._family.read_hook and self._words.get(self._family.read_hook))

    def read(self, address: int) -> int:
        """What a load gives."""
        if self._efuses.has_register(address):
            return self._efuses.read_register(address)
        if self._spi.has_register(address):
            return self._spi.read_register(address)
        if address == self._family.clock_divider:
            return _CRYSTAL_HZ // self.baud
        return self._family.registers.get(address, self._words.get(address, 0))

    def write(self, address: int, value: int, mask: int) -> None:
        """What a store of the bits in `mask` does. Raises `PowerLost`."""
        if mask != 0xFFFFFFFF:
            value = self.read(address) & ~mask | value & mask
        if self._efuses.has_register(address):
            self._efuses.write_register(address, value)
        elif self._spi.has_register(address):
            self._spi.write_register(address, value)
        else:
            self._words[address] = value
            self._watch(address, value)

    def _watch(self, address: int, value: int) -> None:
        watchdog = self._family.watchdog
        if watchdog is None or address != watchdog.config0 or not value & watchdog.enable:
            return
        if self._words.get(watchdog.write_protect) == watchdog.key:
            self.watchdog_bites = True
