"""What is written where, in which order, and what is left alone."""

from __future__ import annotations

import binascii
import hashlib
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.drivers.esp32 import plan
from agent.adapters.drivers.esp32.plan import BLOCK, SECTOR, Piece, Region, Target
from agent.core.bundle import Image, Manifest, Role
from agent.core.partition_table import Partition

NAMES = ("bootloader", "secure-bootloader", "partition-table", "manufacturing", "application")
DATA = {name: name.encode() * 1_000 for name in NAMES} | {"partition-table": b"t" * 0xC00}
DATA |= {"storage": b"s" * 5_000, "plain": b"p" * 5_000}
OFFSETS = {"secure-bootloader": 0, "bootloader": 0, "partition-table": 0x8000, "manufacturing": 0x20000}
OFFSETS |= {"application": 0x120000, "storage": 0x300000, "plain": 0x310000}
ROLES = {"storage": Role.DATA, "plain": Role.DATA}
PARTITIONS = (
    Partition("nvs", 1, 2, 0x9000, 0x6000, encrypted=False),
    Partition("otadata", 1, 0, 0xF000, 0x2000, encrypted=False),
    Partition("nvs_keys", 1, 4, 0x11000, 0x1000, encrypted=True),
    Partition("factory", 0, 0, 0x20000, 0x100000, encrypted=False),
    Partition("ota_0", 0, 0x10, 0x120000, 0x100000, encrypted=False),
    Partition("storage", 1, 0x82, 0x300000, 0x10000, encrypted=True),
    Partition("plain", 1, 0x82, 0x310000, 0x10000, encrypted=False),
)


def manifest(*left_out: str) -> Manifest:
    images = tuple(
        Image(name, ROLES.get(name) or Role(name), OFFSETS[name], len(data), bytes(32), None, None, None)
        for name, data in DATA.items()
        if name not in left_out
    )
    return Manifest("sensor", "1", "esp32s3", 4 << 20, images, {}, None, ())


CONTENTS = {name: plan.content(data) for name, data in DATA.items()}


def names(targets: tuple[Target, ...]) -> list[str]:
    return [target.name for target in targets]


def test_the_manufacturing_layout_takes_the_secure_bootloader_away_first() -> None:
    targets = plan.manufacturing(manifest(), CONTENTS, PARTITIONS)
    ours = ["bootloader", "partition-table", "manufacturing", "application", "storage", "plain", "otadata"]
    assert names(targets) == ours
    assert targets[-1].data == b"\xff" * 0x2000


def test_the_final_layout_puts_the_secure_bootloader_in_place_last() -> None:
    targets = plan.final(manifest(), CONTENTS, PARTITIONS, mend=False)
    assert names(targets) == ["otadata", "partition-table", "application", "secure-bootloader"]


def test_after_a_cut_first_boot_what_was_half_encrypted_is_written_again() -> None:
    targets = plan.final(manifest(), CONTENTS, PARTITIONS, mend=True)
    mended = ["otadata", "nvs_keys", "partition-table", "application", "storage", "secure-bootloader"]
    assert names(targets) == mended


def test_a_bundle_with_one_bootloader() -> None:
    targets = plan.final(manifest("secure-bootloader"), CONTENTS, PARTITIONS, mend=False)
    assert names(targets)[-1] == "bootloader"


def test_neither_layout_touches_the_settings() -> None:
    every = plan.manufacturing(manifest(), CONTENTS, PARTITIONS)
    every += plan.final(manifest(), CONTENTS, PARTITIONS, mend=True)
    nvs = range(0x9000, 0xF000)
    for target in every:
        written = range(target.offset, target.offset + -(-target.content.size // SECTOR) * SECTOR)
        assert max(written.start, nvs.start) >= min(written.stop, nvs.stop), target.name


def test_a_table_without_otadata_has_nothing_to_switch() -> None:
    partitions = tuple(one for one in PARTITIONS if one.label != "otadata")
    assert "otadata" not in names(plan.manufacturing(manifest(), CONTENTS, partitions))
    assert "otadata" not in names(plan.final(manifest(), CONTENTS, partitions, mend=False))


def test_otadata_is_what_esp_idf_reads() -> None:
    data = plan.boot_slot(0x2000, 0)
    sequence, label, state, crc = struct.unpack_from("<I20sII", data)
    assert (sequence, label, state) == (1, b"\xff" * 20, 0xFFFFFFFF)
    # esp_rom_crc32_le(UINT32_MAX, …) of four bytes 01 00 00 00: the value that bootloaders compare.
    assert crc == binascii.crc32(b"\x01\0\0\0", 0xFFFFFFFF) == 0x4743989A
    assert data[32:] == b"\xff" * (0x2000 - 32)


def target(data: bytes, offset: int = 0x10000) -> Target:
    return Target("image", offset, plan.content(data))


def test_a_blank_flash_settles_it_at_the_first_look() -> None:
    one = target(b"x" * 100_000)
    (head,) = plan.heads([one])
    assert head == Region(0x10000, SECTOR)
    assert plan.is_settled(one, plan.md5(b"\xff" * SECTOR))
    assert not plan.is_settled(one, plan.md5(b"y" * SECTOR))


def test_a_short_target_is_its_own_head() -> None:
    one = target(b"x" * 100)
    assert plan.heads([one]) == [Region(0x10000, 100)]
    assert plan.is_settled(one, plan.md5(b"y" * 100))


def test_an_image_that_begins_blank_is_looked_at_wholly() -> None:
    one = target(b"\xff" * SECTOR + b"x" * 100_000)
    assert not plan.is_settled(one, plan.md5(b"\xff" * SECTOR))


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@given(st.integers(1, 5 * BLOCK), st.sets(st.integers(0, 4)))
def test_exactly_the_blocks_that_differ_are_written(size: int, damaged: set[int]) -> None:
    data = bytes(size)
    one = target(data)
    flash = bytearray(data)
    count = len(plan.blocks(one))
    for number in damaged:
        if number < count:
            flash[number * BLOCK] ^= 1
    answers = [md5(bytes(flash[r.offset - 0x10000 : r.offset - 0x10000 + r.size])) for r in plan.blocks(one)]
    pieces = plan.differing(one, answers)
    for piece in pieces:
        assert piece.start % BLOCK == 0
        flash[piece.start : piece.end] = data[piece.start : piece.end]
    assert flash == data
    assert sum(piece.end - piece.start for piece in pieces) == sum(
        min(BLOCK, size - number * BLOCK) for number in damaged if number < count
    )
    assert all(first.end < second.start for first, second in itertools.pairwise(pieces))


def test_neighbouring_blocks_are_one_piece() -> None:
    one = target(b"x" * (3 * BLOCK))
    assert plan.differing(one, ["", "", one.content.blocks[2]]) == [Piece(one, 0, 2 * BLOCK)]


def test_the_installed_version() -> None:
    head = bytes(0x20) + struct.pack("<II8x32s", 0xABCD5432, 0, b"1.4.0-rc2")
    assert plan.installed_version(head) == "1.4.0-rc2"


@pytest.mark.parametrize(
    "head", [b"", bytes(0x50), b"\xff" * 0x50, bytes(0x20) + struct.pack("<I", 0xABCD5432)]
)
def test_no_application_has_no_version(head: bytes) -> None:
    assert plan.installed_version(head) is None


@given(st.binary(max_size=0x60))
def test_any_bytes_have_a_version_or_none(head: bytes) -> None:
    found = plan.installed_version(head)
    assert found is None or found.isascii()
