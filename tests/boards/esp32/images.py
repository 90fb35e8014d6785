"""Images as ESP-IDF's tools make them: applications and bootloaders. They hold no code.

    app = app_image("esp32s3", "sensor-app", "1.4.0", {"firmware": "application"}, size=200_000)
    firmware = parse_image(app)        # firmware.version, firmware.digest, firmware.marker

`esptool image-info` takes them for genuine. A simulated chip knows what to do with one by its *marker*, a
JSON map that stands behind its descriptor. Layouts: ESP-IDF v5, `esp_app_format.h`, `esp_app_desc.h` and
`esp_bootloader_desc.h`. Partition tables and otadata: `boards.esp32.partitions`; signatures:
`boards.esp32.signing`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

IDF_VERSION = "v5.4.1"

_IMAGE_MAGIC, _CHECKSUM_SEED = 0xE9, 0xEF
_HEADER = struct.Struct("<BBBBI" + "BBBBHBHH4sB")
_SEGMENT = struct.Struct("<II")
_MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS
_APP_DESC = struct.Struct("<II8s32s32s16s16s32s32sHHB3s72s")
_APP_DESC_MAGIC = 0xABCD5432
_BOOT_DESC = struct.Struct("<B3sI32s24s16s")
_BOOT_DESC_MAGIC = 0x50
_XTENSA = frozenset({0, 2, 9})  # the chips of that instruction set
_MARKER = b"SIMULATED-ESP32\0"


class ImageError(Exception):
    """These bytes are no such thing; the message says why."""


@dataclass(frozen=True, slots=True)
class Family:
    """What of the chip the layout of images depends on. Addresses as the linker scripts have them."""

    chip_id: int  # esp_chip_id_t
    bootloader_offset: int
    drom: int
    dram: int
    iram: int


FAMILIES: Mapping[str, Family] = {
    "esp32": Family(0, 0x1000, 0x3F400000, 0x3FFF0000, 0x40080000),
    "esp32s2": Family(2, 0x1000, 0x3F000000, 0x3FFE0000, 0x40024000),
    "esp32s3": Family(9, 0x0, 0x3C000000, 0x3FCD5000, 0x40378000),
    "esp32c3": Family(5, 0x0, 0x3C000000, 0x3FCD5000, 0x40380000),
    "esp32c6": Family(13, 0x0, 0x42800000, 0x4086A000, 0x40800000),
    "esp32h2": Family(16, 0x0, 0x42800000, 0x4083A000, 0x40800000),
    "esp32p4": Family(18, 0x2000, 0x48000000, 0x4FF29000, 0x4FF40000),
}


@dataclass(frozen=True, slots=True)
class Firmware:
    """What an image says of itself."""

    chip_id: int
    length: int  # bytes with checksum and digest; a signature begins at the next sector
    digest: bytes  # the SHA-256 at its end, over all before it
    project: str | None  # None: a bootloader
    version: str
    marker: Mapping[str, object]  # empty: not made for a simulated chip


def _filling(seed: str, size: int) -> bytes:
    """Bytes that compress about as code does, to two thirds; the same for a seed."""
    dense = hashlib.shake_128(seed.encode()).digest(max(0, size) * 5 // 8 + 16)
    chunks = (dense[at : at + 10] + b"\0\0\x01\0\0\0" for at in range(0, len(dense), 10))
    return b"".join(chunks)[: max(0, size)]


def _assemble(family: Family, segments: Iterable[tuple[int, bytes]], entry: int) -> bytes:
    """Header, segments, checksum, SHA-256."""
    parts = [(address, data + bytes(-len(data) % 4)) for address, data in segments]
    flash_mode, flash_size_and_speed = 2, 0x20  # DIO; 4 MB, 40 MHz
    image = bytearray(
        _HEADER.pack(
            _IMAGE_MAGIC, len(parts), flash_mode, flash_size_and_speed, entry,
            0xEE, 0, 0, 0, family.chip_id, 0, 0, 0xFFFF, bytes(4), 1,
        )
    )  # fmt: skip
    checksum = _CHECKSUM_SEED
    for address, data in parts:
        image += _SEGMENT.pack(address, len(data)) + data
        checksum ^= _xor(data)
    image += bytes(15 - len(image) % 16) + bytes([checksum])
    return bytes(image) + hashlib.sha256(image).digest()


def _xor(data: bytes) -> int:
    folded = int.from_bytes(data, "little")
    bits = 1 << max(3, (len(data) * 8 - 1).bit_length())
    while bits > 8:
        bits //= 2
        folded = (folded >> bits) ^ (folded & ((1 << bits) - 1))
    return folded


def _marker(marker: Mapping[str, object]) -> bytes:
    text = json.dumps(dict(marker), sort_keys=True).encode()
    return _MARKER + struct.pack("<I", len(text)) + text


def app_image(
    chip: str, project: str, version: str, marker: Mapping[str, object], *, size: int = 96 * 1024
) -> bytes:
    """An application, unsigned: the descriptor is at offset 0x20, as ESP-IDF wants it.

    Args:
        chip: of `FAMILIES`.
        project: at most 31 bytes.
        version: at most 31 bytes.
        marker: what a simulated chip does with it (`boards.esp32.firmware`).
        size: of its content in bytes, about; two versions differ in most of them.
    """
    family = FAMILIES[chip]
    elf_sha256 = hashlib.sha256(f"{chip} {project} {version}".encode()).digest()
    descriptor = _APP_DESC.pack(
        _APP_DESC_MAGIC, 0, b"", version.encode(), project.encode(), b"12:00:00", b"Jan  1 2026",
        IDF_VERSION.encode(), elf_sha256, 0, 0xFFFF, 16, b"", b"",
    )  # fmt: skip
    code = _filling(f"code {project} {version}", min(size // 8, 64 * 1024))
    head = descriptor + _marker(marker)
    rodata = head + _filling(f"rodata {project} {version}", size - len(head) - len(code))
    return _assemble(family, [(family.drom + 0x20, rodata), (family.iram, code)], family.iram + 0x100)


def bootloader_image(
    chip: str,
    version: int,
    marker: Mapping[str, object],
    *,
    size: int = 14 * 1024,
    table_offset: int = 0x8000,
    tells: bool = True,
) -> bytes:
    """A bootloader, unsigned. With its signature it must end below the table: on the P4 16 KiB below 0x8000.

    Args:
        chip: of `FAMILIES`.
        version: its number.
        marker: what a simulated chip does with it (`boards.esp32.boot`).
        size: of its content in bytes, about.
        table_offset: CONFIG_PARTITION_TABLE_OFFSET of its build.
        tells: whether the code that reads the table is there, as compilers write it.
    """
    family = FAMILIES[chip]
    marker = {**marker, "table_offset": table_offset}
    descriptor = _BOOT_DESC.pack(
        _BOOT_DESC_MAGIC, b"", version, IDF_VERSION.encode(), b"Jan  1 2026 12:00:00", b""
    )
    head = descriptor + _marker(marker)
    head += bytes(-len(head) % 4) + (_reads_table(family, table_offset) if tells else b"")
    seed = f"boot {version} {sorted(marker.items())}"
    return _assemble(
        family, [(family.dram, head + _filling(seed, size - len(head)))], family.iram + 0x100
    )  # one segment: on some families all memory is both data's and code's


def _reads_table(family: Family, table_offset: int) -> bytes:
    """The arguments of `bootloader_mmap(table_offset, 0xC00)`, as GCC loads them."""
    if family.chip_id in _XTENSA:
        literals = struct.pack("<II", 0xC00, table_offset)  # at the begin of the code, four bytes a word
        words = (-2, -2)  # back from the word behind each instruction: L32R a11, and three bytes on L32R a10
        return literals + b"".join(
            struct.pack("<Bh", register << 4 | 1, back)
            for register, back in zip((11, 10), words, strict=True)
        )
    upper = 0x37 | 10 << 7 | table_offset  # lui a0
    return struct.pack("<HII", 0x6585, 0xC0058593, upper)  # c.lui a1, 1; addi a1, a1, -1024


def table_offset(bootloader: Firmware) -> int:
    """Where this bootloader looks for the partition table, bytes from the start of flash."""
    offset = bootloader.marker["table_offset"]
    assert isinstance(offset, int)
    return offset


def parse_image(data: bytes) -> Firmware:
    """Reads and checks the image that `data` begins with: magic, segments, checksum, digest.

    Raises:
        ImageError: with the text of ESP-IDF's esp_image_format.c where it has one.
    """
    if len(data) < _HEADER.size or data[0] != _IMAGE_MAGIC:
        raise ImageError(f"invalid magic byte 0x{data[0] if data else 0:02x}")
    header = _HEADER.unpack_from(data)
    count, chip_id, appended = header[1], header[9], header[14]
    if not 0 < count <= _MAX_SEGMENTS:
        raise ImageError(f"invalid segment count {count}")
    at, checksum, first = _HEADER.size, _CHECKSUM_SEED, b""
    for number in range(count):
        segment, at = _segment(data, at)
        checksum ^= _xor(segment)
        first = segment if number == 0 else first
    at += 16 - at % 16
    if data[at - 1 : at] != bytes([checksum]):
        read = data[at - 1 : at].hex() or "nothing"
        raise ImageError(f"Checksum failed. Calculated 0x{checksum:x} read 0x{read}")
    digest = hashlib.sha256(data[:at]).digest()
    if appended != 1 or data[at : at + 32] != digest:
        raise ImageError("Image hash failed - image is corrupt")
    project, version, rest = _descriptor(first)
    return Firmware(chip_id, at + 32, digest, project, version, _read_marker(rest))


def _segment(data: bytes, at: int) -> tuple[bytes, int]:
    if len(data) < at + _SEGMENT.size:
        raise ImageError("image ends in a segment header")
    _, length = _SEGMENT.unpack_from(data, at)
    end = at + _SEGMENT.size + length
    if length % 4 or end > len(data):
        raise ImageError(f"invalid segment length 0x{length:x}")
    return data[at + _SEGMENT.size : end], end


def _descriptor(segment: bytes) -> tuple[str | None, str, bytes]:
    """Project, version and what follows the descriptor."""
    if len(segment) >= _APP_DESC.size and segment[:4] == struct.pack("<I", _APP_DESC_MAGIC):
        fields = _APP_DESC.unpack_from(segment)
        return _text(fields[4]), _text(fields[3]), segment[_APP_DESC.size :]
    if len(segment) >= _BOOT_DESC.size and segment[0] == _BOOT_DESC_MAGIC:
        return None, str(_BOOT_DESC.unpack_from(segment)[2]), segment[_BOOT_DESC.size :]
    raise ImageError("image without a descriptor")


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("latin-1")


def _read_marker(data: bytes) -> Mapping[str, object]:
    if not data.startswith(_MARKER) or len(data) < len(_MARKER) + 4:
        return {}
    (length,) = struct.unpack_from("<I", data, len(_MARKER))
    text = data[len(_MARKER) + 4 : len(_MARKER) + 4 + length]
    try:
        marker = json.loads(text)
    except ValueError:
        return {}
    return marker if isinstance(marker, dict) else {}
