"""eFuse layouts: blocks, controller registers and key purposes of each chip, with its fields.

Facts of the reference manuals, as espefuse 5.6 has them in its tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boards.esp32 import efuse_fields


@dataclass(frozen=True, slots=True)
class Place:
    """Bits in a block: the first one, how many, and the bit of WR_DIS that protects them (None: none)."""

    block: int
    word: int
    position: int
    length: int
    protected_by: int | None

    @property
    def start(self) -> int:
        """The first bit's number in the block."""
        return 32 * self.word + self.position

    @property
    def mask(self) -> int:
        """The field's bits, as a mask over the block's integer."""
        return (1 << self.length) - 1 << self.start


@dataclass(frozen=True, slots=True)
class Block:
    """One block: where it is read, how many words it has, its bits in WR_DIS and RD_DIS."""

    read: int  # offset from the controller's base
    words: int
    write_protect: int | None = None
    read_protect: int | None = None
    write: int = 0  # offset of its own write registers (classic ESP32)


@dataclass(frozen=True, slots=True)
class EfuseLayout:
    """The eFuses of one chip. `classic`: the ESP32's, without Reed-Solomon coding or key purposes."""

    base: int
    blocks: tuple[Block, ...]
    fields: Mapping[str, Place]
    command: int
    configuration: int
    classic: bool
    key_blocks: range  # the blocks that hold keys
    purposes: Mapping[str, int]
    crypt_count: str
    secure_boot: str
    download_disable: str
    manual_encrypt_disable: str
    # Where a block is reported whose words do not belong to their code: register of the count of wrong bytes,
    # its shift, register of the fail bit, that bit.
    errors: Mapping[int, tuple[int, int, int, int | None]]
    made: Mapping[str, int]  # what the maker burns besides the MAC: the revision


def _places(block: int, table: str) -> dict[str, Place]:
    """Reads lines of `NAME word position length protecting-bit`; - for a field that nothing protects."""
    places: dict[str, Place] = {}
    for line in filter(str.strip, table.splitlines()):
        name, word, position, length, bit = line.split()
        places[name] = Place(block, int(word), int(position), int(length), None if bit == "-" else int(bit))
    return places


# Fields of block 0 that bit 3 of RD_DIS hides on the ESP32.
CLASSIC_HIDDEN = ("BLK3_PART_RESERVE", "FLASH_CRYPT_CONFIG", "CODING_SCHEME", "KEY_STATUS")
CLASSIC_HIDING_BIT = 3

CLASSIC_LAYOUT = EfuseLayout(
    base=0x3FF5A000,
    blocks=(
        Block(0x000, 7, write=0x01C),
        Block(0x038, 8, 7, 0, write=0x098),
        Block(0x058, 8, 8, 1, write=0x0B8),
        Block(0x078, 8, 9, 2, write=0x0D8),
    ),
    fields=_places(0, efuse_fields.ESP32),
    command=0x104,
    configuration=0x0FC,
    classic=True,
    key_blocks=range(1, 4),
    purposes={},
    crypt_count="FLASH_CRYPT_CNT",
    secure_boot="ABS_DONE_1",
    download_disable="UART_DOWNLOAD_DIS",
    manual_encrypt_disable="DISABLE_DL_ENCRYPT",
    errors={},
    # With CK8M_FREQ 50 the ROM measures a 40 MHz crystal (`boards.esp32.family`).
    made={"CHIP_VER_REV1": 1, "CHIP_VER_REV2": 1, "WAFER_VERSION_MINOR": 1, "CLK8M_FREQ": 50},
)

