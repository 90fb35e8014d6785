"""One write to flash as a loader does it: erase, inflate, encrypt if asked, program page by page."""

from __future__ import annotations

import zlib

from boards.esp32.flash import (
    BLOCK,
    BLOCK_ERASE_S,
    SECTOR,
    SECTOR_ERASE_S,
    Flash,
    FlashRangeError,
    program_seconds,
)
from boards.esp32.flash_cipher import FlashCipher


class WriteError(Exception):
    """Data that does not inflate, or is more than was announced."""


class FlashWriter:
    """From a BEGIN to its END.

    The ROM erases all of it first (`erase_first`), the stub each sector as the data reaches it.
    """

    def __init__(
        self,
        flash: Flash,
        *,
        offset: int,
        size: int,
        block: int,
        compressed: bool,
        erase_first: bool,
        cipher: FlashCipher | None,
    ) -> None:
        self.compressed = compressed
        self.failed: WriteError | None = None
        self._flash = flash
        self._start = self._at = offset
        # Uncompressed data is padded to whole blocks by the host; compressed data is exactly as long.
        self._end = offset + (size if compressed else -(-size // block) * block if block else size)
        self._erase_end = -(-(offset + size) // SECTOR) * SECTOR
        self._erased_to = offset // SECTOR * SECTOR
        self._erase_first = erase_first
        self._cipher = cipher
        self._inflate = zlib.decompressobj()

    def begin(self) -> float:
        """Checks the range, erases if all is erased first; the seconds it takes. Raises `FlashRangeError`."""
        if self._erase_end > self._flash.size:
            raise FlashRangeError(f"{self._start:#x} to {self._erase_end:#x} is outside of the flash")
        return self._erase_to(self._erase_end) if self._erase_first else 0.0

    def write(self, data: bytes, *, raises: bool) -> float:
        """Writes the next block; the seconds it takes. Raises `PowerLost`.

        With `raises`, `WriteError` too; without, it is kept in `failed`: a stub has answered by then.
        """
        try:
            return self._write(self._inflated(data) if self.compressed else data)
        except WriteError as error:
            self.failed = error
            if raises:
                raise
            return 0.0

    def _inflated(self, data: bytes) -> bytes:
        try:
            plain = self._inflate.decompress(data, self._end - self._at + 1)
        except zlib.error as error:
            raise WriteError("data does not inflate") from error
        return plain

    def _write(self, data: bytes) -> float:
        if self._at + len(data) > self._end:
            raise WriteError("more data than announced")
        data = data[: self._flash.size - self._at]  # the padding of the last block
        seconds = 0.0 if self._erase_first else self._erase_to(min(self._at + len(data), self._erase_end))
        if self._cipher is not None:
            data = self._cipher.encrypt(self._at, data)
        self._flash.program(self._at, data)
        self._at += len(data)
        return seconds + program_seconds(len(data))

    def _erase_to(self, end: int) -> float:
        """Erases up to `end` at least, by whole blocks wherever the rest of the range allows it."""
        seconds = 0.0
        while self._erased_to < end:
            start = self._erased_to
            whole = start % BLOCK == 0 and self._erase_end - start >= BLOCK
            self._flash.erase(start, BLOCK if whole else SECTOR)
            self._erased_to += BLOCK if whole else SECTOR
            seconds += BLOCK_ERASE_S if whole else SECTOR_ERASE_S
        return seconds
