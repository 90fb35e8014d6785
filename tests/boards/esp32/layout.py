"""eFuse layouts: where each field lies, which bit of WR_DIS protects it, where the registers are.

Facts of the reference manuals, as espefuse 5.6 has them in its tables. A field that is not named here lies in
cells that can be programmed and read, and that no bit of WR_DIS protects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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


def _places(block: int, table: str) -> dict[str, Place]:
    """Reads lines of `NAME word position length protecting-bit`; - for a field that nothing protects."""
    places: dict[str, Place] = {}
    for line in filter(str.strip, table.splitlines()):
        name, word, position, length, bit = line.split()
        places[name] = Place(block, int(word), int(position), int(length), None if bit == "-" else int(bit))
    return places


_CLASSIC_FIELDS = _places(
    0,
    """
    WR_DIS 0 0 16 1
    RD_DIS 0 16 4 0
    FLASH_CRYPT_CNT 0 20 7 2
    UART_DOWNLOAD_DIS 0 27 1 2
    MAC 1 0 48 3
    MAC_CRC 2 16 8 3
    DISABLE_APP_CPU 3 0 1 3
    DISABLE_BT 3 1 1 3
    DIS_CACHE 3 3 1 3
    BLK3_PART_RESERVE 3 14 1 10
    CHIP_VER_REV1 3 15 1 -
    CLK8M_FREQ 4 0 8 4
    ADC_VREF 4 8 5 4
    XPD_SDIO_REG 4 14 1 5
    XPD_SDIO_TIEH 4 15 1 5
    XPD_SDIO_FORCE 4 16 1 5
    SPI_PAD_CONFIG_CLK 5 0 5 6
    SPI_PAD_CONFIG_Q 5 5 5 6
    SPI_PAD_CONFIG_D 5 10 5 6
    SPI_PAD_CONFIG_CS0 5 15 5 6
    CHIP_VER_REV2 5 20 1 -
    VOL_LEVEL_HP_INV 5 22 2 3
    WAFER_VERSION_MINOR 5 24 2 -
    FLASH_CRYPT_CONFIG 5 28 4 10
    CODING_SCHEME 6 0 2 10
    CONSOLE_DEBUG_DISABLE 6 2 1 15
    ABS_DONE_0 6 4 1 12
    ABS_DONE_1 6 5 1 13
    JTAG_DISABLE 6 6 1 14
    DISABLE_DL_ENCRYPT 6 7 1 15
    DISABLE_DL_DECRYPT 6 8 1 15
    DISABLE_DL_CACHE 6 9 1 15
    KEY_STATUS 6 10 1 10
    """,
)
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
    fields=_CLASSIC_FIELDS,
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
)

# What the chips since the ESP32-S2 have in common, ESP32-S3 and C3 wholly.
_COMMON = """
    WR_DIS 0 0 32 -
    RD_DIS 1 0 7 0
    DIS_ICACHE 1 8 1 2
    DIS_DOWNLOAD_ICACHE 1 10 1 2
    DIS_FORCE_DOWNLOAD 1 12 1 2
    DIS_TWAI 1 14 1 2
    SOFT_DIS_JTAG 1 16 3 31
    DIS_PAD_JTAG 1 19 1 2
    DIS_DOWNLOAD_MANUAL_ENCRYPT 1 20 1 2
    USB_EXCHG_PINS 1 25 1 30
    WDT_DELAY_SEL 2 16 2 3
    SPI_BOOT_CRYPT_CNT 2 18 3 4
    SECURE_BOOT_KEY_REVOKE0 2 21 1 5
    SECURE_BOOT_KEY_REVOKE1 2 22 1 6
    SECURE_BOOT_KEY_REVOKE2 2 23 1 7
    KEY_PURPOSE_0 2 24 4 8
    KEY_PURPOSE_1 2 28 4 9
    KEY_PURPOSE_2 3 0 4 10
    KEY_PURPOSE_3 3 4 4 11
    KEY_PURPOSE_4 3 8 4 12
    KEY_PURPOSE_5 3 12 4 13
    SECURE_BOOT_EN 3 20 1 15
    SECURE_BOOT_AGGRESSIVE_REVOKE 3 21 1 16
    FLASH_TPUW 3 28 4 18
    DIS_DOWNLOAD_MODE 4 0 1 18
    DIS_DIRECT_BOOT 4 1 1 18
    DIS_USB_SERIAL_JTAG_ROM_PRINT 4 2 1 18
    DIS_USB_SERIAL_JTAG_DOWNLOAD_MODE 4 4 1 18
    ENABLE_SECURITY_DOWNLOAD 4 5 1 18
    UART_PRINT_CONTROL 4 6 2 18
    FORCE_SEND_RESUME 4 13 1 18
    SECURE_VERSION 4 14 16 18
    DISABLE_WAFER_VERSION_MAJOR 5 0 1 19
    DISABLE_BLK_VERSION_MAJOR 5 1 1 19
    """
_C3_ONLY = """
    DIS_USB_JTAG 1 9 1 2
    DIS_USB_SERIAL_JTAG 1 11 1 2
    JTAG_SEL_ENABLE 1 15 1 2
    VDD_SPI_AS_GPIO 1 26 1 30
    ERR_RST_ENABLE 4 31 1 19
    """
_S3_ONLY = """
    DIS_DCACHE 1 9 1 2
    DIS_DOWNLOAD_DCACHE 1 11 1 2
    DIS_USB_OTG 1 13 1 2
    DIS_APP_CPU 1 15 1 2
    USB_EXT_PHY_ENABLE 1 26 1 30
    VDD_SPI_XPD 2 4 1 3
    VDD_SPI_TIEH 2 5 1 3
    VDD_SPI_FORCE 2 6 1 3
    DIS_USB_JTAG 3 22 1 2
    DIS_USB_SERIAL_JTAG 3 23 1 2
    STRAP_JTAG_SEL 3 24 1 2
    USB_PHY_SEL 3 25 1 2
    FLASH_ECC_MODE 4 3 1 18
    PIN_POWER_SELECTION 4 8 1 18
    FLASH_TYPE 4 9 1 18
    FLASH_PAGE_SIZE 4 10 2 18
    FLASH_ECC_EN 4 12 1 18
    DIS_USB_OTG_DOWNLOAD_MODE 4 31 1 19
    """
_FACTORY = """
    MAC 0 0 48 20
    WAFER_VERSION_MINOR_LO 3 18 3 20
    PKG_VERSION 3 21 3 20
    WAFER_VERSION_MINOR_HI 5 23 1 20
    WAFER_VERSION_MAJOR 5 24 2 20
    """
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
_RS_ERR0, _RS_ERR1 = 0x1C0, 0x1C4
_COUNTS = {block: (_RS_ERR0, 4 * (block - 1)) for block in range(1, 9)} | {
    9: (_RS_ERR1, 0),
    10: (_RS_ERR1, 4),
}
# The C3 reports "failed" one block too late: the bit of a block lies where the next one's is on the S3.
_C3_FAIL = {block: 4 * (block - 1) + 7 for block in range(1, 8)} | {8: 3, 9: 7}


def _layout(
    base: int,
    fields: str,
    purposes: Mapping[str, int],
    errors: Mapping[int, tuple[int, int, int, int | None]],
) -> EfuseLayout:
    return EfuseLayout(
        base=base,
        blocks=_BLOCKS,
        fields=_places(0, _COMMON + fields) | _places(1, _FACTORY),
        command=0x1D4,
        configuration=0x1CC,
        classic=False,
        key_blocks=range(4, 10),
        purposes=purposes,
        crypt_count="SPI_BOOT_CRYPT_CNT",
        secure_boot="SECURE_BOOT_EN",
        download_disable="DIS_DOWNLOAD_MODE",
        manual_encrypt_disable="DIS_DOWNLOAD_MANUAL_ENCRYPT",
        errors=errors,
    )


LAYOUT_C3 = _layout(
    0x60008800,
    _C3_ONLY,
    _PURPOSES,
    {
        block: (register, shift, _RS_ERR0 if block < 8 else _RS_ERR1, _C3_FAIL.get(block))
        for block, (register, shift) in _COUNTS.items()
    },
)
LAYOUT_S3 = _layout(
    0x60007000,
    _S3_ONLY,
    _PURPOSES | {"XTS_AES_256_KEY_1": 2, "XTS_AES_256_KEY_2": 3},
    {block: (register, shift, register, shift + 3) for block, (register, shift) in _COUNTS.items()},
)
