# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to a chip's loader: as few round trips as the questions need.

The connection stays open between commands, so that looking at a chip, comparing and writing happen after one
reset. Every write and burn names the MAC of the chip that it is for, and the chip is asked for its own right
before: boards are exchanged by hand, and a port on the station's side of a fixture stays open meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esptool.cmds import attach_flash, detect_chip, detect_flash_size, reset_chip, run_stub, write_flash
from esptool.util import flash_size_bytes, strip_chip_name

from agent.adapters.drivers.esp32.gpl import efuses
from agent.adapters.drivers.esp32.gpl.errors import ESPTOOL_RAISES, WorkerError, printable, translate
from agent.adapters.drivers.esp32.gpl.progress import ProgressLogger

_MAX_READ = 4096  # bytes of one read
_ROM_BAUD = 115_200
# Purposes of key blocks that lock nothing, on the S2 and later: USER, and the four of HMAC.
_LOCKS_NOTHING = frozenset({0, 5, 6, 7, 8})


# BLOCK0 of the ESP32 (ESP32 TRM, "eFuse Controller"): words and the bits that a lock would set.
_WORD0_LOCKS = 0x7FF << 16  # read protection, FLASH_CRYPT_CNT
_WORD6_LOCKS = 0x7 << 4  # ABS_DONE_0, ABS_DONE_1, JTAG_DISABLE
_KEY_WORDS = range(14, 30)  # BLOCK1 and BLOCK2: keys of flash encryption and secure boot
_VIRGIN: dict[str, Any] = {
    "secure_boot": False,
    "secure_boot_v1": False,
    "digests": [],
    "crypt_count": 0,
    "crypt_count_fixed": False,
    "key_burned": False,
    "debug_closed": False,
}


