"""Where an ESP-IDF bootloader looks for the partition table, read out of its code.

No descriptor says it: CONFIG_PARTITION_TABLE_OFFSET is a constant of the call
`bootloader_mmap(ESP_PARTITION_TABLE_OFFSET, ESP_PARTITION_TABLE_MAX_LEN)` (bootloader_support,
bootloader_utility.c), and of the message that tells of its failure. So two constants are loaded side by
side: 0xC00, and the place. `table_offsets` finds them in the code of both instruction sets. It is tested with
genuine bootloaders of ESP-IDF v4.4 to v6.1 (tests/vectors/bootloaders).

What another compiler or bootloader does may not be found: nothing is told then, and nothing is concluded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_XTENSA = frozenset({0, 2, 9})  # esp_chip_id_t of ESP32, S2 and S3; all others are RISC-V
_TABLE_LENGTH = 0xC00  # ESP_PARTITION_TABLE_MAX_LEN
_SECTOR = 0x1000
_MOST = 1 << 24  # bytes: bundle.toml takes no place beyond
_MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS
_MAX_CODE = 0x40000  # bytes: a bootloader runs in the chip's memory, genuine ones have 30 KiB

# How far apart the two loads stand, bytes. Arguments go into neighbouring registers, among which the compiler
# may mix other instructions. Where it keeps both constants for later, they may be any registers, loaded one
# right after the other.
_ARGUMENTS_APART, _CONSTANTS_APART = 12, 6
_PAIR_APART = 8  # between both halves of a constant on Xtensa
_SHARED_APART = 64  # between `lui` and the `addi` that makes 0xC00 of it

_HEADER = struct.Struct("<BB10xH10x")
_SEGMENT = struct.Struct("<II")
_WORD, _HALF = struct.Struct("<I"), struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class _Load:
    """An instruction that puts a constant into a register."""

    address: int
    register: int
    value: int


@dataclass(frozen=True, slots=True)
class _Segment:
    address: int
    data: bytes


def table_offsets(image: bytes) -> frozenset[int]:
    """The places at which a bootloader looks for the table, in flash; empty where its code does not show it.

    Args:
        image: one that `parse_image` takes. Of other bytes nothing is found.
    """
    segments = tuple(_segments(image))
    if not segments or sum(len(segment.data) for segment in segments) > _MAX_CODE:
        return frozenset()
    xtensa = _HEADER.unpack_from(image)[2] in _XTENSA
    lengths: list[_Load] = []
    places: dict[int, list[_Load]] = {}  # by address
    for segment in segments:
        for load in _xtensa(segment, segments) if xtensa else _riscv(segment):
            if load.value == _TABLE_LENGTH:
                lengths.append(load)
            elif load.value % _SECTOR == 0 and 0 < load.value < _MOST:
                places.setdefault(load.address, []).append(load)
    return frozenset(
        place.value
        for length in lengths
        for address in range(length.address - _ARGUMENTS_APART, length.address + _ARGUMENTS_APART + 1)
        for place in places.get(address, ())
        if _belong_together(place, length, any_registers=xtensa)
    )


def _belong_together(place: _Load, length: _Load, *, any_registers: bool) -> bool:
    if place.register == length.register - 1:
        return True
    apart = abs(place.address - length.address)
    return any_registers and place.register != length.register and apart <= _CONSTANTS_APART


def _segments(image: bytes) -> Iterator[_Segment]:
    if len(image) < _HEADER.size:
        return
    position = _HEADER.size
    for _ in range(min(_HEADER.unpack_from(image)[1], _MAX_SEGMENTS)):
        if position + _SEGMENT.size > len(image):
            return
        address, size = _SEGMENT.unpack_from(image, position)
        position += _SEGMENT.size
        yield _Segment(address, image[position : position + size])
        position += size


def _xtensa(code: _Segment, segments: tuple[_Segment, ...]) -> Iterator[_Load]:
    """L32R out of the literals, and MOVI or MOVI.N with SLLI. Instructions begin at any byte."""
    data = code.data
    for at in range(len(data) - 2):
        first, second, third = data[at], data[at + 1], data[at + 2]
        operation = first & 0xF
        if operation == 0x1:  # L32R: a negative count of words from the next whole word
            words = (second | third << 8) - 0x10000
            value = _word(segments, ((code.address + at + 3) & ~3) + 4 * words)
            if value is not None:
                yield _Load(code.address + at, first >> 4, value)
        elif operation == 0xC and first < 0x80:  # MOVI.N: seven bits, of which three stand in the first byte
            small = (first & 0x70) | second >> 4
            yield from _shifted(code, at + 2, second & 0xF, small)
        elif operation == 0x2 and second >> 4 == 0xA:  # MOVI: twelve bits
            yield from _shifted(code, at + 3, first >> 4, (second & 0xF) << 8 | third)


def _shifted(code: _Segment, after: int, register: int, small: int) -> Iterator[_Load]:
    """The SLLI that shifts what was put into the register."""
    data = code.data
    for at in range(after, min(after + _PAIR_APART, len(data) - 2)):
        first, second, third = data[at], data[at + 1], data[at + 2]
        if first & 0xF or third not in {0x01, 0x11} or second & 0xF != register:
            continue
        left = 32 - ((third & 0x10) | first >> 4)
        yield _Load(code.address + at, second >> 4, (small << left) & 0xFFFFFFFF)


def _word(segments: tuple[_Segment, ...], address: int) -> int | None:
    for segment in segments:
        if segment.address <= address <= segment.address + len(segment.data) - _WORD.size:
            return int(_WORD.unpack_from(segment.data, address - segment.address)[0])
    return None


def _riscv(code: _Segment) -> Iterator[_Load]:
    """LUI and C.LUI, and ADDI behind one of them. Instructions begin at each second byte."""
    data = code.data
    upper: dict[int, _Load] = {}  # the newest by register
    for at in range(0, len(data) - 3, 2):
        (word,), (half,) = _WORD.unpack_from(data, at), _HALF.unpack_from(data, at)
        address, register = code.address + at, word >> 7 & 0x1F
        load: _Load | None = None
        if half & 0xF003 == 0x6001 and half >> 2 & 0x1F and register != 2:  # c.lui, of a positive number
            load = _Load(address, register, (half >> 2 & 0x1F) << 12)
        elif word & 0x7F == 0x37:
            load = _Load(address, register, word & 0xFFFFF000)
        if load is not None:
            upper[register] = load
            yield load
        elif word & 0xFFF0707F == 0xC0000013:  # addi -1,024
            page = upper.get(word >> 15 & 0x1F)
            if page is not None and page.value == _SECTOR and address - page.address <= _SHARED_APART:
                yield _Load(address, register, _TABLE_LENGTH)
