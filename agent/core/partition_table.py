"""Partition tables of ESP-IDF (docs: "Partition Tables"), read as the bootloader reads them.

`parse_partition_table` answers with partitions that are aligned and lie apart from each other. Where the
table has an MD5, it is right. Whatever the bytes, nothing but `PartitionTableError` is raised.
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
_LABEL = re.compile(r"(?! *\Z)[ -~]{1,16}")
_APP_ALIGNMENT, _ALIGNMENT = 0x10000, 0x1000  # the MMU's page, the flash's sector
_END = b"\xff\xff\xff\xff"  # of an entry: the table ends before it

TABLE_OFFSET = 0x8000  # CONFIG_PARTITION_TABLE_OFFSET as ESP-IDF sets it
TABLE_BYTES = _MAX_BYTES
APP, DATA, BOOTLOADER, PARTITION_TABLE = 0x00, 0x01, 0x02, 0x03  # types; others are the product's own
PRIMARY = 0x00  # subtype of BOOTLOADER and PARTITION_TABLE: the place where it stands anyhow
FACTORY, OTA_0, OTA_1 = 0x00, 0x10, 0x11  # subtypes of APP
OTADATA, NVS, COREDUMP, NVS_KEYS = 0x00, 0x02, 0x03, 0x04  # subtypes of DATA
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
    readonly: bool = False

    @property
    def stands_anyhow(self) -> bool:
        """True for the row of the bootloader or the table itself: it says a place, and makes none."""
        return self.type in {BOOTLOADER, PARTITION_TABLE} and self.subtype == PRIMARY

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size


def parse_partition_table(data: bytes, table_offset: int = TABLE_OFFSET) -> tuple[Partition, ...]:
    """Reads a table that stands at `table_offset`; behind it is nothing but FF.

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
        if entry[:2] == _MD5_MAGIC.to_bytes(2, "little") or (partitions and entry.startswith(_END)):
            if data[position + _ENTRY.size :].strip(b"\xff"):
                raise PartitionTableError("bytes follow the table that are not FF")
            _check_layout(partitions, table_offset)
            return tuple(partitions)
        partitions.append(_partition(entry, len(partitions)))
    raise PartitionTableError("the table has no end: neither an MD5 nor an entry of FF")


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
    partition = Partition(label, kind, subtype, offset, size, bool(flags & 1), bool(flags & 2))
    if partition.readonly and kind == DATA and subtype in {OTADATA, COREDUMP}:
        raise PartitionTableError(f"partition {label} is read-only, and has to be written")
    return partition


def _check_md5(data: bytes, position: int) -> None:
    entry = data[position : position + _ENTRY.size]
    if entry[2:16].strip(b"\xff"):
        raise PartitionTableError("bytes follow the table that are not FF")
    if hashlib.md5(data[:position], usedforsecurity=False).digest() != entry[16:]:
        raise PartitionTableError("the table's MD5 is wrong")


def _check_layout(partitions: list[Partition], table_offset: int) -> None:
    if not partitions:
        raise PartitionTableError("the table has no partition")
    if len({one.label for one in partitions}) != len(partitions):
        raise PartitionTableError("two partitions have one label")
    before = 0
    for one in sorted(partitions, key=lambda one: one.offset):
        _check_alignment(one)
        least = before if one.stands_anyhow else max(before, table_offset + _MAX_BYTES)
        if one.offset < least:
            raise PartitionTableError(f"partition {one.label} lies over what stands before it")
        if one.stands_anyhow:
            _check_own_row(one, table_offset)
        before = one.end


def _check_alignment(one: Partition) -> None:
    """As gen_esp32part.py wants it: only applications are of whole sectors."""
    alignment, whole = (_APP_ALIGNMENT, _ALIGNMENT) if one.type == APP else (_ALIGNMENT, 1)
    if one.offset % alignment or one.size % whole or not one.size:
        raise PartitionTableError(
            f"partition {one.label} is not at a multiple of {alignment:#x}, or not of whole sectors"
        )


def _check_own_row(one: Partition, table_offset: int) -> None:
    """The rows of bootloader and table say where the build put the table: it must stand there."""
    says = one.end if one.type == BOOTLOADER else one.offset
    if says != table_offset or (one.type == PARTITION_TABLE and one.size != _MAX_BYTES):
        raise PartitionTableError(
            f"partition {one.label}: built for a table at {says:#x}, and it goes to {table_offset:#x}"
        )
