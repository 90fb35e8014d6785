"""What answers a host in download mode: the ROM loader, and the stub once it has been loaded.

Guarantees: one reply per command as the real loader frames it (eight for SYNC), the stub's reply before it writes,
the ROM's after; in secure download mode nothing but what writes flash; flash only as `Flash` lets it be changed.
The loader knows no time and no port: `handle` says what to send, and how long the chip takes before and after.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from boards.esp32 import slip
from boards.esp32.efuses import Efuses
from boards.esp32.family import Family
from boards.esp32.flash import SECTOR, Flash, FlashRangeError, erase_seconds
from boards.esp32.flash_cipher import flash_cipher
from boards.esp32.flash_writer import FlashWriter, WriteError
from boards.esp32.registers import Registers

_HEADER = struct.Struct("<BBHI")
_SYNC_BODY = b"\x07\x07\x12\x20" + 32 * b"\x55"
# The SYNC frame has no byte that SLIP escapes: a host's bytes are searched for it as they are.
SYNC_WIRE = slip.encode(_HEADER.pack(0, 0x08, len(_SYNC_BODY), 0) + _SYNC_BODY)
_CHECKSUM_SEED = 0xEF
_READ_SLOW_BLOCK = 64  # bytes, of the ROM's read command
_MD5_BYTES_A_SECOND = 4_000_000  # through a flash at 40 MHz, two lines


class Op(IntEnum):
    """Commands."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2


class Error(IntEnum):
    """Reasons of a refusal: the ROM's, from C0 on the stub's."""

    INVALID = 0x05
    FAILED = 0x06
    CHECKSUM = 0x07
    FLASH_WRITE = 0x08
    FLASH_READ = 0x09
    INFLATE = 0x0B
    STUB_LENGTH = 0xC0
    STUB_CHECKSUM = 0xC1
    STUB_INVALID = 0xC3
    STUB_FLASH = 0xC4
    STUB_NOT_BEGUN = 0xC6
    STUB_INFLATE = 0xC7
    STUB_TOO_MUCH = 0xC9


class Leave(Enum):
    """How the loader is left."""

    RUN = "run"
    TO_ROM = "to_rom"
    WATCHDOG = "watchdog"


_STUB_ONLY = {Op.ERASE_FLASH, Op.ERASE_REGION, Op.READ_FLASH}
_ROM_ONLY = {Op.READ_FLASH_SLOW}
# Docs of the chips since the S2, "Secure download mode": what is left writes flash and tells the security state.
_SECURE_DOWNLOAD = {
    Op.SYNC, Op.FLASH_BEGIN, Op.FLASH_DATA, Op.FLASH_END, Op.SPI_SET_PARAMS, Op.SPI_ATTACH, Op.CHANGE_BAUDRATE,
    Op.FLASH_DEFL_BEGIN, Op.FLASH_DEFL_DATA, Op.FLASH_DEFL_END, Op.GET_SECURITY_INFO,
}  # fmt: skip
# An unknown command is answered with no command's number, several times (esptool drains 8 frames of 14 bytes).
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


def checksum(data: bytes) -> int:
    """The loaders' XOR over all bytes, by folding halves onto each other."""
    size = 1 << max(len(data) - 1, 0).bit_length()
    value = int.from_bytes(data, "little")
    while size > 1:
        size //= 2
        value = (value >> 8 * size) ^ (value & (1 << 8 * size) - 1)
    return value ^ _CHECKSUM_SEED


