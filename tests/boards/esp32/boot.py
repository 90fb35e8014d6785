"""From reset to firmware: what ROM and second stage bootloader do, as a chip's `Machine`.

ROM: loads the bootloader, with secure boot only one that a key in the eFuses signed. Bootloader: partition
table, otadata, the application, and `boards.esp32.first_boot` where it was built to lock the chip. What
cannot be started is told on the console in the words of ROM and ESP-IDF, and the chip starts over, without
end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from boards.esp32.chip import Cause, Chip
from boards.esp32.console import Console
from boards.esp32.firmware import FirmwareOptions, RunningFirmware, start_firmware
from boards.esp32.first_boot import FirstBoot
from boards.esp32.flash_cipher import CachedFlash
from boards.esp32.images import IDF_VERSION, Firmware, ImageError, parse_image, table_offset
from boards.esp32.loading import image_bytes
from boards.esp32.partitions import (
    DATA_OTA,
    FACTORY,
    OTA_0,
    PARTITION_TABLE_BYTES,
    SECTOR,
    Partition,
    parse_otadata,
    parse_partition_table,
)
from boards.esp32.security import LockError, Security
from boards.esp32.signing import SignatureError, verify_signature

PRINTED_LINES = 1000
ROM_REACH = 0x80000  # bytes: the ROM knows no table, and loads what fits into its memory


class BootFailedError(Exception):
    """Nothing to start; the console says why."""


@dataclass(frozen=True, slots=True)
class BootOptions:
    """How long things take, in seconds, and what firmware needs to know."""

    boot_s: float = 0.0  # from reset to firmware
    first_boot_s: float = 0.0  # encrypting flash in place
    loop_s: float = 0.3  # until a chip without firmware starts over
    elsewhere: bool = False  # ROM, bootloader and firmware have another UART than the port
    firmware: FirmwareOptions = field(default_factory=FirmwareOptions)


@dataclass(frozen=True, slots=True)
class _Loaded:
    partition: Partition
    image: bytes
    firmware: Firmware


class BootChain:
    """ROM, bootloader and firmware of one chip (`boards.esp32.chip.Machine`)."""

    def __init__(self, options: BootOptions | None = None) -> None:
        self.options = options or BootOptions()
        self.running: RunningFirmware | None = None
        self.printed: deque[str] = deque(maxlen=PRINTED_LINES)  # on the console, over resets
        self.settled = asyncio.Event()  # the first start came to its end: firmware, or none that starts

    # --- Machine

    def power_on(self, chip: Chip, cause: Cause) -> None:
        self._chip = chip
        self._flash = CachedFlash(chip.flash, chip.efuses)
        self._security = Security(chip.efuses)
        send = _nowhere if self.options.elsewhere else chip.send
        self._console = Console(chip.family.name, send, chip.now, self.printed)
        chip.spawn(self._timed_start(cause))

    def received(self, data: bytes) -> None:
        if self.running is not None and not self.options.elsewhere:
            self.running.received(data)

    def stop(self) -> None:
        self.running = None

    # --- the way

    async def _timed_start(self, cause: Cause) -> None:
        begin = self._chip.now()
        try:
            await self._start(cause)
        finally:
            self._chip.busy.add(begin, self._chip.now())

    async def _start(self, cause: Cause) -> None:
        self._console.banner(cause.code, cause.text)
        try:
            bootloader = self._rom()
            await asyncio.sleep(self.options.boot_s / 2)
            partitions, loaded = await self._bootloader(bootloader)
        except BootFailedError:
            self.settled.set()
            await asyncio.sleep(self.options.loop_s)
            self._chip.reset(Cause.WATCHDOG)
            return
        if loaded is None:
            self._chip.reset(Cause.SOFTWARE)
            return
        await asyncio.sleep(self.options.boot_s / 2)
        self.running = await start_firmware(
            self._chip,
            self._console,
            partitions,
            loaded.partition,
            loaded.firmware,
            self.options.firmware,
            table_offset(bootloader),
        )
        self.settled.set()
        if self.running is None:  # it crashed
            await asyncio.sleep(self.options.loop_s)
            self._chip.reset(Cause.SOFTWARE)

    def _rom(self) -> Firmware:
        """Loads the bootloader.

        Raises:
            BootFailedError: there is none that may run.
        """
        start = self._chip.family.bootloader_offset
        head = self._flash.read(start, 4)
        if head[0] != 0xE9:
            self._console.line(f"invalid header: 0x{int.from_bytes(head, 'little'):08x}")
            raise BootFailedError
        self._console.line("SPIWP:0xee")
        self._console.line("mode:DIO, clock div:1")
        try:
            image = image_bytes(self._flash, start, ROM_REACH)
            bootloader = parse_image(image)
            if self._chip.efuses.secure_boot:
                self._rom_verifies(image)
        except ImageError as error:
            self._console.line(f"load failed: {error}")
            self._console.line("ets_main.c 371")
            raise BootFailedError from error
        self._console.line(f"load:0x3fcd5990,len:0x{bootloader.length:x}")
        self._console.line("entry 0x403cc71a")
        # Code of another chip, or code that is none, runs into the watchdog without a word.
        if (
            bootloader.chip_id != self._chip.family.chip_id
            or bootloader.marker.get("firmware") != "bootloader"
        ):
            raise BootFailedError
        return bootloader

    def _rom_verifies(self, image: bytes) -> None:
        trusted = self._security.trusted_digests
        self._console.line(f"Valid secure boot key blocks: {' '.join(str(n) for n in range(len(trusted)))}")
        try:
            verify_signature(image, trusted)
        except SignatureError as error:
            self._console.line(str(error))
            self._console.line("secure boot verification failed")
            self._console.line("ets_main.c 329")
            raise BootFailedError from error
        self._console.line("secure boot verification succeeded")

    async def _bootloader(self, bootloader: Firmware) -> tuple[tuple[Partition, ...], _Loaded | None]:
        """The application to start; None: the chip locked itself and must be reset.

        Raises:
            BootFailedError: nothing can be started.
        """
        tell, locks = self._console.info, bool(bootloader.marker.get("locks"))
        tell("boot", f"ESP-IDF {IDF_VERSION} 2nd stage bootloader")
        tell("boot", f"Bootloader version: {bootloader.version}")
        partitions = self._partition_table(table_offset(bootloader))
        for partition in self._candidates(partitions):
            loaded = self._load(partition, verify=locks or self._chip.efuses.secure_boot)
            if loaded is None:
                continue
            if not locks:
                return partitions, loaded
            try:
                first = FirstBoot(
                    self._chip, self._console, self.options.first_boot_s, table_offset(bootloader)
                )
                reset = await first.lock(loaded.image, partitions)
            except LockError:
                continue  # as bootloader_utility_load_boot_image does: it tries the next one
            return partitions, None if reset else loaded
        self._console.error("boot", "No bootable app partitions in the partition table")
        raise BootFailedError

    def _partition_table(self, offset: int) -> tuple[Partition, ...]:
        try:
            table = parse_partition_table(self._flash.read(offset, PARTITION_TABLE_BYTES))
        except ImageError as error:
            self._console.error("flash_parts", str(error))
            self._console.error("boot", "Failed to verify partition table")
            self._console.error("boot", "load partition table error!")
            raise BootFailedError from error
        self._console.partition_table(table)
        return table

    def _candidates(self, partitions: tuple[Partition, ...]) -> Iterator[Partition]:
        """In the order in which they are tried: the chosen one, those before it, those behind it."""
        slots = sorted((part for part in partitions if part.is_app and part.subtype >= OTA_0), key=_subtype)
        apps = [part for part in partitions if part.is_app and part.subtype == FACTORY] + slots
        sequence = next(
            (
                parse_otadata(self._flash.read(part.offset, 2 * SECTOR))
                for part in partitions
                if part.type == 1 and part.subtype == DATA_OTA
            ),
            0,
        )
        chosen = len(apps) - len(slots) + (sequence - 1) % len(slots) if sequence and slots else 0
        if not sequence:
            self._console.info("boot", "Defaulting to factory image")
        yield from reversed(apps[: chosen + 1])
        yield from apps[chosen + 1 :]

    def _load(self, partition: Partition, *, verify: bool) -> _Loaded | None:
        tell = self._console.info
        try:
            image = image_bytes(self._flash, partition.offset, partition.size)
            firmware = parse_image(image)
            self._check_chip(firmware)
            if verify:
                self._verify(image)
        except ImageError as error:
            self._console.error("esp_image", str(error))
        except SignatureError as error:
            self._console.line(str(error))
            self._console.error("secure_boot_v2", "Secure boot V2 verification failed.")
            self._console.error("esp_image", "Secure boot signature verification failed")
            self._console.warning("esp_image", "image valid, signature bad")
        else:
            tell("boot", f"Loaded app from partition at offset 0x{partition.offset:x}")
            return _Loaded(partition, image, firmware)
        name = "Factory" if partition.subtype == FACTORY else "OTA"
        slot = "" if partition.subtype == FACTORY else f" slot {partition.subtype - OTA_0}"
        self._console.error("boot", f"{name} app partition{slot} is not bootable")
        return None

    def _check_chip(self, firmware: Firmware) -> None:
        expected = self._chip.family.chip_id
        if firmware.chip_id != expected:
            self._console.error(
                "boot_comm", f"mismatch chip ID, expected {expected}, found {firmware.chip_id}"
            )
            raise ImageError("image for another chip")

    def _verify(self, image: bytes) -> None:
        tell, trusted = self._console.info, self._security.trusted_digests
        tell("esp_image", "Verifying image signature...")
        if not self._chip.efuses.secure_boot:
            unset = "Secure Boot V2 is not enabled yet and eFuse digest keys are not set"
            tell("secure_boot_v2", unset)
        tell("secure_boot_v2", "Verifying with RSA-PSS...")
        verify_signature(image, trusted if self._chip.efuses.secure_boot or trusted else None)
        tell("secure_boot_v2", "Signature verified successfully!")


def _nowhere(_data: bytes) -> None:
    """Where a UART leads that nobody has connected."""


def _subtype(partition: Partition) -> int:
    return partition.subtype
