"""Partition tables of ESP-IDF (docs: "Partition Tables"), read as the bootloader reads them.

`parse_partition_table` answers with partitions that lie in order, aligned and apart from each other, under a
right MD5; or raises `PartitionTableError`, whatever the bytes.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass

# esp_partition_info_t (esp_flash_partitions.h): magic, type, subtype, offset, size, label, flags.
_ENTRY = struct.Struct("<HBBII16sI")
_MAGIC, _MD5_MAGIC = 0x50AA, 0xEBEB
_MAX_BYTES = 0x1000  # the sector
_MAX_ENTRIES = 95  # ESP_PARTITION_TABLE_MAX_ENTRIES without the MD5's
_LABEL = re.compile(r"[!-~]{1,16}")
_APP_ALIGNMENT, _ALIGNMENT = 0x10000, 0x1000  # the MMU's page, the flash's sector

TABLE_OFFSET = 0x8000  # CONFIG_PARTITION_TABLE_OFFSET as ESP-IDF sets it
APP, DATA = 0x00, 0x01  # types
FACTORY, OTA_0 = 0x00, 0x10  # subtypes of APP
OTADATA, NVS, NVS_KEYS = 0x00, 0x02, 0x04  # subtypes of DATA
OTADATA_BYTES = 0x2000  # two copies, a sector each


class PartitionTableError(ValueError):
    """The bytes are no partition table that a bootloader takes."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition."""

    label: str
    type: int
    subtype: int
    offset: int  # in flash, bytes
    size: int  # bytes
    encrypted: bool

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size


def parse_partition_table(data: bytes) -> tuple[Partition, ...]:
    """Reads a table; behind it is nothing but FF.

    Raises:
        PartitionTableError: for all other bytes; the text says what is wrong.
    """
    if len(data) > _MAX_BYTES or len(data) % _ENTRY.size:
        raise PartitionTableError(f"a table of {len(data)} bytes: at most {_MAX_BYTES}, and whole entries")
    partitions: list[Partition] = []
    for position in range(0, len(data), _ENTRY.size):
        entry = data[position : position + _ENTRY.size]
        if entry[:2] == _MD5_MAGIC.to_bytes(2, "little"):
            _check_md5(data, position)
            _check_layout(partitions)
            return tuple(partitions)
        partitions.append(_partition(entry, len(partitions)))
    raise PartitionTableError("the table has no MD5")


def find(partitions: tuple[Partition, ...], kind: int, subtype: int) -> Partition | None:
    """The first partition of that type and subtype, which is the one that a bootloader uses."""
    return next((one for one in partitions if (one.type, one.subtype) == (kind, subtype)), None)


def _partition(entry: bytes, number: int) -> Partition:
    magic, kind, subtype, offset, size, raw, flags = _ENTRY.unpack(entry)
    if magic != _MAGIC or number >= _MAX_ENTRIES:
        raise PartitionTableError(f"entry {number} is no partition")
    label = raw.rstrip(b"\0").decode("latin-1")
    if _LABEL.fullmatch(label) is None:
        raise PartitionTableError(f"the label of entry {number} is not 1 to 16 printable characters")
    return Partition(label, kind, subtype, offset, size, bool(flags & 1))


def _check_md5(data: bytes, position: int) -> None:
    entry, tail = data[position : position + _ENTRY.size], data[position + _ENTRY.size :]
    if entry[2:16].strip(b"\xff") or tail.strip(b"\xff"):
        raise PartitionTableError("bytes follow the table that are not FF")
    if hashlib.md5(data[:position], usedforsecurity=False).digest() != entry[16:]:
        raise PartitionTableError("the table's MD5 is wrong")


def _check_layout(partitions: list[Partition]) -> None:
    if not partitions:
        raise PartitionTableError("the table has no partition")
    if len({one.label for one in partitions}) != len(partitions):
        raise PartitionTableError("two partitions have one label")
    before = TABLE_OFFSET + _MAX_BYTES
    for one in sorted(partitions, key=lambda one: one.offset):
        alignment = _APP_ALIGNMENT if one.type == APP else _ALIGNMENT
        if one.offset % alignment or one.size % _ALIGNMENT or not one.size:
            raise PartitionTableError(
                f"partition {one.label} is not at a multiple of {alignment:#x}, or not of whole sectors"
            )
        if one.offset < before:
            raise PartitionTableError(f"partition {one.label} lies over what stands before it")
        before = one.end
