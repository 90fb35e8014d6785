"""eFuses behind their controller's registers: bits only go from 0 to 1, and protection is honoured.

The cells change when the host (or firmware) writes the program registers and the program command. What is
read, and what protects, are the read registers: they follow the cells at the read command and at a reset.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from boards.esp32.layout import CLASSIC_HIDDEN, CLASSIC_HIDING_BIT, EfuseLayout, Place
from boards.esp32.power import PowerLost, PowerSupply
from boards.esp32.reed_solomon import CHECK_BYTES, DATA_BYTES, check_bytes

_WORDS = (DATA_BYTES + CHECK_BYTES) // 4  # of a block's cells: 8 of data, 3 of code
_DATA_MASK = (1 << 8 * DATA_BYTES) - 1
_PROGRAM_UNLOCKED = 0x5A5A
_READ_UNLOCKED = 0x5AA5
_READ_COMMAND = 0x1
_PROGRAM_COMMAND = 0x2
_ERROR_COUNT = 0x7  # more wrong bytes than the code can tell
_REGISTER_SPACE = 0x200  # bytes, of the controller


class Efuses:
    """The eFuses of one chip. With a path they live in that file.

    The factory's part (MAC, revision) is burned when there is no file yet.
    """

    def __init__(
        self, layout: EfuseLayout, *, mac: bytes, supply: PowerSupply, path: Path | None = None
    ) -> None:
        self.layout = layout
        self._supply = supply
        self._path = path
        self._cells = [0] * len(layout.blocks)  # each block as one integer: data, then code
        self._read = [0] * len(layout.blocks)
        self._registers: dict[int, int] = {}
        if path is not None and path.exists():
            self._restore(path.read_bytes())
        else:
            self._make(mac)
            self._keep()
        self.load()

    # --- what chip and firmware ask

    def get(self, name: str) -> int:
        """A field as the read registers show it."""
        place = self._place(name)
        return (self._read[place.block] & place.mask) >> place.start

    @property
    def mac(self) -> bytes:
        """The base MAC."""
        return self.get("MAC").to_bytes(6, "big")

    @property
    def mac_text(self) -> str:
        """The base MAC as esptool prints it."""
        return self.mac.hex(":")

    @property
    def flash_encryption(self) -> bool:
        """Whether flash is decrypted on reading: an odd number of bits in the count."""
        return bool(self.get(self.layout.crypt_count).bit_count() & 1)

    @property
    def secure_boot(self) -> bool:
        """Whether secure boot v2 is on."""
        return bool(self.get(self.layout.secure_boot))

    @property
    def secure_download(self) -> bool:
        """Whether the ROM loader is reduced to writing flash."""
        return not self.layout.classic and bool(self.get("ENABLE_SECURITY_DOWNLOAD"))

    @property
    def download_disabled(self) -> bool:
        """Whether there is no ROM loader any more."""
        return bool(self.get(self.layout.download_disable))

    @property
    def manual_encrypt_disabled(self) -> bool:
        """Whether the loader may not write through the flash encryption."""
        return bool(self.get(self.layout.manual_encrypt_disable))

    def purposes(self) -> list[int]:
        """The key purposes of the six key blocks; none on the ESP32."""
        return [] if self.layout.classic else [self.get(f"KEY_PURPOSE_{key}") for key in range(6)]

    def block(self, index: int) -> bytes:
        """A block as software reads it: zeros if it is read-protected."""
        words = self.layout.blocks[index].words
        return (self._read[index] & _DATA_MASK).to_bytes(DATA_BYTES, "little")[: 4 * words]

    def key_block(self, purpose: str) -> int | None:
        """The first block with a purpose; for the ESP32, which has none, of its fixed uses."""
        if self.layout.classic:
            return {"flash_encryption": 1, "secure_boot_v2": 2}[purpose]
        wanted = self.layout.purposes[purpose]
        for block, found in zip(self.layout.key_blocks, self.purposes(), strict=True):
            if found == wanted:
                return block
        return None

    def hardware_key(self, index: int) -> bytes:
        """A key block as the chip's peripherals see it, read-protected or not."""
        return (self._cells[index] & _DATA_MASK).to_bytes(DATA_BYTES, "little")

    def flash_key(self) -> bytes | None:
        """The flash encryption key in the order that espsecure takes it; None if the chip has none."""
        if self.layout.classic:
            key = self.hardware_key(1)
            return key[::-1] if any(key) else None
        for purposes in (("XTS_AES_256_KEY_1", "XTS_AES_256_KEY_2"), ("XTS_AES_128_KEY",)):
            if all(purpose in self.layout.purposes for purpose in purposes):
                blocks = [self.key_block(purpose) for purpose in purposes]
                if None not in blocks:
                    return b"".join(self.hardware_key(block)[::-1] for block in blocks if block is not None)
        return None

    # --- what firmware burns

    def burn(self, name: str, value: int) -> None:
        """Burns a field and loads the read registers; what is protected stays. Raises `PowerLost`."""
        place = self._place(name)
        if value >> place.length:
            raise ValueError(f"{name} has {place.length} bits")
        self._program(place.block, value << place.start)
        self.load()

    def burn_block(self, index: int, data: bytes) -> None:
        """Burns a whole block, with its code, and loads the read registers. Raises `PowerLost`."""
        self._program(index, self._coded(data))
        self.load()

    def load(self) -> None:
        """The read registers follow the cells, as at a reset: read-protected blocks become zeros."""
        self._read = list(self._cells)
        hidden = self.get("RD_DIS")
        for index, block in enumerate(self.layout.blocks):
            if block.read_protect is not None and hidden >> block.read_protect & 1:
                self._read[index] = 0
        if self.layout.classic and hidden >> CLASSIC_HIDING_BIT & 1:
            for name in CLASSIC_HIDDEN:
                self._read[0] &= ~self._place(name).mask

    # --- the controller's registers

    def has_register(self, address: int) -> bool:
        """Whether an address is the controller's."""
        return self.layout.base <= address < self.layout.base + _REGISTER_SPACE

    def read_register(self, address: int) -> int:
        """What a load from one of the controller's addresses gives."""
        offset = address - self.layout.base
        for index, block in enumerate(self.layout.blocks):
            if block.read <= offset < block.read + 4 * block.words:
                return self._read[index] >> 8 * (offset - block.read) & 0xFFFFFFFF
        if offset in {0x1C0, 0x1C4} and not self.layout.classic:
            return self._error_register(offset)
        return self._registers.get(offset, 0)

    def write_register(self, address: int, value: int) -> None:
        """What a store to one of the controller's addresses does. Raises `PowerLost`."""
        offset = address - self.layout.base
        if offset != self.layout.command:
            self._registers[offset] = value
            return
        unlocked = self._registers.get(self.layout.configuration, 0)
        if value & _PROGRAM_COMMAND and unlocked == _PROGRAM_UNLOCKED:
            self._program_registers(value >> 2 & 0xF)
        elif value & _READ_COMMAND and unlocked == _READ_UNLOCKED:
            self.load()

    def reset_controller(self) -> None:
        """The program registers lose what they held, as at a reset."""
        self._registers.clear()

    def _program_registers(self, selected: int) -> None:
        if self.layout.classic:  # all blocks at once, each from its own registers
            for index, block in enumerate(self.layout.blocks):
                self._program(index, self._collected(block.write, block.words))
        elif selected < len(self.layout.blocks):
            self._program(selected, self._collected(0, _WORDS if selected else 8))

    def _collected(self, offset: int, words: int) -> int:
        return sum(self._registers.get(offset + 4 * word, 0) << 32 * word for word in range(words))

    # --- the cells

    def _program(self, index: int, bits: int) -> None:
        bits &= ~self._protected(index)
        for word in range(_WORDS):
            new = bits & 0xFFFFFFFF << 32 * word & ~self._cells[index]
            if not new:
                continue
            if not self._supply.grant_efuse_word():
                self._cells[index] |= new & 0x0000FFFF << 32 * word  # torn: some bits took, some did not
                self._keep()
                raise PowerLost
            self._cells[index] |= new
        self._keep()

    def _protected(self, index: int) -> int:
        """The bits of a block that can no longer be programmed."""
        locks = self.get("WR_DIS")
        whole = self.layout.blocks[index].write_protect
        if whole is not None and locks >> whole & 1:
            return (1 << 32 * _WORDS) - 1
        if index:
            return 0
        held = (place for place in self.layout.fields.values() if place.block == 0)
        return sum(
            place.mask for place in held if place.protected_by is not None and locks >> place.protected_by & 1
        )

    def _coded(self, data: bytes) -> int:
        padded = data.ljust(DATA_BYTES, b"\x00")
        return int.from_bytes(padded if self.layout.classic else padded + check_bytes(padded), "little")

    def _error_register(self, offset: int) -> int:
        value = 0
        for index, (count, shift, fail, fail_bit) in self.layout.errors.items():
            hidden = not self._read[index]
            if hidden or self._coded(self.hardware_key(index)) == self._cells[index]:
                continue
            value |= _ERROR_COUNT << shift if count == offset else 0
            value |= 1 << fail_bit if fail == offset and fail_bit is not None else 0
        return value

    def _place(self, name: str) -> Place:
        return self.layout.fields[name]

    def _make(self, mac: bytes) -> None:
        """What the chip's maker burns: identity and revision."""
        made = {"MAC": int.from_bytes(mac, "big"), **self.layout.made}
        if self.layout.classic:
            made["MAC_CRC"] = _crc8(mac)
        block = self._place("MAC").block
        bits = sum(value << self._place(name).start for name, value in made.items())
        self._cells[block] = self._coded(bits.to_bytes(DATA_BYTES, "little")) if block else bits

    def _keep(self) -> None:
        if self._path is not None:
            # In one write over what was there: a simulator that is killed leaves one state or the other.
            kept = b"".join(cells.to_bytes(4 * _WORDS, "little") for cells in self._cells)
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, kept, 0)
            finally:
                os.close(file)

    def _restore(self, kept: bytes) -> None:
        if len(kept) != 4 * _WORDS * len(self._cells):
            raise ValueError(f"{self._path} does not hold the eFuses of this chip")
        self._cells = [
            int.from_bytes(cells, "little") for (cells,) in struct.iter_unpack(f"{4 * _WORDS}s", kept)
        ]


def _crc8(mac: bytes) -> int:
    """CRC-8 of the MAC, as the ESP32's ROM computes it (polynomial 0x8C reflected, start 0)."""
    crc = 0
    for byte in mac:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc
