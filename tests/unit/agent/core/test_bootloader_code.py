"""Genuine bootloaders say where they look for the partition table; what is none says nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.bootloader_code import table_offsets
from agent.core.esp_image import parse_image
from boards.esp32.images import FAMILIES, app_image, bootloader_image

GENUINE = sorted((Path(__file__).parents[3] / "vectors" / "bootloaders").glob("*.bin"))
WORD_0X8000 = struct.pack("<I", 0x8000)
# c.lui of RISC-V, into the first argument of a function of two, and the second of a message of three.
LUI_0X8000 = {struct.pack("<H", 0x6021 | register << 7): register for register in (10, 13)}


def names(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", GENUINE, ids=names)
def test_a_genuine_one_looks_where_esp_idf_has_the_table(path: Path) -> None:
    image = path.read_bytes()
    assert parse_image(image).app is None
    assert table_offsets(image) == {0x8000}


# The ESP32-S3 of v5.1 has its constant in an instruction that shifts.
@pytest.mark.parametrize("path", [path for path in GENUINE if path.stem != "esp32s3-idf-5.1"], ids=names)
@pytest.mark.parametrize("place", [0x9000, 0xC000, 0x10000])
def test_the_same_code_built_for_another_place_says_that_one(path: Path, place: int) -> None:
    image = path.read_bytes().replace(WORD_0X8000, struct.pack("<I", place))
    for code, register in LUI_0X8000.items():
        image = image.replace(code, struct.pack("<H", 0x6001 | register << 7 | place >> 12 << 2))
    assert table_offsets(image) == {place}


@pytest.mark.parametrize("chip", FAMILIES)
@pytest.mark.parametrize("place", [0x8000, 0x9000, 0x10000, 0x40000])
def test_simulated_ones_say_it_in_code_too(chip: str, place: int) -> None:
    assert table_offsets(bootloader_image(chip, 3, {}, table_offset=place)) == {place}
    assert table_offsets(bootloader_image(chip, 3, {}, table_offset=place, tells=False)) == frozenset()


@pytest.mark.parametrize("chip", FAMILIES)
def test_an_application_says_nothing(chip: str) -> None:
    assert table_offsets(app_image(chip, "sensor", "1.0.0", {})) == frozenset()


@pytest.mark.parametrize("path", GENUINE, ids=names)
def test_a_cut_one_says_nothing_else(path: Path) -> None:
    image = path.read_bytes()
    for end in range(0, len(image), 997):
        assert table_offsets(image[:end]) <= {0x8000}


def test_more_code_than_fits_into_a_chip_is_not_read() -> None:
    assert table_offsets(bootloader_image("esp32s3", 3, {}, size=0x41000)) == frozenset()


LUI_PAIRS = struct.pack("<HIH", 0x6585, 0xC0058593, 0x6521)  # c.lui a1; addi a1, -1,024; c.lui a0
NO_PAGE = (
    struct.pack("<H", 0x6505),
    struct.pack("<I", 0xC0058593),
)  # c.lui a0, many times; addi a1, of nothing


@pytest.mark.parametrize(
    ("chip", "code", "places"),
    [
        (5, LUI_PAIRS * 0x7F00, {0x8000}),
        (5, NO_PAGE[0] * 0xFF00 + NO_PAGE[1] * 0x7F00, set()),
        (0, bytes.fromhex("1c0aa0aa11") * 0xCC00, set()),  # movi.n a10; slli a10
    ],
)
def test_code_that_is_nothing_but_constants_is_read_as_any_other(
    chip: int, code: bytes, places: set[int]
) -> None:
    """Each is looked at with its neighbours alone: with all others this would take hours."""
    image = struct.pack("<BB10xH10xII", 0xE9, 1, chip, 0x40380000, len(code)) + code
    assert table_offsets(image) == places


@given(st.binary(max_size=400), st.sampled_from([0, 2, 5, 9, 13, 18]), st.integers(0, 255))
def test_any_bytes_are_read_without_a_stumble(data: bytes, chip: int, segments: int) -> None:
    header = struct.pack("<BB10xH10x", 0xE9, segments, chip)
    table_offsets(data)
    table_offsets(header + data)
    table_offsets(header + struct.pack("<II", 0xFFFFFFF0, len(data)) + data)