class Loader:
    """ROM loader and stub of one chip."""

    def __init__(self, family: Family, flash: Flash, efuses: Efuses) -> None:
        self._family = family
        self._flash = flash
        self._efuses = efuses
        self.registers = Registers(family, flash, efuses)
        self.reset()

    def reset(self) -> None:
        """Enters the ROM loader with empty RAM."""
        self.stub = False
        self.registers.reset()
        self._writer: FlashWriter | None = None
        self._stream: _Stream | None = None

    def handle(self, frame: bytes) -> Took:
        """Does what a frame asks. Raises `PowerLost`."""
        if self._stream is not None and len(frame) == 4:
            return self._acknowledged(self._stream, int.from_bytes(frame, "little"))
        if len(frame) < _HEADER.size:
            return Took()
        direction, number, length, check = _HEADER.unpack_from(frame)
        body = frame[_HEADER.size :]
        if direction != 0 or length != len(body):
            return Took()
        try:
            op = Op(number)
        except ValueError:
            return self._unknown(number)
        if not self._allowed(op):
            return self._unknown(number)
        try:
            return self._do(op, body, check)
        except _RefusedError as refused:
            return self._reply(op, error=refused.error)
        except struct.error:
            return self._reply(op, error=Error.STUB_LENGTH if self.stub else Error.INVALID)
        except FlashRangeError:
            return self._reply(op, error=Error.STUB_FLASH if self.stub else Error.FLASH_WRITE)
        except WriteError as error:
            return self._reply(op, error=Error.STUB_INFLATE if self.stub else Error.INFLATE, value=error.done)

    def _allowed(self, op: Op) -> bool:
        if op is Op.GET_SECURITY_INFO and not self._family.security_info:
            return False
        if self.stub:
            return op not in _ROM_ONLY
        if self._efuses.secure_download and op not in _SECURE_DOWNLOAD:
            return False
        return op not in _STUB_ONLY

    def _do(self, op: Op, body: bytes, check: int) -> Took:
        match op:
            case Op.SYNC:
                value = 0 if self.stub else self._family.sync_value
                return Took(self._reply(op, value=value).frames * 8)
            case Op.READ_REG:
                return self._reply(op, value=self.registers.read(*struct.unpack("<I", body)))
            case Op.WRITE_REG:
                return self._write_registers(op, body)
            case Op.SPI_ATTACH | Op.SPI_SET_PARAMS | Op.MEM_BEGIN:
                return self._reply(op)
            case Op.MEM_DATA:
                self._checked(body, check)
                return self._reply(op)
            case Op.MEM_END:
                return self._run_in_ram(op, struct.unpack("<II", body)[1])
            case Op.CHANGE_BAUDRATE:
                took = self._reply(op)
                took.baud = struct.unpack("<II", body)[0]
                return took
            case Op.GET_SECURITY_INFO:
                return self._reply(op, data=self._security_info())
            case Op.FLASH_BEGIN | Op.FLASH_DEFL_BEGIN:
                return self._begin(op, body)
            case Op.FLASH_DATA | Op.FLASH_DEFL_DATA:
                return self._data(op, body, check)
            case Op.FLASH_END | Op.FLASH_DEFL_END:
                return self._end(op, struct.unpack("<I", body)[0])
            case _:
                return self._read_or_erase(op, body)

    def _read_or_erase(self, op: Op, body: bytes) -> Took:
        match op:
            case Op.SPI_FLASH_MD5:
                address, size, _, _ = struct.unpack("<IIII", body)
                digest = hashlib.md5(self._flash.read(address, size), usedforsecurity=False)
                data = digest.digest() if self.stub else digest.hexdigest().encode()
                return self._reply(op, data=data, before_s=size / _MD5_BYTES_A_SECOND)
            case Op.READ_FLASH_SLOW:
                return self._read_slow(op, *struct.unpack("<II", body))
            case Op.ERASE_FLASH:
                return self._erase(op, 0, self._flash.size)
            case Op.ERASE_REGION:
                return self._erase(op, *struct.unpack("<II", body))
            case Op.READ_FLASH:
                return self._read(op, *struct.unpack("<IIII", body))
        raise AssertionError(op)

    # --- registers and RAM

    def _write_registers(self, op: Op, body: bytes) -> Took:
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

    def _run_in_ram(self, op: Op, entry: int) -> Took:
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

    def _security_info(self) -> bytes:
        efuses = self._efuses
        names = efuses.layout.fields
        flags = efuses.get("SECURE_BOOT_EN") | efuses.get("SECURE_BOOT_AGGRESSIVE_REVOKE") << 1
        flags |= efuses.get("ENABLE_SECURITY_DOWNLOAD") << 2
        for key in range(3):
            flags |= efuses.get(f"SECURE_BOOT_KEY_REVOKE{key}") << 3 + key
        flags |= (efuses.get("SOFT_DIS_JTAG").bit_count() & 1) << 6 | efuses.get("DIS_PAD_JTAG") << 7
        for bit, name in ((8, "DIS_USB_OTG"), (9, "DIS_DOWNLOAD_DCACHE"), (10, "DIS_DOWNLOAD_ICACHE")):
            flags |= (efuses.get(name) if name in names else 0) << bit
        purposes = [*efuses.purposes(), 0]
        count = efuses.get(efuses.layout.crypt_count)
        return struct.pack("<IB7BII", flags, count, *purposes, self._family.chip_id, 0)

    # --- flash

    def _begin(self, op: Op, body: bytes) -> Took:
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

    def _end(self, op: Op, stay: int) -> Took:
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

    def _erase(self, op: Op, address: int, size: int) -> Took:
        self._flash.erase(address, size)
        return self._reply(op, before_s=erase_seconds(address, size))

    def _read_slow(self, op: Op, address: int, size: int) -> Took:
        if self.registers.read_hooked:  # a pointer of the ROM has been bent to the stub (ESP32-S3)
            took = Took()
            self._start_stub(took)
            return took
        if size > _READ_SLOW_BLOCK:
            raise _RefusedError(Error.FLASH_READ)
        return self._reply(op, data=self._flash.read(address, size).ljust(_READ_SLOW_BLOCK, b"\xff"))

    def _read(self, op: Op, address: int, size: int, block: int, in_flight: int) -> Took:
        if not 0 < block <= SECTOR or not in_flight:
            raise _RefusedError(Error.STUB_LENGTH)
        self._stream = _Stream(self._flash.read(address, size), block, in_flight)
        took = self._reply(op)
        took.frames += self._acknowledged(self._stream, 0).frames
        return took

    def _acknowledged(self, stream: _Stream, received: int) -> Took:
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
        return Took([_HEADER.pack(1, op, len(body), value) + body], before_s=before_s, after_s=after_s)

    def _unknown(self, number: int) -> Took:
        if self.stub:
            return self._reply(number, error=Error.STUB_INVALID)
        return Took(self._reply(_NO_COMMAND, error=Error.INVALID).frames * _UNKNOWN_REPLIES)


class _Stream:
    """A flash region on its way to the host, a window of blocks ahead of what it has acknowledged."""

    def __init__(self, data: bytes, block: int, in_flight: int) -> None:
        self._data = data
        self._block = block
        self._window = block * in_flight
        self._sent = 0
        self.done = False

    def more(self, received: int) -> list[bytes]:
        """The frames that may go now; after the last block has been acknowledged, the digest."""
        frames: list[bytes] = []
        while self._sent < len(self._data) and self._sent < received + self._window:
            frames.append(self._data[self._sent : self._sent + self._block])
            self._sent += len(frames[-1])
        if received >= len(self._data):
            self.done = True
            frames.append(hashlib.md5(self._data, usedforsecurity=False).digest())
        return frames
