"""What lies where in flash: ESP-IDF's partition table and otadata (`esp_flash_partitions.h`).

table = partition_table(default_partitions())
flash[0xF000:] = otadata(1)     # boots ota_0
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from boards.esp32.images import ImageError

SECTOR = 4096  # bytes: what flash erases at once
PARTITION_TABLE_OFFSET = 0x8000  # where ESP-IDF has it unless a build says otherwise
PARTITION_TABLE_BYTES = 0xC00  # ESP_PARTITION_TABLE_MAX_LEN

_PARTITION = struct.Struct("<HBBII16sI")
_PARTITION_MAGIC, _MD5_MAGIC = 0x50AA, b"\xeb\xeb" + b"\xff" * 14
_OTA_ENTRY = struct.Struct("<I20sII")
_OTA_VALID, _OTA_INVALID, _OTA_ABORTED = 2, 3, 4  # esp_ota_img_states_t


@dataclass(frozen=True, slots=True)
class Partition:
    """One line of a partition table."""

    name: str
    type: int  # 0 app, 1 data
    subtype: int
    offset: int
    size: int
    encrypted: bool = False

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def is_app(self) -> bool:
        return self.type == 0


FACTORY, OTA_0 = 0x00, 0x10  # subtypes of app
DATA_OTA, DATA_NVS, DATA_NVS_KEYS = 0x00, 0x02, 0x04  # subtypes of data


def default_partitions(
    factory_bytes: int = 0x100000, ota_bytes: int = 0x180000, table_offset: int = PARTITION_TABLE_OFFSET
) -> tuple[Partition, ...]:
    """The line's layout behind a table there; with the default sizes it fits into 4 MB."""
    data = table_offset + SECTOR
    apps = -(-(data + 0x9000) // 0x10000) * 0x10000
    return (
        Partition("nvs", 1, DATA_NVS, data, 0x6000),
        Partition("otadata", 1, DATA_OTA, data + 0x6000, 0x2000),
        Partition("nvs_keys", 1, DATA_NVS_KEYS, data + 0x8000, 0x1000, encrypted=True),
        Partition("factory", 0, FACTORY, apps, factory_bytes),
        Partition("ota_0", 0, OTA_0, apps + factory_bytes, ota_bytes),
    )


def ota_only_partitions(
    ota_bytes: int = 0x180000, table_offset: int = PARTITION_TABLE_OFFSET
) -> tuple[Partition, ...]:
    """Two slots and no factory partition, as products have it that update themselves by turns."""
    nvs, otadata_, keys, first, _ = default_partitions(ota_bytes, ota_bytes, table_offset)
    slots = (
        Partition("ota_0", 0, OTA_0, first.offset, ota_bytes),
        Partition("ota_1", 0, OTA_0 + 1, first.end, ota_bytes),
    )
    return (nvs, otadata_, keys, *slots)


def _partition_entry(part: Partition) -> bytes:
    name, flags = part.name.encode(), int(part.encrypted)
    return _PARTITION.pack(_PARTITION_MAGIC, part.type, part.subtype, part.offset, part.size, name, flags)


def partition_table(partitions: Iterable[Partition]) -> bytes:
    """As gen_esp32part.py writes it: entries, MD5 entry, 0xFF up to 0xC00 bytes."""
    entries = b"".join(map(_partition_entry, partitions))
    table = entries + _MD5_MAGIC + hashlib.md5(entries, usedforsecurity=False).digest()
    return table.ljust(PARTITION_TABLE_BYTES, b"\xff")


def parse_partition_table(data: bytes) -> tuple[Partition, ...]:
    """Reads a table; its MD5 entry must be right where it has one (CONFIG_PARTITION_TABLE_MD5).

    Raises:
        ImageError: with the text of ESP-IDF's flash_partitions.c.
    """
    found: list[Partition] = []
    for at in range(0, min(len(data), PARTITION_TABLE_BYTES) - _PARTITION.size + 1, _PARTITION.size):
        entry = data[at : at + _PARTITION.size]
        if entry.startswith(_MD5_MAGIC):
            if entry[16:] != hashlib.md5(data[:at], usedforsecurity=False).digest():
                raise ImageError("Incorrect MD5 checksum")
            return tuple(found)
        if found and entry.startswith(b"\xff" * 4):
            return tuple(found)
        magic, type_, subtype, offset, size, name, flags = _PARTITION.unpack(entry)
        if magic != _PARTITION_MAGIC:
            raise ImageError(f"partition {len(found)} invalid magic number 0x{magic:x}")
        found.append(
            Partition(name.split(b"\0")[0].decode("latin-1"), type_, subtype, offset, size, bool(flags & 1))
        )
    raise ImageError("partition table has no terminating entry, not valid")


def otadata(sequence: int) -> bytes:
    """An otadata partition that names boot slot (sequence - 1) % slots; 0: a blank one."""
    if sequence == 0:
        return b"\xff" * (2 * SECTOR)
    crc = zlib.crc32(struct.pack("<I", sequence), 0xFFFFFFFF)
    entry = _OTA_ENTRY.pack(sequence, b"\xff" * 20, _OTA_VALID, crc)
    return entry.ljust(2 * SECTOR, b"\xff")


def parse_otadata(data: bytes) -> int:
    """The sequence number of the valid entry that counts; 0: none (bootloader_common_get_active_otadata)."""
    best = 0
    for at in (0, SECTOR):
        if len(data) < at + _OTA_ENTRY.size:
            continue
        sequence, _, state, crc = _OTA_ENTRY.unpack_from(data, at)
        invalid = state in {_OTA_INVALID, _OTA_ABORTED}
        if (
            sequence != 0xFFFFFFFF
            and not invalid
            and crc == zlib.crc32(struct.pack("<I", sequence), 0xFFFFFFFF)
        ):
            best = max(best, sequence)
    return best
