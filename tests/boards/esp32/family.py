"""What differs between the members of the family: identity, registers, eFuse layout, where the bootloader is.

The numbers are facts of the chips: their reference manuals, and what esptool and espefuse 5.6 read and write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from boards.esp32.layout import (
    CLASSIC_LAYOUT,
    LAYOUT_C3,
    LAYOUT_C6,
    LAYOUT_H2,
    LAYOUT_P4,
    LAYOUT_S2,
    LAYOUT_S3,
    EfuseLayout,
)


@dataclass(frozen=True, slots=True)
class SpiRegisters:
    """The SPI controller that the flash hangs on: its address and the offsets of its registers."""

    base: int
    address: int = 0x04
    user2: int = 0x20
    w0: int = 0x58
    address_msb_first: bool = False


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The RTC watchdog, by which a host resets a chip without lines: addresses, and the key to it."""

    config0: int
    write_protect: int
    key: int = 0x50D83AA1
    enable: int = 1 << 31


@dataclass(frozen=True, slots=True)
class Family:
    """One chip of the family."""

    name: str  # as esptool's --chip takes it
    chip: str  # as esptool prints it
    chip_id: int  # in image headers and in the security information
    sync_value: int  # what the ROM puts into its answers to SYNC; the stub puts 0
    spi: SpiRegisters
    efuses: EfuseLayout
    bootloader_offset: int
    security_info: bool = True  # whether the ROM knows GET_SECURITY_INFO
    tells_chip_id: bool = True  # whether that includes the chip id
    registers: Mapping[int, int] = field(default_factory=dict)  # what reads as a constant
    clock_divider: int | None = None  # UART_CLKDIV, from which the host computes the crystal's frequency
    watchdog: Watchdog | None = None
    ram_entry_with_secure_boot: bool = True  # whether MEM_END may start code once secure boot is on
    read_hook: int | None = None  # pointer in RAM through which READ_FLASH_SLOW calls (ESP32-S3)


_MAGIC = 0x40001000
_APB_DATE = 0x3FF6607C
_C3_WATCHDOG = Watchdog(config0=0x60008090, write_protect=0x600080A8)
_S3_WATCHDOG = Watchdog(config0=0x60008098, write_protect=0x600080B0)

ESP32 = Family(
    name="esp32",
    chip="ESP32",
    chip_id=0,
    sync_value=0x55552007,
    spi=SpiRegisters(0x3FF42000, user2=0x24, w0=0x80, address_msb_first=True),
    efuses=CLASSIC_LAYOUT,
    bootloader_offset=0x1000,
    security_info=False,
    # APB_CTL_DATE bit 31: major revision 3. RTCCALICFG1: with CK8M_FREQ 50 the ROM measures a 40 MHz crystal.
    registers={_MAGIC: 0x00F01D83, _APB_DATE: 1 << 31, 0x3FF5F06C: 2048 << 7},
    clock_divider=0x3FF40014,
)
ESP32_S3 = Family(
    name="esp32s3",
    chip="ESP32-S3",
    chip_id=9,
    sync_value=0x20120707,
    spi=SpiRegisters(0x60002000),
    efuses=LAYOUT_S3,
    bootloader_offset=0,
    registers={_MAGIC: 0x9},
    watchdog=_S3_WATCHDOG,
    ram_entry_with_secure_boot=False,
    read_hook=0x3FCEF688,
)
ESP32_C3 = Family(
    name="esp32c3",
    chip="ESP32-C3",
    chip_id=5,
    sync_value=0x20120707,
    spi=SpiRegisters(0x60002000),
    efuses=LAYOUT_C3,
    bootloader_offset=0,
    registers={_MAGIC: 0x1B31506F},
    watchdog=_C3_WATCHDOG,
    ram_entry_with_secure_boot=False,
)

ESP32_S2 = Family(
    name="esp32s2",
    chip="ESP32-S2",
    chip_id=2,
    sync_value=0x20120707,
    spi=SpiRegisters(0x3F402000),
    efuses=LAYOUT_S2,
    bootloader_offset=0x1000,
    tells_chip_id=False,
    registers={_MAGIC: 0x000007C6},
    watchdog=Watchdog(config0=0x3F408094, write_protect=0x3F4080AC),
)
ESP32_C6 = Family(
    name="esp32c6",
    chip="ESP32-C6",
    chip_id=13,
    sync_value=0x20120707,
    spi=SpiRegisters(0x60003000),
    efuses=LAYOUT_C6,
    bootloader_offset=0,
)
ESP32_H2 = Family(
    name="esp32h2",
    chip="ESP32-H2",
    chip_id=16,
    sync_value=0x20120707,
    spi=SpiRegisters(0x60003000),
    efuses=LAYOUT_H2,
    bootloader_offset=0,
)
ESP32_P4 = Family(
    name="esp32p4",
    chip="ESP32-P4",
    chip_id=18,
    sync_value=0x20120707,
    spi=SpiRegisters(0x5008D000),
    efuses=LAYOUT_P4,
    bootloader_offset=0x2000,
    watchdog=Watchdog(config0=0x50116000, write_protect=0x50116018),
)
# Revision 1.0 of the ESP32, which has no secure boot v2.
ESP32_V1 = replace(
    ESP32,
    efuses=replace(CLASSIC_LAYOUT, made={"CHIP_VER_REV1": 1, "CLK8M_FREQ": 50}),
    registers={**ESP32.registers, _APB_DATE: 0},
)

FAMILIES: Mapping[str, Family] = {
    **{family.name: family for family in (ESP32, ESP32_S2, ESP32_S3, ESP32_C3, ESP32_C6, ESP32_H2, ESP32_P4)},
    "esp32-v1": ESP32_V1,
}
