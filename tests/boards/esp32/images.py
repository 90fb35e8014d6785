"""Images as ESP-IDF's tools make them: applications, bootloaders, partition tables, otadata. They hold no code.

    app = app_image("esp32s3", "sensor-app", "1.4.0", {"firmware": "application"}, size=200_000)
    firmware = parse_image(app)        # firmware.version, firmware.digest, firmware.marker
    signed = SigningKey.make(folder).sign(app)

`esptool image-info` takes them for genuine. A simulated chip knows what to do with one by its *marker*, a JSON
map that stands behind its descriptor. Layouts: ESP-IDF v5, `esp_app_format.h`, `esp_app_desc.h`,
`esp_bootloader_desc.h`, `esp_flash_partitions.h`.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SECTOR = 4096  # bytes: what flash erases, and what a signature block fills
PARTITION_TABLE_OFFSET = 0x8000
PARTITION_TABLE_BYTES = 0xC00  # ESP_PARTITION_TABLE_MAX_LEN
IDF_VERSION = "v5.4.1"

_IMAGE_MAGIC, _CHECKSUM_SEED = 0xE9, 0xEF
_HEADER = struct.Struct("<BBBBI" + "BBBBHBHH4sB")
_SEGMENT = struct.Struct("<II")
_MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS
_APP_DESC = struct.Struct("<II8s32s32s16s16s32s32sHHB3s72s")
_APP_DESC_MAGIC = 0xABCD5432
_BOOT_DESC = struct.Struct("<B3sI32s24s16s")
_BOOT_DESC_MAGIC = 0x50
_MARKER = b"SIMULATED-ESP32\0"
_PARTITION = struct.Struct("<HBBII16sI")
_PARTITION_MAGIC, _MD5_MAGIC = 0x50AA, b"\xeb\xeb" + b"\xff" * 14
_OTA_ENTRY = struct.Struct("<I20sII")
_OTA_VALID = 2  # ESP_OTA_IMG_VALID


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
    chip: str, version: int, marker: Mapping[str, object], *, size: int = 14 * 1024
) -> bytes:
    """A bootloader, unsigned. With its signature it must end below 0x8000: at most 16 KiB on the P4."""
    family = FAMILIES[chip]
    descriptor = _BOOT_DESC.pack(
        _BOOT_DESC_MAGIC, b"", version, IDF_VERSION.encode(), b"Jan  1 2026 12:00:00", b""
    )
    head = descriptor + _marker(marker)
    code = _filling(f"boot code {version} {sorted(marker.items())}", size // 2)
    data = head + _filling(f"boot data {version}", size - len(head) - len(code))
    return _assemble(family, [(family.dram, data), (family.iram, code)], family.iram + 0x100)


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
        raise ImageError(
            "Checksum failed. Calculated 0x%x read 0x%x" % (checksum, (data[at - 1 : at] or b"\0")[0])
        )
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
    def is_app(self) -> bool:
        return self.type == 0


FACTORY, OTA_0 = 0x00, 0x10  # subtypes of app
DATA_OTA, DATA_NVS, DATA_NVS_KEYS = 0x00, 0x02, 0x04  # subtypes of data


def default_partitions(factory_bytes: int = 0x100000, ota_bytes: int = 0x180000) -> tuple[Partition, ...]:
    """The line's layout; with the default sizes it fits into 4 MB."""
    return (
        Partition("nvs", 1, DATA_NVS, 0x9000, 0x6000),
        Partition("otadata", 1, DATA_OTA, 0xF000, 0x2000),
        Partition("nvs_keys", 1, DATA_NVS_KEYS, 0x11000, 0x1000, encrypted=True),
        Partition("factory", 0, FACTORY, 0x20000, factory_bytes),
        Partition("ota_0", 0, OTA_0, 0x20000 + factory_bytes, ota_bytes),
    )


def partition_table(partitions: Iterable[Partition]) -> bytes:
    """As gen_esp32part.py writes it: entries, MD5 entry, 0xFF up to 0xC00 bytes."""
    entries = b"".join(
        _PARTITION.pack(
            _PARTITION_MAGIC, part.type, part.subtype, part.offset, part.size, part.name.encode(), part.encrypted
        )
        for part in partitions
    )  # fmt: skip
    table = entries + _MD5_MAGIC + hashlib.md5(entries, usedforsecurity=False).digest()
    return table.ljust(PARTITION_TABLE_BYTES, b"\xff")


def parse_partition_table(data: bytes) -> tuple[Partition, ...]:
    """Reads a table; its MD5 entry must be there and right.

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
        magic, type_, subtype, offset, size, name, flags = _PARTITION.unpack(entry)
        if magic != _PARTITION_MAGIC:
            raise ImageError(f"partition {len(found)} invalid magic number 0x{magic:x}")
        found.append(Partition(_text(name), type_, subtype, offset, size, bool(flags & 1)))
    raise ImageError("partition table has no MD5 checksum")


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
        invalid = state in {3, 4}  # ESP_OTA_IMG_INVALID, ESP_OTA_IMG_ABORTED
        if (
            sequence != 0xFFFFFFFF
            and not invalid
            and crc == zlib.crc32(struct.pack("<I", sequence), 0xFFFFFFFF)
        ):
            best = max(best, sequence)
    return best


class SigningKey:
    """A secure boot v2 key, RSA-3072. Making one takes about a second: share it within a test session."""

    def __init__(self, path: Path) -> None:
        self.path = path  # PEM
        self._signed: dict[bytes, bytes] = {}

    @classmethod
    def make(cls, folder: Path, name: str = "secure-boot") -> SigningKey:
        """Makes a key and keeps it as `<folder>/<name>.pem`."""
        key = rsa.generate_private_key(65537, 3072)
        path = folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return cls(path)

    @property
    def public_pem(self) -> str:
        key = serialization.load_pem_private_key(self.path.read_bytes(), None)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def sign(self, image: bytes) -> bytes:
        """The image, padded to whole sectors, with its signature sector: `espsecure sign-data --version 2`.

        Raises:
            RuntimeError: espsecure refused.
        """
        name = hashlib.sha256(image).digest()
        if name not in self._signed:
            self._signed[name] = self._run_espsecure(image)
        return self._signed[name]

    def _run_espsecure(self, image: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            plain, signed = Path(folder, "image.bin"), Path(folder, "signed.bin")
            plain.write_bytes(image)
            command = [
                "sign-data",
                "--version",
                "2",
                "--keyfile",
                self.path.resolve(),
                "--output",
                signed,
                plain,
            ]
            done = subprocess.run(
                [sys.executable, "-m", "espsecure", *command], cwd=folder, capture_output=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"espsecure sign-data: {done.stdout.decode()}{done.stderr.decode()}")
            return signed.read_bytes()
