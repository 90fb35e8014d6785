"""Reads images out of flash as ROM and bootloader do: header by header, then whole."""

from __future__ import annotations

import struct

from boards.esp32.flash import FlashRangeError
from boards.esp32.flash_cipher import CachedFlash
from boards.esp32.images import Firmware, ImageError, parse_image
from boards.esp32.partitions import SECTOR
from boards.esp32.signing import SIGNATURE_BYTES

HEADER_BYTES = 24
_SEGMENT = struct.Struct("<II")
_MAGIC, _MAX_SEGMENTS = 0xE9, 16


def image_bytes(flash: CachedFlash, offset: int, limit: int) -> bytes:
    """The image at `offset` with what follows it: a signature sector's worth, within `limit` bytes.

    Raises:
        ImageError: no image, or it would be longer than `limit`.
    """
    header = _read(flash, offset, HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[0] != _MAGIC:
        raise ImageError(f"image at 0x{offset:x} has invalid magic byte (nothing flashed here?)")
    if not 0 < header[1] <= _MAX_SEGMENTS:
        raise ImageError(f"image at 0x{offset:x} segment count {header[1]} exceeds max {_MAX_SEGMENTS}")
    end = HEADER_BYTES
    for number in range(header[1]):
        segment = _read(flash, offset + end, _SEGMENT.size)
        if len(segment) < _SEGMENT.size:
            raise ImageError(f"Segment {number} lies outside of flash")
        end += _SEGMENT.size + _SEGMENT.unpack(segment)[1]
        if end > limit:
            raise ImageError(f"Segment {number} end address 0x{offset + end:x} too high")
    padded = -(-(end + 16 + 32) // SECTOR) * SECTOR
    return _read(flash, offset, min(limit, padded + SIGNATURE_BYTES))


def firmware_at(flash: CachedFlash, offset: int, limit: int) -> Firmware | None:
    """What lies there, None if it is no whole image."""
    try:
        return parse_image(image_bytes(flash, offset, limit))
    except ImageError:
        return None


def _read(flash: CachedFlash, offset: int, count: int) -> bytes:
    try:
        return flash.read(offset, count)
    except FlashRangeError as error:
        raise ImageError(f"0x{offset:x} lies outside of flash") from error
