"""The loaders' commands: numbers, reasons of refusal, the header of a frame, SYNC and checksum."""

from __future__ import annotations

import struct
from enum import IntEnum

from boards.esp32 import slip

HEADER = struct.Struct("<BBHI")
_SYNC_BODY = b"\x07\x07\x12\x20" + 32 * b"\x55"
# The SYNC frame has no byte that SLIP escapes: a host's bytes are searched for it as they are.
SYNC_WIRE = slip.encode(HEADER.pack(0, 0x08, len(_SYNC_BODY), 0) + _SYNC_BODY)
_CHECKSUM_SEED = 0xEF


class Op(IntEnum):
    """Commands."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2


class Error(IntEnum):
    """Reasons of a refusal: the ROM's, from C0 on the stub's."""

    INVALID = 0x05
    FAILED = 0x06
    CHECKSUM = 0x07
    FLASH_WRITE = 0x08
    FLASH_READ = 0x0A
    INFLATE = 0x0B
    STUB_LENGTH = 0xC0
    STUB_CHECKSUM = 0xC1
    STUB_INVALID = 0xC3
    STUB_FLASH = 0xC4
    STUB_NOT_BEGUN = 0xC6
    STUB_INFLATE = 0xC7


def checksum(data: bytes) -> int:
    """The loaders' XOR over all bytes, by folding halves onto each other."""
    size = 1 << max(len(data) - 1, 0).bit_length()
    value = int.from_bytes(data, "little")
    while size > 1:
        size //= 2
        value = (value >> 8 * size) ^ (value & (1 << 8 * size) - 1)
    return value ^ _CHECKSUM_SEED