_BLOCKS = (
    Block(0x02C, 6),
    Block(0x044, 6, 20),
    Block(0x05C, 8, 21),
    Block(0x07C, 8, 22),
    *(Block(0x09C + 0x20 * key, 8, 23 + key, key) for key in range(6)),
    Block(0x15C, 8, 29, 6),
)
_PURPOSES = {
    "USER": 0,
    "XTS_AES_128_KEY": 4,
    "HMAC_DOWN_ALL": 5,
    "HMAC_DOWN_JTAG": 6,
    "HMAC_DOWN_DIGITAL_SIGNATURE": 7,
    "HMAC_UP": 8,
    "SECURE_BOOT_DIGEST0": 9,
    "SECURE_BOOT_DIGEST1": 10,
    "SECURE_BOOT_DIGEST2": 11,
}
_XTS_256 = {"XTS_AES_256_KEY_1": 2, "XTS_AES_256_KEY_2": 3}
_ECDSA = {"ECDSA_KEY": 1}
_RS_ERR0, _RS_ERR1 = 0x1C0, 0x1C4
_COUNTS = {block: (_RS_ERR0, 4 * (block - 1)) for block in range(1, 9)} | {
    9: (_RS_ERR1, 0),
    10: (_RS_ERR1, 4),
}
_ERRORS: Mapping[int, tuple[int, int, int, int | None]] = {
    block: (register, shift, register, shift + 3) for block, (register, shift) in _COUNTS.items()
}
# The C3 reports "failed" one block too late: the bit of a block lies where the next one's is elsewhere.
_C3_FAIL = {block: 4 * (block - 1) + 7 for block in range(1, 8)} | {8: 3, 9: 7}
_C3_ERRORS: Mapping[int, tuple[int, int, int, int | None]] = {
    block: (register, shift, _RS_ERR0 if block < 8 else _RS_ERR1, _C3_FAIL.get(block))
    for block, (register, shift) in _COUNTS.items()
}


def _layout(
    base: int,
    fields: str,
    *,
    identity: str,
    made: Mapping[str, int],
    purposes: Mapping[str, int] | None = None,
    errors: Mapping[int, tuple[int, int, int, int | None]] = _ERRORS,
) -> EfuseLayout:
    return EfuseLayout(
        base=base,
        blocks=_BLOCKS,
        fields=_places(0, efuse_fields.COMMON + fields) | _places(1, identity),
        command=0x1D4,
        configuration=0x1CC,
        classic=False,
        key_blocks=range(4, 10),
        purposes={**_PURPOSES, **(purposes or {})},
        crypt_count="SPI_BOOT_CRYPT_CNT",
        secure_boot="SECURE_BOOT_EN",
        download_disable="DIS_DOWNLOAD_MODE",
        manual_encrypt_disable="DIS_DOWNLOAD_MANUAL_ENCRYPT",
        errors=errors,
        made=made,
    )


LAYOUT_S2 = _layout(
    0x3F41A000,
    efuse_fields.ESP32_S2,
    identity=efuse_fields.MADE_S2,
    made={"WAFER_VERSION_MAJOR": 1},
    purposes=_XTS_256,
)
LAYOUT_S3 = _layout(
    0x60007000,
    efuse_fields.ESP32_S3,
    identity=efuse_fields.MADE_S3_C3,
    made={"WAFER_VERSION_MINOR_LO": 2},
    purposes=_XTS_256,
)
LAYOUT_C3 = _layout(
    0x60008800,
    efuse_fields.ESP32_C3,
    identity=efuse_fields.MADE_S3_C3,
    made={"WAFER_VERSION_MINOR_LO": 4},
    errors=_C3_ERRORS,
)
LAYOUT_C6 = _layout(
    0x600B0800,
    efuse_fields.ESP32_C6,
    identity=efuse_fields.MADE_C6,
    made={"MAC_EXT": 0xFFFE, "WAFER_VERSION_MINOR": 1},
)
LAYOUT_H2 = _layout(
    0x600B0800,
    efuse_fields.ESP32_H2,
    identity=efuse_fields.MADE_H2,
    made={"MAC_EXT": 0xFFFE, "WAFER_VERSION_MINOR": 2},
    purposes=_ECDSA,
)
LAYOUT_P4 = _layout(
    0x5012D000,
    efuse_fields.ESP32_P4,
    identity=efuse_fields.MADE_P4,
    made={"WAFER_VERSION_MAJOR_LO": 1, "WAFER_VERSION_MINOR": 3},
    purposes=_XTS_256 | _ECDSA,
)
