"""NOR flash as it behaves: erasing sets sectors to FF, programming only clears bits, a power cut tears both.

With a path the array lives in that file, mapped into memory: a simulator that starts again, even after it was
killed, finds it so. Kept is the complement of each byte: what was never programmed takes no place.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from boards.esp32.power import PowerLost, PowerSupply

SECTOR = 0x1000  # bytes, the smallest unit of erasing
BLOCK = 0x10000  # bytes, the larger unit of erasing
PAGE = 256  # bytes, what one page program command takes

# Typical times of a 3.3 V SPI NOR flash (W25Q32JV data sheet, AC characteristics: tSE, tBE2, tPP).
SECTOR_ERASE_S = 0.045
BLOCK_ERASE_S = 0.150
PAGE_PROGRAM_S = 0.0004

_COMPLEMENT = bytes(range(255, -1, -1))


class FlashRangeError(Exception):
    """An address outside of the array, or an erase that is not aligned to sectors."""


class Flash:
    """A NOR flash array of `size` bytes, a power of two of at least 64 KiB."""

    def __init__(self, size: int, *, supply: PowerSupply, path: Path | None = None) -> None:
        if size < BLOCK or size & (size - 1):
            raise ValueError(f"flash of {size} bytes: not a power of two of at least {BLOCK}")
        self.size = size
        self._supply = supply
        if path is None:
            self._complement = mmap.mmap(-1, size)
            return
        with path.open("a+b") as file:
            if not file.tell():
                file.truncate(size)
            if os.fstat(file.fileno()).st_size != size:
                raise ValueError(f"{path} does not hold {size} bytes")
        with path.open("r+b") as file:
            self._complement = mmap.mmap(file.fileno(), size)

    @property
    def jedec_id(self) -> bytes:
        """What the flash answers to RDID (9F): Winbond, 3.3 V, and its size as a power of two."""
        return bytes([0xEF, 0x40, self.size.bit_length() - 1])

    def read(self, address: int, count: int) -> bytes:
        """The cells as they are, encrypted or not. Raises `FlashRangeError`."""
        self._check(address, count)
        return self._complement[address : address + count].translate(_COMPLEMENT)

    def erase(self, address: int, count: int) -> None:
        """Erases whole sectors. Raises `FlashRangeError`, `PowerLost`."""
        self._check(address, count)
        if address % SECTOR or count % SECTOR:
            raise FlashRangeError(f"erase {address:#x}+{count:#x} is not aligned to sectors")
        for sector in range(address, address + count, SECTOR):
            granted = self._supply.grant_flash(SECTOR)
            if any(self._complement[sector : sector + granted]):  # else its pages would be taken up
                self._complement[sector : sector + granted] = bytes(granted)
            if granted < SECTOR:
                raise PowerLost

    def program(self, address: int, data: bytes) -> None:
        """Clears the bits that are 0 in `data`; no bit is ever set. Raises `FlashRangeError`, `PowerLost`."""
        self._check(address, len(data))
        granted = self._supply.grant_flash(len(data))
        done = data[:granted]
        if granted < len(data):  # the byte in which the power fails gets only some of its zeros
            done += bytes([data[granted] | 0x55])
        new = done.translate(_COMPLEMENT)
        old = self._complement[address : address + len(new)]
        if old.count(0) != len(new):
            both = int.from_bytes(old, "little") | int.from_bytes(new, "little")
            new = both.to_bytes(len(new), "little")
        if new != old:
            self._complement[address : address + len(new)] = new
        if granted < len(data):
            raise PowerLost

    def _check(self, address: int, count: int) -> None:
        if address < 0 or count < 0 or address + count > self.size:
            raise FlashRangeError(f"{address:#x}+{count:#x} is outside of {self.size:#x} bytes of flash")


def erase_seconds(address: int, count: int) -> float:
    """How long erasing takes, with block erases where the range allows, as ROM and stub do it."""
    end = address + count
    first_block = min(-(-address // BLOCK) * BLOCK, end)
    blocks = (end - first_block) // BLOCK
    return blocks * BLOCK_ERASE_S + (count - blocks * BLOCK) // SECTOR * SECTOR_ERASE_S


def program_seconds(count: int) -> float:
    """How long programming `count` bytes takes."""
    return -(-count // PAGE) * PAGE_PROGRAM_S
