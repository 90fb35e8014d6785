"""NOR flash as it behaves: erasing sets sectors to FF, programming only clears bits, a power cut tears both.

With a path the array lives in that file, mapped into memory: a simulator that starts again finds it so.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from boards.esp32.power import PowerLost, PowerSupply

SECTOR = 0x1000  # bytes, the smallest unit of erasing
BLOCK = 0x10000  # bytes, the larger unit of erasing
PAGE = 256  # bytes, what one page program command takes

# Typical times of a 3.3 V SPI NOR flash (W25Q32JV data sheet, AC characteristics: tSE, tBE2, tPP).
SECTOR_ERASE_S = 0.045
BLOCK_ERASE_S = 0.150
PAGE_PROGRAM_S = 0.0004

_ERASED_SECTOR = b"\xff" * SECTOR


class FlashRangeError(Exception):
    """An address outside of the array, or an erase that is not aligned to sectors."""


class Flash:
    """A NOR flash array of `size` bytes, a power of two of at least 64 KiB."""

    def __init__(self, size: int, *, supply: PowerSupply, path: Path | None = None) -> None:
        if size < BLOCK or size & (size - 1):
            raise ValueError(f"flash of {size} bytes: not a power of two of at least {BLOCK}")
        self.size = size
        self._supply = supply
        self._array: bytearray | mmap.mmap
        if path is None:
            self._array = bytearray(b"\xff") * size
            return
        if not path.exists():
            path.write_bytes(b"\xff" * size)
        with path.open("r+b") as file:
            self._array = mmap.mmap(file.fileno(), 0)
        if len(self._array) != size:
            raise ValueError(f"{path} holds {len(self._array)} bytes, not {size}")

    @property
    def jedec_id(self) -> bytes:
        """What the flash answers to RDID (9F): Winbond, 3.3 V, and its size as a power of two."""
        return bytes([0xEF, 0x40, self.size.bit_length() - 1])

    def read(self, address: int, count: int) -> bytes:
        """The cells as they are, encrypted or not. Raises `FlashRangeError`."""
        self._check(address, count)
        return bytes(self._array[address : address + count])

    def erase(self, address: int, count: int) -> None:
        """Erases whole sectors. Raises `FlashRangeError`, `PowerLost`."""
        self._check(address, count)
        if address % SECTOR or count % SECTOR:
            raise FlashRangeError(f"erase {address:#x}+{count:#x} is not aligned to sectors")
        for sector in range(address, address + count, SECTOR):
            granted = self._supply.grant_flash(SECTOR)
            self._array[sector : sector + granted] = _ERASED_SECTOR[:granted]
            if granted < SECTOR:
                raise PowerLost

    def program(self, address: int, data: bytes) -> None:
        """Clears the bits that are 0 in `data`; no bit is ever set. Raises `FlashRangeError`, `PowerLost`."""
        self._check(address, len(data))
        granted = self._supply.grant_flash(len(data))
        done = data[:granted]
        if granted < len(data):  # the byte in which the power fails gets only some of its zeros
            done += bytes([data[granted] | 0x55])
        old = self._array[address : address + len(done)]
        if old.count(b"\xff") != len(done):
            both = int.from_bytes(old, "little") & int.from_bytes(done, "little")
            done = both.to_bytes(len(done), "little")
        self._array[address : address + len(done)] = done
        if granted < len(data):
            raise PowerLost

    def sync(self) -> None:
        """Hands the array to the disk, where it lives in a file."""
        if isinstance(self._array, mmap.mmap):
            self._array.flush()

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
