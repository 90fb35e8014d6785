"""What a bootloader built for release mode does at its first start, in the order of ESP-IDF v5.

1. Secure boot v2: burns the digest of the key that signed it, closes JTAG, turns secure boot on.
2. Makes the flash encryption key in the chip, hides it, closes RD_DIS and the loader's encryption.
3. Encrypts in place: bootloader, partition table, applications that verify, otadata, nvs_keys.
4. Burns the count that turns decryption on. The caller resets.

A power cut in 3 leaves a bootloader that the ROM takes for noise; plain images can be written until 4, and
then it begins anew with the key that is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from boards.esp32.chip import Chip
from boards.esp32.console import Console
from boards.esp32.flash_cipher import CachedFlash, flash_cipher
from boards.esp32.images import ImageError, parse_image
from boards.esp32.loading import image_bytes
from boards.esp32.partitions import (
    DATA_NVS_KEYS,
    DATA_OTA,
    SECTOR,
    Partition,
)
from boards.esp32.security import LockError, Security
from boards.esp32.signing import SIGNATURE_BYTES, SignatureError, signature_blocks, verify_signature

_SECTORS_A_PAUSE = 4  # encrypted before other chips get their turn


class FirstBoot:
    """The locking part of one start.

    Args:
        chip: whose flash and eFuses are locked.
        console: where it is told.
        seconds: how long encrypting in place takes.
        table_offset: where the partition table stands, bytes from the start of flash.
    """

    def __init__(self, chip: Chip, console: Console, seconds: float, table_offset: int) -> None:
        self._chip = chip
        self._console = console
        self._seconds = seconds
        self._table_offset = table_offset
        self._security = Security(chip.efuses)
        self._flash = CachedFlash(chip.flash, chip.efuses)

    async def lock(self, application: bytes, partitions: tuple[Partition, ...]) -> bool:
        """Locks what is not locked yet.

        Args:
            application: the verified image that is to be started, with its signature.
            partitions: the table.

        Returns:
            Whether flash encryption was turned on, and the chip must be reset.

        Raises:
            LockError: it cannot be locked; nothing is started.
            PowerLost: in the middle.
        """
        try:
            self._secure_boot(application)
        except (LockError, ImageError, SignatureError) as error:
            self._console.error("secure_boot_v2", str(error))
            self._console.error("boot", "Secure Boot v2 failed (-1)")
            raise LockError("secure boot") from error
        self._console.info("boot", "Checking flash encryption...")
        if self._chip.efuses.flash_encryption:
            self._console.info("flash_encrypt", "flash encryption is enabled (0 plaintext flashes left)")
            return False
        try:
            await self._encrypt(partitions)
        except (LockError, ImageError) as error:
            self._console.error("flash_encrypt", str(error))
            self._console.error("boot", "Flash encryption check failed (-1).")
            raise LockError("flash encryption") from error
        self._console.info("boot", "Resetting with flash encryption enabled...")
        return True

    # --- secure boot

    def _secure_boot(self, application: bytes) -> None:
        tell = self._console.info
        tell("secure_boot_v2", "enabling secure boot v2...")
        if self._chip.efuses.secure_boot:
            tell("secure_boot_v2", "secure boot v2 is already enabled, continuing..")
            return
        burned = self._security.trusted_digests
        signer = verify_signature(self._bootloader(), None)
        present = "already present" if burned else "absent, generating.."
        tell("secure_boot_v2", f"Secure boot digests {present}")
        if burned:
            self._console.warning("secure_boot_v2", "Using pre-loaded public key digest in eFuse")
        else:
            tell("secure_boot_v2", "1 signature block(s) found appended to the bootloader.")
            tell("secure_boot_v2", "Burning public key hash to eFuse")
        signers = [digest for digest, _ in signature_blocks(application)]
        tell("secure_boot_v2", f"{len(signers)} signature block(s) found appended to the app.")
        if not set(signers) & set(burned or [signer]):
            raise LockError("No application key digest matches the bootloader key digest.")
        tell("secure_boot_v2", "Application key(0) matches with bootloader key(0).")
        tell("secure_boot_v2", "blowing secure boot efuse...")
        self._console.warning("secure_boot", "UART ROM Download mode kept enabled - SECURITY COMPROMISED")
        tell("secure_boot", "Disable hardware & software JTAG...")
        block = self._security.enable_secure_boot(signer)
        self._burned(block)
        tell("secure_boot_v2", "Secure boot permanently enabled")

    def _bootloader(self) -> bytes:
        start = self._chip.family.bootloader_offset
        return image_bytes(self._flash, start, self._table_offset - start)

    # --- flash encryption

    async def _encrypt(self, partitions: tuple[Partition, ...]) -> None:
        tell = self._console.info
        if self._security.has_flash_key():
            tell("flash_encrypt", "Using pre-loaded flash encryption key in efuse")
        else:
            tell("flash_encrypt", "Generating new flash encryption key...")
            self._burned(self._security.make_flash_key())
        tell("flash_encrypt", "Disable UART bootloader encryption...")
        tell("flash_encrypt", "Disable UART bootloader cache...")
        tell("flash_encrypt", "Disable JTAG...")
        self._security.close_download_paths()
        bootloader = parse_image(self._bootloader())
        bootloader_bytes = -(-bootloader.length // SECTOR) * SECTOR + SIGNATURE_BYTES
        if self._chip.family.bootloader_offset + bootloader_bytes > self._table_offset:
            raise LockError(
                "Bootloader is too large to fit Secure Boot V2 signature sector and partition table"
            )
        regions = list(self._regions(partitions))
        total = bootloader_bytes + SECTOR + sum(part.size for _, part in regions)
        await self._encrypt_region(self._chip.family.bootloader_offset, bootloader_bytes, total)
        tell("flash_encrypt", "bootloader encrypted successfully")
        await self._encrypt_region(self._table_offset, SECTOR, total)
        tell("flash_encrypt", "partition table encrypted and loaded successfully")
        for number, part in regions:
            where = f"at offset 0x{part.offset:x} (length 0x{part.size:x})..."
            tell("flash_encrypt", f"Encrypting partition {number} {where}")
            await self._encrypt_region(part.offset, part.size, total)
            tell("flash_encrypt", "Done encrypting")
        tell("flash_encrypt", "Setting CRYPT_CNT for permanent encryption")
        self._security.turn_encryption_on()
        self._burned(0)
        tell("flash_encrypt", "Flash encryption completed")

    def _regions(self, partitions: tuple[Partition, ...]) -> Iterator[tuple[int, Partition]]:
        """Partitions that are encrypted, with their numbers: flash_encrypt.c, encrypt_partition."""
        for number, part in enumerate(partitions):
            always = part.type == 1 and part.subtype in {DATA_OTA, DATA_NVS_KEYS}
            if always or (self._verifies(part) if part.is_app else part.encrypted):
                yield number, part

    def _verifies(self, part: Partition) -> bool:
        trusted = self._security.trusted_digests
        try:
            verify_signature(image_bytes(self._flash, part.offset, part.size), trusted)
        except (ImageError, SignatureError) as error:
            self._console.warning("flash_encrypt", f"partition {part.name}: {error}")
            return False
        return True

    async def _encrypt_region(self, start: int, length: int, total: int) -> None:
        cipher, flash = flash_cipher(self._chip.efuses), self._chip.flash
        for done, address in enumerate(range(start, start + length, SECTOR), start=1):
            data = cipher.encrypt(address, flash.read(address, SECTOR))
            flash.erase(address, SECTOR)
            flash.program(address, data)
            if done % _SECTORS_A_PAUSE == 0:
                await asyncio.sleep(self._seconds * _SECTORS_A_PAUSE * SECTOR / total)

    def _burned(self, block: int) -> None:
        if block:
            self._console.info("efuse", f"BURN BLOCK{block}")
            self._console.info("efuse", f"BURN BLOCK{block} - OK (write block == read block)")
        self._console.info("efuse", "BURN BLOCK0")
        self._console.info("efuse", "BURN BLOCK0 - OK (all write block bits are set)")