class Connection:
    """See the module. `esp` is None while the port is closed."""

    def __init__(self, logger: ProgressLogger) -> None:
        self._logger = logger
        self._esp: Any = None

    def open(self, port: str, before: str, attempts: int) -> dict[str, Any]:
        """Opens the port, enters the loader, reports what the chip is. A connection from before is closed."""
        self.close()
        try:
            esp = detect_chip(port, _ROM_BAUD, before, connect_attempts=attempts)
        except ESPTOOL_RAISES as error:
            raise translate(error, "connecting") from error
        esp.WRITE_FLASH_ATTEMPTS = 1  # it would reconnect by itself, to whatever chip is there then
        self._esp = esp
        try:
            return self._report()
        except ESPTOOL_RAISES as error:
            self.close()
            raise translate(error, "looking at the chip") from error

    def _report(self) -> dict[str, Any]:
        esp = self._esp
        report: dict[str, Any] = {
            "chip": strip_chip_name(esp.CHIP_NAME),
            "secure_download": esp.secure_download_mode,
        }
        mac = _mac(esp)
        revision = 0 if esp.secure_download_mode else esp.get_chip_revision()
        description = esp.CHIP_NAME if esp.secure_download_mode else esp.get_chip_description()
        report |= {"mac": mac, "revision": revision, "description": printable(description, 80)}
        return report | self._locks()

    def _locks(self) -> dict[str, Any]:
        """What eFuses tell. Few questions suffice for an open chip: all eFuses are a hundred round trips."""
        esp = self._esp
        if esp.CHIP_NAME == "ESP32":
            return _VIRGIN if _is_virgin_esp32(esp) else efuses.state(esp)
        info = esp.get_security_info(cache=False)
        flags, purposes = info["parsed_flags"], info["key_purposes"]
        is_open = not info["flags"] and not info["flash_crypt_cnt"] and set(purposes) <= _LOCKS_NOTHING
        if not is_open and not esp.secure_download_mode:
            return efuses.state(esp)
        return {
            "secure_boot": flags["SECURE_BOOT_EN"],
            "secure_boot_v1": False,
            "digests": [],  # unreadable in secure download mode
            "crypt_count": info["flash_crypt_cnt"],
            "crypt_count_fixed": False,
            "key_burned": info["flash_crypt_cnt"] != 0,
            "debug_closed": flags["HARD_DIS_JTAG"],
        }

    def prepare(self, baudrate: int) -> dict[str, Any]:
        """Starts the stub, raises the rate and attaches the flash. Repeating costs nothing but a look."""
        esp = self._connected()
        try:
            if not esp.IS_STUB:
                esp = self._esp = run_stub(esp)
                esp.WRITE_FLASH_ATTEMPTS = 1
                if esp.IS_STUB and baudrate != _ROM_BAUD:
                    esp.change_baud(baudrate)
                attach_flash(esp)
            size = detect_flash_size(esp)
        except ESPTOOL_RAISES as error:
            raise translate(error, "attaching the flash") from error
        return {"flash_size": None if size is None else flash_size_bytes(size)}

    def digests(self, regions: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The MD5s of regions of flash, as the chip computes them."""
        try:
            return {"md5": [self._connected().flash_md5sum(offset, size) for offset, size in regions]}
        except ESPTOOL_RAISES as error:
            raise translate(error, "comparing the flash") from error

    def read(self, offset: int, size: int) -> dict[str, Any]:
        """Some bytes of flash."""
        if not 0 < size <= _MAX_READ:
            raise WorkerError("line", "worker_junk", f"a read of {size} bytes")
        try:
            return {"data": self._connected().read_flash(offset, size).hex()}
        except ESPTOOL_RAISES as error:
            raise translate(error, "reading the flash") from error

    def write(self, mac: str, pieces: list[dict[str, Any]]) -> dict[str, Any]:
        """Writes parts of files and bytes, in that order, and has the chip verify each by MD5."""
        esp = self._connected()
        parts = _load(pieces)
        self._require(mac)
        self._logger.begin([len(data) for _, data in parts])
        try:
            write_flash(esp, parts, compress=True)
        except ESPTOOL_RAISES as error:
            raise translate(error, "writing the flash") from error
        finally:
            self._logger.begin([])
        return {"bytes": sum(len(data) for _, data in parts)}

    def burned(self, burns: efuses.Burns) -> dict[str, Any]:
        """Which burns stand there."""
        try:
            return {"burned": efuses.burned(self._connected(), burns)}
        except ESPTOOL_RAISES as error:
            raise translate(error, "reading eFuses") from error

    def burn(self, mac: str, burns: efuses.Burns) -> dict[str, Any]:
        """Burns what is missing; see `efuses.burn`."""
        self._require(mac)
        try:
            return {"burned": efuses.burn(self._connected(), burns)}
        except ESPTOOL_RAISES as error:
            raise translate(error, "burning eFuses") from error

    def alive(self) -> dict[str, Any]:
        """The MAC of the chip, asked again."""
        try:
            return {"mac": _mac(self._connected())}
        except ESPTOOL_RAISES as error:
            self.close()
            raise translate(error, "asking the chip") from error

    def run(self, after: str | None) -> dict[str, Any]:
        """Starts the firmware, unless somebody else presses the button (`after` is None); closes the port."""
        esp = self._connected()
        try:
            if after is not None:
                reset_chip(esp, after)
        except ESPTOOL_RAISES as error:
            raise translate(error, "starting the firmware") from error
        finally:
            self.close()
        return {}

    def close(self) -> dict[str, Any]:
        """Closes the port."""
        esp, self._esp = self._esp, None
        if esp is not None:
            try:
                esp._port.close()  # noqa: SLF001 (esptool has no other way)
            except OSError as error:
                raise translate(error, "closing the port") from error
        return {}

    def _require(self, mac: str) -> None:
        """The chip that answers now is the one that is meant; and it says so itself."""
        there = self.alive()["mac"]
        if there is None or there != mac:
            raise WorkerError("board", "chip_changed", f"the chip is {there}, and {mac} is meant")

    def _connected(self) -> Any:
        if self._esp is None:
            raise WorkerError("line", "no_answer", "no chip is connected")
        return self._esp


def _mac(esp: Any) -> str | None:
    """None in secure download mode, which does not say."""
    return None if esp.secure_download_mode else ":".join(f"{byte:02x}" for byte in esp.read_mac("BASE_MAC"))


def _is_virgin_esp32(esp: Any) -> bool:
    locks = esp.read_efuse(0) & _WORD0_LOCKS or esp.read_efuse(6) & _WORD6_LOCKS
    return not locks and not any(esp.read_efuse(word) for word in _KEY_WORDS)


def _load(pieces: list[dict[str, Any]]) -> list[tuple[int, bytes]]:
    """The bytes to write. A file is read, and its SHA-256 compared, right before it is written."""
    parts = []
    for piece in pieces:
        if "data" in piece:
            parts.append((piece["offset"], bytes.fromhex(piece["data"])))
            continue
        content = _file(piece["path"], piece["sha256"])
        parts.append((piece["offset"] + piece["start"], content[piece["start"] : piece["end"]]))
    return parts


def _file(path: str, sha256: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WorkerError("board", "image_altered", f"an image cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        remedy = "Stop the line: somebody changes the station's files."
        raise WorkerError(
            "board", "image_altered", "an image was altered after the bundle was verified", remedy
        )
    return content
