"""What answers a host in download mode: the ROM loader, and the stub once it has been loaded.

Guarantees: one reply per command as the real loader frames it (eight for SYNC), the stub's before it writes,
the ROM's after; in secure download mode nothing but what writes flash. The loader knows no time and no port:
`handle` says what to send, and how long the chip takes before and after that.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from boards.esp32.commands import HEADER, Error, Op, checksum
from boards.esp32.efuses import Efuses
from boards.esp32.family import Family
from boards.esp32.flash import SECTOR, Flash, FlashRangeError, erase_seconds
from boards.esp32.flash_cipher import flash_cipher
from boards.esp32.flash_stream import FlashStream
from boards.esp32.flash_writer import FlashWriter, WriteError
from boards.esp32.registers import Registers

_READ_SLOW_BLOCK = 64  # bytes, of the ROM's read command
_MD5_BYTES_A_SECOND = 4_000_000  # through a flash at 40 MHz, two lines


class Leave(Enum):
    """How the loader is left."""

    RUN = "run"
    TO_ROM = "to_rom"
    WATCHDOG = "watchdog"


_NUMBERS = frozenset(Op)
_ACKNOWLEDGEMENT_SIZE = 4  # bytes, of the host's bare frames while flash is read
_STUB_ONLY = {Op.ERASE_FLASH, Op.ERASE_REGION, Op.READ_FLASH}
_ROM_ONLY = {Op.READ_FLASH_SLOW}
# ESP-IDF, "Secure download mode": what is left writes flash and tells the security state.
_SECURE_DOWNLOAD = {
    Op.SYNC, Op.FLASH_BEGIN, Op.FLASH_DATA, Op.FLASH_END, Op.FLASH_DEFL_BEGIN, Op.FLASH_DEFL_DATA,
    Op.FLASH_DEFL_END, Op.SPI_SET_PARAMS, Op.SPI_ATTACH, Op.CHANGE_BAUDRATE, Op.GET_SECURITY_INFO,
}  # fmt: skip
_SYNC_REPLIES = 8
# Flags of the security information that are one eFuse each: the chips name it differently.
_SECURITY_FLAGS = {
    "DIS_PAD_JTAG": 7,
    "HARD_DIS_JTAG": 7,
    "DIS_USB": 8,
    "DIS_USB_OTG": 8,
    "DIS_DOWNLOAD_DCACHE": 9,
    "DIS_DOWNLOAD_ICACHE": 10,
}
# An unknown command is answered under another number, several times: esptool drains 8 frames of 14 bytes.
_NO_COMMAND = 0xFF
_UNKNOWN_REPLIES = 8


@dataclass(slots=True)
class Took:
    """What a command comes to: frames to send, seconds before them and after them, and what changes then."""

    frames: list[bytes] = field(default_factory=list)
    before_s: float = 0.0
    after_s: float = 0.0
    baud: int | None = None
    leave: Leave | None = None


class _RefusedError(Exception):
    def __init__(self, error: Error) -> None:
        super().__init__(error.name)
        self.error = error


class Loader:
    """ROM loader and stub of one chip."""

    def __init__(self, family: Family, flash: Flash, efuses: Efuses) -> None:
        self._family = family
        self._flash = flash
        self._efuses = efuses
        self.registers = Registers(family, flash, efuses)
        self._handlers: Mapping[Op, Callable[[Op, bytes, int], Took]] = {
            Op.SYNC: self._sync,
            Op.READ_REG: self._read_register,
            Op.WRITE_REG: self._write_registers,
            Op.SPI_ATTACH: self._accept,
            Op.SPI_SET_PARAMS: self._accept,
            Op.CHANGE_BAUDRATE: self._change_baudrate,
            Op.GET_SECURITY_INFO: self._security_info,
            Op.MEM_BEGIN: self._accept,
            Op.MEM_DATA: self._into_ram,
            Op.MEM_END: self._run_in_ram,
            Op.FLASH_BEGIN: self._begin,
            Op.FLASH_DATA: self._data,
            Op.FLASH_END: self._end,
            Op.FLASH_DEFL_BEGIN: self._begin,
            Op.FLASH_DEFL_DATA: self._data,
            Op.FLASH_DEFL_END: self._end,
            Op.SPI_FLASH_MD5: self._md5,
            Op.READ_FLASH_SLOW: self._read_slow,
            Op.ERASE_FLASH: self._erase_all,
            Op.ERASE_REGION: self._erase_region,
            Op.READ_FLASH: self._read,
        }
        self.reset()

    def reset(self) -> None:
        """Enters the ROM loader with empty RAM."""
        self.stub = False
        self.registers.reset()
        self._writer: FlashWriter | None = None
        self._stream: FlashStream | None = None

    def handle(self, frame: bytes) -> Took:
        """Does what a frame asks. Raises `PowerLost`."""
        if self._stream is not None and len(frame) == _ACKNOWLEDGEMENT_SIZE:
            return self._acknowledged(self._stream, int.from_bytes(frame, "little"))
        if len(frame) < HEADER.size:
            return Took()
        direction, number, length, check = HEADER.unpack_from(frame)
        body = frame[HEADER.size :]
        if direction != 0 or length != len(body):
            return Took()
        if number not in _NUMBERS or not self._allowed(Op(number)):
            return self._unknown(number)
        return self._done(Op(number), body, check)

    def _done(self, op: Op, body: bytes, check: int) -> Took:
        try:
            return self._handlers[op](op, body, check)
        except _RefusedError as refused:
            error = refused.error
        except struct.error:
            error = Error.STUB_LENGTH if self.stub else Error.INVALID
        except FlashRangeError:
            error = Error.STUB_FLASH if self.stub else Error.FLASH_WRITE
        except WriteError:
            error = Error.STUB_INFLATE if self.stub else Error.INFLATE
        return self._reply(op, error=error)

    def forbidden(self) -> bool:
        """Whether the ROM falls silent: the newer ones look at the eFuses before each command."""
        return not self.stub and not self._efuses.layout.classic and self._efuses.download_disabled

    def _allowed(self, op: Op) -> bool:
        if op is Op.GET_SECURITY_INFO and not self._family.security_info:
            return False
        if self.stub:
            return op not in _ROM_ONLY
        if self._efuses.secure_download and op not in _SECURE_DOWNLOAD:
            return False
        return op not in _STUB_ONLY

    def _sync(self, op: Op, _body: bytes, _check: int) -> Took:
        value = 0 if self.stub else self._family.sync_value
        return Took(self._reply(op, value=value).frames * _SYNC_REPLIES)

    def _accept(self, op: Op, _body: bytes, _check: int) -> Took:
        return self._reply(op)

    def _change_baudrate(self, op: Op, body: bytes, _check: int) -> Took:
        took = self._reply(op)
        took.baud = struct.unpack("<II", body)[0]
        return took

    # --- registers and RAM

    def _read_register(self, op: Op, body: bytes, _check: int) -> Took:
        return self._reply(op, value=self.registers.read(*struct.unpack("<I", body)))

    def _write_registers(self, op: Op, body: bytes, _check: int) -> Took:
        if not body or len(body) % 16:
            raise _RefusedError(Error.STUB_LENGTH if self.stub else Error.INVALID)
        delay_us = 0
        for address, value, mask, delay in struct.iter_unpack("<IIII", body):
            self.registers.write(address, value, mask)
            delay_us += delay
        took = self._reply(op, before_s=delay_us / 1e6)
        if self.registers.watchdog_bites:
            took.leave = Leave.WATCHDOG
        return took

    def _into_ram(self, op: Op, body: bytes, check: int) -> Took:
        self._checked(body, check)
        return self._reply(op)

    def _run_in_ram(self, op: Op, body: bytes, _check: int) -> Took:
        _, entry = struct.unpack("<II", body)
        if entry == 0 or self.stub:
            return self._reply(op)
        if self._efuses.secure_boot and not self._family.ram_entry_with_secure_boot:
            raise _RefusedError(Error.FAILED)
        took = self._reply(op)
        self._start_stub(took)
        return took

    def _start_stub(self, took: Took) -> None:
        self.stub = True
        took.frames.append(b"OHAI")

    def _security_info(self, op: Op, _body: bytes, _check: int) -> Took:
        efuses = self._efuses
        names = efuses.layout.fields
        flags = efuses.get("SECURE_BOOT_EN") | efuses.get("SECURE_BOOT_AGGRESSIVE_REVOKE") << 1
        flags |= efuses.get("ENABLE_SECURITY_DOWNLOAD") << 2
        for key in range(3):
            flags |= efuses.get(f"SECURE_BOOT_KEY_REVOKE{key}") << 3 + key
        flags |= (efuses.get("SOFT_DIS_JTAG").bit_count() & 1) << 6
        for name, bit in _SECURITY_FLAGS.items():
            flags |= (efuses.get(name) if name in names else 0) << bit
        purposes = [*efuses.purposes(), 0]
        count = efuses.get(efuses.layout.crypt_count)
        data = struct.pack("<IB7B", flags, count, *purposes)
        if self._family.tells_chip_id:
            data += struct.pack("<II", self._family.chip_id, 0)
        return self._reply(op, data=data)

    # --- flash

    def _begin(self, op: Op, body: bytes, _check: int) -> Took:
        size, _, block, offset = struct.unpack_from("<IIII", body)
        encrypt = len(body) >= 20 and struct.unpack_from("<I", body, 16)[0] == 1
        if encrypt and self._efuses.manual_encrypt_disabled:
            raise _RefusedError(Error.FAILED)
        self._writer = FlashWriter(
            self._flash,
            offset=offset,
            size=size,
            block=block,
            compressed=op is Op.FLASH_DEFL_BEGIN,
            erase_first=not self.stub,
            cipher=flash_cipher(self._efuses) if encrypt else None,
        )
        return self._reply(op, before_s=self._writer.begin())

    def _data(self, op: Op, body: bytes, check: int) -> Took:
        data = self._checked(body, check)
        writer = self._writer
        if writer is None or writer.compressed is not (op is Op.FLASH_DEFL_DATA):
            raise _RefusedError(Error.STUB_NOT_BEGUN if self.stub else Error.FAILED)
        if self.stub and writer.failed is not None:  # of the block before: the stub had answered already
            raise writer.failed
        seconds = writer.write(data, raises=not self.stub)
        return self._reply(op, after_s=seconds) if self.stub else self._reply(op, before_s=seconds)

    def _end(self, op: Op, body: bytes, _check: int) -> Took:
        (stay,) = struct.unpack("<I", body)
        writer, self._writer = self._writer, None
        if writer is None:
            raise _RefusedError(Error.STUB_NOT_BEGUN if self.stub else Error.FAILED)
        if writer.failed is not None:
            raise writer.failed
        took = self._reply(op)
        if not self.stub:
            took.leave = Leave.RUN
        elif not stay:
            took.leave = Leave.TO_ROM
        return took

    def _checked(self, body: bytes, check: int) -> bytes:
        length = struct.unpack_from("<I", body)[0]
        data = body[16:]
        if length != len(data):
            raise _RefusedError(Error.STUB_LENGTH if self.stub else Error.INVALID)
        if checksum(data) != check & 0xFF:
            raise _RefusedError(Error.STUB_CHECKSUM if self.stub else Error.CHECKSUM)
        return data

    def _erase_all(self, op: Op, _body: bytes, _check: int) -> Took:
        return self._erase(op, 0, self._flash.size)

    def _erase_region(self, op: Op, body: bytes, _check: int) -> Took:
        return self._erase(op, *struct.unpack("<II", body))

    def _md5(self, op: Op, body: bytes, _check: int) -> Took:
        address, size, _, _ = struct.unpack("<IIII", body)
        digest = hashlib.md5(self._flash.read(address, size), usedforsecurity=False)
        data = digest.digest() if self.stub else digest.hexdigest().encode()
        return self._reply(op, data=data, before_s=size / _MD5_BYTES_A_SECOND)

    def _erase(self, op: Op, address: int, size: int) -> Took:
        self._flash.erase(address, size)
        return self._reply(op, before_s=erase_seconds(address, size))

    def _read_slow(self, op: Op, body: bytes, _check: int) -> Took:
        address, size = struct.unpack("<II", body)
        if self.registers.read_hooked:  # a pointer of the ROM has been bent to the stub (ESP32-S3)
            took = Took()
            self._start_stub(took)
            return took
        if size > _READ_SLOW_BLOCK:
            raise _RefusedError(Error.FLASH_READ)
        return self._reply(op, data=self._flash.read(address, size).ljust(_READ_SLOW_BLOCK, b"\xff"))

    def _read(self, op: Op, body: bytes, _check: int) -> Took:
        address, size, block, in_flight = struct.unpack("<IIII", body)
        if not 0 < block <= SECTOR or not in_flight:
            raise _RefusedError(Error.STUB_LENGTH)
        self._stream = FlashStream(self._flash.read(address, size), block, in_flight)
        took = self._reply(op)
        took.frames += self._acknowledged(self._stream, 0).frames
        return took

    def _acknowledged(self, stream: FlashStream, received: int) -> Took:
        took = Took(stream.more(received))
        if stream.done:
            self._stream = None
        return took

    # --- replies

    def _reply(
        self,
        op: int,
        *,
        value: int = 0,
        data: bytes = b"",
        error: Error | None = None,
        before_s: float = 0.0,
        after_s: float = 0.0,
    ) -> Took:
        status = b"\x00\x00" if error is None else bytes([1, error])
        body = (data if error is None else b"") + (status if self.stub else status + b"\x00\x00")
        return Took([HEADER.pack(1, op, len(body), value) + body], before_s=before_s, after_s=after_s)

    def _unknown(self, number: int) -> Took:
        if self.stub:
            return self._reply(number, error=Error.STUB_INVALID)
        return Took(self._reply(_NO_COMMAND, error=Error.INVALID).frames * _UNKNOWN_REPLIES)
