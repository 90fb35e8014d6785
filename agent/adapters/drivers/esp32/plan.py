"""What is written where, and in which order: a power cut anywhere leaves a chip that can be finished. Pure.

Two layouts: `manufacturing` and `final`. The order of writing is part of them: a secure bootloader that
starts locks the chip with whatever stands there, so it is the first to be taken away and the last to be put
in place. Three looks find out what is missing: the head of each part (`heads`), all of it, its blocks
(`blocks`).
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.bundle import Image, Manifest, Role
from agent.core.partition_table import APP, DATA, FACTORY, NVS_KEYS, OTADATA, Partition, find

SECTOR = 0x1000  # bytes: what flash erases at once
BLOCK = 0x10000  # bytes: images are compared and written in blocks of this size
_BLANK = b"\xff"

# esp_ota_select_entry_t: u32 ota_seq, 20 bytes of label, u32 state, u32 CRC-32 of ota_seq.
_SELECT = struct.Struct("<I20sII")
_UNDEFINED = 0xFFFFFFFF  # ESP_OTA_IMG_UNDEFINED: no rollback is waiting
_APPLICATION_SLOT, _MANUFACTURING_SLOT = 0, 1  # ota_0; ota_1 where there is no factory partition


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that shall stand in flash, by their MD5s, as the chip answers them."""

    size: int
    md5: str
    head: str  # of the first sector, or all if it is shorter
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A region of flash and what shall stand there. `data` is None for an image of the bundle."""

    name: str
    offset: int
    content: Content
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A part of flash, bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a target that is to be written; `start` and `end` count from the target's beginning."""

    target: Target
    start: int
    end: int


def content(data: bytes) -> Content:
    """Describes bytes."""
    blocks = tuple(md5(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK))
    return Content(len(data), md5(data), md5(data[:SECTOR]), blocks)


def md5(data: bytes) -> str:
    """The MD5 that the chip computes over flash: against damage; SHA-256 was checked against tampering."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def boot_slot(size: int, slot: int) -> bytes:
    """otadata that starts ota_0 or ota_1; `size` is the partition's, bytes."""
    sequence = (slot + 1).to_bytes(4, "little")  # (sequence - 1) mod the number of slots
    entry = _SELECT.pack(
        slot + 1, _BLANK * 20, _UNDEFINED, binascii.crc32(sequence, 0xFFFFFFFF)
    )  # as ESP-IDF's otatool.py computes it
    return entry + _BLANK * (size - len(entry))


def manufacturing(
    manifest: Manifest, contents: Mapping[str, Content], partitions: tuple[Partition, ...]
) -> tuple[Target, ...]:
    """The layout of the manufacturing firmware: the ordinary bootloader first, otadata last.

    Blank otadata starts the factory partition. Where there is none it names ota_1.
    """
    order = (Role.BOOTLOADER, Role.PARTITION_TABLE, Role.MANUFACTURING, Role.APPLICATION, Role.DATA)
    targets = [_target(image, contents) for role in order for image in manifest.images if image.role is role]
    otadata = find(partitions, DATA, OTADATA)
    if otadata is not None:
        blank = find(partitions, APP, FACTORY) is not None
        content_ = _BLANK * otadata.size if blank else boot_slot(otadata.size, _MANUFACTURING_SLOT)
        targets.append(_bytes("otadata", otadata, content_))
    return tuple(targets)


def final(
    manifest: Manifest, contents: Mapping[str, Content], partitions: tuple[Partition, ...], *, mend: bool
) -> tuple[Target, ...]:
    """The layout in which the application runs: otadata first, the secure bootloader last.

    With `mend` also what a first boot that was cut may have left half encrypted: data in encrypted
    partitions, and nvs_keys, which would be encrypted twice and are blank until the application runs.
    """
    targets = []
    otadata, keys = find(partitions, DATA, OTADATA), find(partitions, DATA, NVS_KEYS)
    if otadata is not None:
        targets.append(_bytes("otadata", otadata, boot_slot(otadata.size, _APPLICATION_SLOT)))
    if mend and keys is not None:
        targets.append(_bytes("nvs_keys", keys, _BLANK * keys.size))
    secure = manifest.image(Role.SECURE_BOOTLOADER) is not None
    bootloader = Role.SECURE_BOOTLOADER if secure else Role.BOOTLOADER
    roles = [Role.PARTITION_TABLE, Role.APPLICATION, *[Role.DATA] * mend, bootloader]
    for role in roles:
        images = (image for image in manifest.images if image.role is role)
        targets += [
            _target(image, contents)
            for image in images
            if role is not Role.DATA or _is_encrypted(image, partitions)
        ]
    return tuple(targets)


def _is_encrypted(image: Image, partitions: tuple[Partition, ...]) -> bool:
    return any(one.encrypted and one.offset <= image.offset < one.end for one in partitions)


def _target(image: Image, contents: Mapping[str, Content]) -> Target:
    return Target(image.name, image.offset, contents[image.name])


def _bytes(name: str, partition: Partition, data: bytes) -> Target:
    return Target(name, partition.offset, content(data), data)


def heads(targets: Sequence[Target]) -> list[Region]:
    """The first look: the first sector of each, which tells a blank chip from a written one."""
    return [Region(target.offset, min(SECTOR, target.content.size)) for target in targets]


def is_blank(region: Region, answer: str) -> bool:
    """True if the region is erased."""
    return answer == md5(_BLANK * region.size)


def is_settled(target: Target, head: str) -> bool:
    """True if the head tells all: the flash is blank there, or the target not longer than its head."""
    region = heads([target])[0]
    short = target.content.size <= SECTOR
    return short or (is_blank(region, head) and head != target.content.head)


def blocks(target: Target) -> list[Region]:
    """The blocks of a target, for the last look: which of them differ."""
    size = target.content.size
    return [Region(target.offset + start, min(BLOCK, size - start)) for start in range(0, size, BLOCK)]


def whole(target: Target) -> Piece:
    """All of a target."""
    return Piece(target, 0, target.content.size)


def differing(target: Target, answers: Sequence[str]) -> list[Piece]:
    """The parts of a target that differ, from the MD5s of its blocks; neighbours are written as one."""
    pieces: list[Piece] = []
    for number, (expected, answer) in enumerate(zip(target.content.blocks, answers, strict=True)):
        if expected == answer:
            continue
        start = number * BLOCK
        end = min(start + BLOCK, target.content.size)
        if pieces and pieces[-1].end == start:
            pieces[-1] = Piece(target, pieces[-1].start, end)
        else:
            pieces.append(Piece(target, start, end))
    return pieces


_APP_DESCRIPTOR = 0x20  # behind the image's header and its first segment's
DESCRIPTOR_HEAD = 0x50  # bytes from the image's beginning that hold magic and version
_APP_MAGIC = 0xABCD5432


def installed_version(head: bytes) -> str | None:
    """The version in an application's descriptor (esp_app_desc_t), None where there is none."""
    magic, version = (
        struct.unpack_from("<I12x32s", head, _APP_DESCRIPTOR) if len(head) >= DESCRIPTOR_HEAD else (0, b"")
    )
    if magic != _APP_MAGIC:
        return None
    text, _, _ = version.partition(b"\0")
    return text.decode("ascii") if text.isascii() else None
