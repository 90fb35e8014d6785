"""What bootloader and firmware do with the eFuses: ask what is locked, and lock it as ESP-IDF v5 does.

Block 0 is programmed in one operation for each of ESP-IDF's batches; the bits of WR_DIS that would close the
door on this batch's own fields come in an operation of their own, as the controller is word by word here.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping

from boards.esp32.efuses import Efuses

_UNLOCK_PROGRAM, _PROGRAM = 0x5A5A, 0x2
_HMAC_UP = "HMAC_UP"
_DIGESTS = ("SECURE_BOOT_DIGEST0", "SECURE_BOOT_DIGEST1", "SECURE_BOOT_DIGEST2")
_WR_DIS_RD_DIS = 1 << 0
_WR_DIS_CACHE = {True: 1 << 3, False: 1 << 2}  # classic or not: the bit that covers DIS_CACHE or DIS_ICACHE

# What release mode sets, all bits of each field that the chip has: ESP-IDF, secure_boot_secure_features.c and
# flash_encryption_secure_features.c of each chip.
_JTAG = ("JTAG_DISABLE", "DIS_PAD_JTAG", "HARD_DIS_JTAG", "DIS_USB_JTAG")
_SECURE_BOOT = (
    *_JTAG,
    "SOFT_DIS_JTAG",
    "CONSOLE_DEBUG_DISABLE",
    "DIS_DIRECT_BOOT",
    "DIS_LEGACY_SPI_BOOT",
    "SECURE_BOOT_KEY_REVOKE1",
    "SECURE_BOOT_KEY_REVOKE2",
    "SECURE_BOOT_EN",
    "ABS_DONE_1",
)
_ENCRYPTION = (
    *_JTAG,
    "FLASH_CRYPT_CONFIG",
    "DISABLE_DL_ENCRYPT",
    "DISABLE_DL_DECRYPT",
    "DISABLE_DL_CACHE",
    "CONSOLE_DEBUG_DISABLE",
    "DIS_DOWNLOAD_MANUAL_ENCRYPT",
    "DIS_DOWNLOAD_ICACHE",
    "DIS_DOWNLOAD_DCACHE",
    "DIS_DIRECT_BOOT",
    "DIS_LEGACY_SPI_BOOT",
)


class LockError(Exception):
    """The eFuses do not let it be done; the message is ESP-IDF's."""


