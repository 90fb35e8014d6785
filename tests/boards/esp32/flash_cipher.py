"""Flash encryption as the chips do it: XTS-AES since the ESP32-S2, AES-256 with a tweaked key on the ESP32.

Bytes are what `espsecure encrypt-flash-data` makes of the same key and address (ESP-IDF, "Flash Encryption").
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB, XTS

from boards.esp32.efuses import Efuses
from boards.esp32.flash import Flash

ALIGNMENT = 16  # bytes, of addresses and sizes
_XTS_UNIT = 128  # bytes under one tweak
_CLASSIC_UNIT = 32  # bytes under one tweaked key


class FlashCipher(Protocol):
    """Turns what lies at an address in flash into plain bytes, and back. Both are aligned to 16 bytes."""

    def encrypt(self, address: int, data: bytes) -> bytes:
        """The cells' content for plain `data`."""

    def decrypt(self, address: int, data: bytes) -> bytes:
        """The plain bytes of what the cells hold."""


class XtsCipher:
    """XTS-AES-128 or -256 over units of 128 bytes, each taken in reverse byte order."""

    def __init__(self, key: bytes) -> None:
        self._key = AES(key)

    def encrypt(self, address: int, data: bytes) -> bytes:
        return self._through(address, data, decrypt=False)

    def decrypt(self, address: int, data: bytes) -> bytes:
        return self._through(address, data, decrypt=True)

    def _through(self, address: int, data: bytes, *, decrypt: bool) -> bytes:
        before = address % _XTS_UNIT
        padded = bytes(before) + data
        padded += bytes(-len(padded) % _XTS_UNIT)
        out = bytearray()
        for offset in range(0, len(padded), _XTS_UNIT):
            tweak = (address - before + offset).to_bytes(16, "little")
            cipher = Cipher(self._key, XTS(tweak))
            context = cipher.decryptor() if decrypt else cipher.encryptor()
            out += context.update(padded[offset : offset + _XTS_UNIT][::-1])[::-1]
        return bytes(out[before : before + len(data)])


class ClassicCipher:
    """AES-256, used the other way round; every 32 bytes have a key of their own, bent by their address.

    `configuration` is FLASH_CRYPT_CONFIG: which quarters of the key the address bends.
    """

    def __init__(self, key: bytes, configuration: int) -> None:
        self._key = int.from_bytes(key, "big")
        self._masks = _classic_masks(configuration)

    def encrypt(self, address: int, data: bytes) -> bytes:
        return self._through(address, data, decrypt=False)

    def decrypt(self, address: int, data: bytes) -> bytes:
        return self._through(address, data, decrypt=True)

    def _through(self, address: int, data: bytes, *, decrypt: bool) -> bytes:
        out = bytearray()
        at = 0
        while at < len(data):
            piece = data[at : at + _CLASSIC_UNIT - (address + at) % _CLASSIC_UNIT]
            cipher = Cipher(AES(self._bent(address + at)), ECB())
            context = cipher.encryptor() if decrypt else cipher.decryptor()
            for half in range(0, len(piece), 16):
                out += context.update(piece[half : half + 16][::-1])[::-1]
            at += len(piece)
        return bytes(out)

    def _bent(self, address: int) -> bytes:
        key = self._key
        for bit, mask in self._masks:
            if address >> bit & 1:
                key ^= mask
        return key.to_bytes(32, "big")


@cache
def _classic_masks(configuration: int) -> tuple[tuple[int, int], ...]:
    """For each bit of the address, the bits of the key that it flips.

    From the key's highest bit on, the address bits 23 to 5 repeat three times in each quarter; a shorter run
    ends it (14, 12, 10, 8 down to 5).
    """
    masks = dict.fromkeys(range(5, 24), 0)
    key_bit = 255
    for quarter, last_run in enumerate((14, 12, 10, 8)):
        for first in (23, 23, 23, last_run):
            for address_bit in range(first, 4, -1):
                if configuration >> quarter & 1:
                    masks[address_bit] |= 1 << key_bit
                key_bit -= 1
    return tuple(masks.items())


def flash_cipher(efuses: Efuses) -> FlashCipher:
    """The chip's own cipher; a chip without a key uses zeros, as the hardware does."""
    key = efuses.flash_key() or bytes(32)
    if efuses.layout.classic:
        return ClassicCipher(key, efuses.get("FLASH_CRYPT_CONFIG"))
    return XtsCipher(key)


class CachedFlash:
    """Flash as running code sees it: decrypted and encrypted on the way while flash encryption is on."""

    def __init__(self, flash: Flash, efuses: Efuses) -> None:
        self._flash = flash
        self._efuses = efuses

    def read(self, address: int, count: int) -> bytes:
        """Plain bytes, if what lies there was encrypted by this chip. Raises `FlashRangeError`."""
        if not self._efuses.flash_encryption:
            return self._flash.read(address, count)
        start = address - address % ALIGNMENT
        end = -(-(address + count) // ALIGNMENT) * ALIGNMENT
        plain = flash_cipher(self._efuses).decrypt(start, self._flash.read(start, end - start))
        return plain[address - start : address - start + count]

    def program(self, address: int, data: bytes) -> None:
        """Programs erased cells so that `data` is read back. Raises `FlashRangeError`, `PowerLost`."""
        if self._efuses.flash_encryption:
            if address % ALIGNMENT or len(data) % ALIGNMENT:
                raise ValueError(f"{address:#x}+{len(data):#x} is not aligned to {ALIGNMENT} bytes")
            data = flash_cipher(self._efuses).encrypt(address, data)
        self._flash.program(address, data)
