"""The SPI controller as a loader's host uses it: single commands to the flash, through registers."""

from __future__ import annotations

from boards.esp32.family import Family
from boards.esp32.flash import Flash

_START = 1 << 18  # SPI_CMD_REG: SPI_USR
_READ_ID = 0x9F
_READ_SFDP = 0x5A
_SFDP_HEADER = b"SFDP\x06\x01\x00\xff"
_SFDP_SIZE = 64  # bytes answered: the header, and the maker's id where hosts look for it
_SFDP_MAKER = 0x10


class SpiController:
    """Registers that do something when SPI_CMD_REG is started; every other one only remembers."""

    def __init__(self, family: Family, flash: Flash) -> None:
        self._at = family.spi
        self._flash = flash
        self._values: dict[int, int] = {}

    def has_register(self, address: int) -> bool:
        """Whether an address is the controller's."""
        return self._at.base <= address < self._at.base + 0x100

    def read_register(self, address: int) -> int:
        """What a load gives."""
        return self._values.get(address - self._at.base, 0)

    def write_register(self, address: int, value: int) -> None:
        """What a store does."""
        offset = address - self._at.base
        if offset or not value & _START:
            self._values[offset] = value
            return
        answer = self._command(self._values.get(self._at.user2, 0) & 0xFF)
        if answer is not None:
            self._values[self._at.w0] = int.from_bytes(answer, "little")

    def _command(self, command: int) -> bytes | None:
        """What the flash shifts out; None: nothing. Status registers read as 0: nothing busy or protected."""
        if command == _READ_ID:
            return self._flash.jedec_id
        if command == _READ_SFDP:
            address = self._values.get(self._at.address, 0)
            if self._at.address_msb_first:
                address >>= 8
            table = _SFDP_HEADER.ljust(_SFDP_MAKER, b"\xff") + self._flash.jedec_id[:1]
            return table.ljust(_SFDP_SIZE, b"\xff")[address : address + 4]
        return None