class Security:
    """The security functions of one chip's eFuses."""

    def __init__(self, efuses: Efuses) -> None:
        self._efuses = efuses
        self._layout = efuses.layout

    # --- what is locked

    @property
    def debug_closed(self) -> bool:
        """Whether JTAG is closed for good."""
        return all(self._efuses.get(name) for name in _JTAG if name in self._layout.fields)

    @property
    def state(self) -> dict[str, bool]:
        """The board protocol's `sec`."""
        return {
            "secure_boot": self._efuses.secure_boot,
            "flash_encryption": self._efuses.flash_encryption,
            "debug_closed": self.debug_closed,
        }

    @property
    def trusted_digests(self) -> list[bytes]:
        """Secure boot key digests in the eFuses that are not revoked."""
        if self._layout.classic:
            digest = self._efuses.block(2)
            return [digest] if any(digest) else []
        blocks = [
            self._efuses.key_block(purpose)
            for number, purpose in enumerate(_DIGESTS)
            if not self._efuses.get(f"SECURE_BOOT_KEY_REVOKE{number}")
        ]
        return [self._efuses.block(block) for block in blocks if block is not None]

    def hmac(self, message: bytes) -> bytes | None:
        """HMAC-SHA-256 by the HMAC peripheral; None where the chip has none, or no key for it."""
        if self._layout.classic:
            return None
        block = self._efuses.key_block(_HMAC_UP)
        return None if block is None else hmac.digest(self._efuses.hardware_key(block), message, "sha256")

    # --- locking

    def burn_hmac_key(self, key: bytes) -> int:
        """Burns K_chip as a trusted site does, hidden and write-protected: the last key block. Returns it.

        Raises:
            LockError: the chip has no HMAC peripheral.
        """
        if self._layout.classic:
            raise LockError("this chip has no HMAC peripheral")
        block = self._layout.key_blocks[-1]
        self._efuses.burn_block(block, key)
        purpose = {self._purpose_field(block): self._layout.purposes[_HMAC_UP]}
        self._burn({"WR_DIS": self._write_protection(block), "RD_DIS": 1 << self._read_bit(block), **purpose})
        return block

    def enable_secure_boot(self, digest: bytes) -> int:
        """Burns the digest where none is, closes JTAG, turns secure boot v2 on. Returns the digest's block.

        Raises:
            LockError: no key block is left.
        """
        if self._layout.classic:
            if not self.trusted_digests:
                self._efuses.burn_block(2, digest)
            self._burn({"WR_DIS": self._write_protection(2), **self._all_bits(_SECURE_BOOT)})
            return 2
        block = self._efuses.key_block(_DIGESTS[0])
        fields = self._all_bits(_SECURE_BOOT)
        if block is None:
            block = self._unused_block()
            self._efuses.burn_block(block, digest)
            fields[self._purpose_field(block)] = self._layout.purposes[_DIGESTS[0]]
        self._burn({"WR_DIS": self._write_protection(block), **fields})
        return block

    def has_flash_key(self) -> bool:
        """Whether there is a flash encryption key.

        Raises:
            LockError: there is one, and it can be read or changed.
        """
        if self._efuses.flash_key() is None:
            return False
        block = self._flash_key_block()
        wanted = self._write_protection(block)
        hidden = self._efuses.get("RD_DIS") >> self._read_bit(block) & 1
        if not hidden or self._efuses.get("WR_DIS") & wanted != wanted:
            raise LockError(
                "Invalid key state, check read&write protection for key and keypurpose(if exists)"
            )
        return True

    def make_flash_key(self) -> int:
        """Makes the key in the chip, protects it from reading and writing. Returns its block.

        Raises:
            LockError: no key block is left, or RD_DIS is write-protected: the key could never be hidden.
        """
        if self._efuses.get("WR_DIS") & _WR_DIS_RD_DIS:
            raise LockError("Failed to write efuse block with purpose (err=0x1609). Can't continue.")
        block = 1 if self._layout.classic else self._unused_block()
        self._efuses.burn_block(block, os.urandom(32))
        fields = {"WR_DIS": self._write_protection(block), "RD_DIS": 1 << self._read_bit(block)}
        if not self._layout.classic:
            fields[self._purpose_field(block)] = self._layout.purposes["XTS_AES_128_KEY"]
        self._burn(fields)
        return block

    def close_download_paths(self) -> None:
        """What goes with flash encryption: no encryption by the loader, no JTAG, RD_DIS write-protected."""
        self._burn(self._all_bits(_ENCRYPTION))
        self._burn({"WR_DIS": _WR_DIS_RD_DIS | _WR_DIS_CACHE[self._layout.classic]})

    def turn_encryption_on(self) -> None:
        """Burns the whole count: flash encryption can never be turned off again."""
        self._burn(self._all_bits((self._layout.crypt_count,)))

    # --- inside

    def _all_bits(self, names: Iterable[str]) -> dict[str, int]:
        fields = self._layout.fields
        return {name: (1 << fields[name].length) - 1 for name in names if name in fields}

    def _burn(self, fields: Mapping[str, int]) -> None:
        """Programs fields of block 0 in one operation of the controller."""
        bits = 0
        for name, value in fields.items():
            bits |= value << self._layout.fields[name].start
        block, base = self._layout.blocks[0], self._layout.base
        self._efuses.reset_controller()
        for word in range(block.words if self._layout.classic else 8):
            self._efuses.write_register(base + block.write + 4 * word, bits >> 32 * word & 0xFFFFFFFF)
        self._efuses.write_register(base + self._layout.configuration, _UNLOCK_PROGRAM)
        self._efuses.write_register(base + self._layout.command, _PROGRAM)
        self._efuses.reset_controller()
        self._efuses.load()

    def _flash_key_block(self) -> int:
        if self._layout.classic:
            return 1
        block = self._efuses.key_block("XTS_AES_128_KEY")
        if block is None:
            raise LockError("XTS_AES_256 keys are not what this bootloader was built for")
        return block

    def _purpose_field(self, block: int) -> str:
        return f"KEY_PURPOSE_{block - self._layout.key_blocks.start}"

    def _write_protection(self, block: int) -> int:
        """Bits of WR_DIS for a key block and its purpose."""
        whole = self._layout.blocks[block].write_protect
        bits = 0 if whole is None else 1 << whole
        if not self._layout.classic:
            purpose = self._layout.fields[self._purpose_field(block)].protected_by
            bits |= 0 if purpose is None else 1 << purpose
        return bits

    def _read_bit(self, block: int) -> int:
        bit = self._layout.blocks[block].read_protect
        if bit is None:
            raise LockError("this block cannot be hidden")
        return bit

    def _unused_block(self) -> int:
        """The first key block that nobody used: esp_efuse_key_block_unused."""
        locks, hidden = self._efuses.get("WR_DIS"), self._efuses.get("RD_DIS")
        for block in self._layout.key_blocks:
            protected = locks & self._write_protection(block) or hidden >> self._read_bit(block) & 1
            used = any(self._efuses.block(block)) or self._efuses.get(self._purpose_field(block))
            if not protected and not used:
                return block
        raise LockError("Not enough free efuse key blocks (need 1) to continue")
