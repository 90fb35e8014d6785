"""Firmware on a simulated chip: manufacturing firmware and application, over the board protocol on the UART.

Which one an image is, its marker says: `{"firmware": "manufacturing" or "application", "model": "sensor"}`,
and optionally `"behaviour"`: it `"crashes"` at its start, or is `"silent"`. All that it says of the chip
comes from flash and eFuses; all that it keeps is in `nvs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from boards import keys
from boards.attesters.port import Attester
from boards.esp32.chip import Cause, Chip
from boards.esp32.console import Console
from boards.esp32.flash_cipher import CachedFlash
from boards.esp32.images import IDF_VERSION, Firmware
from boards.esp32.loading import firmware_at
from boards.esp32.nvs import NvsStorage
from boards.esp32.partitions import OTA_0, Partition
from boards.esp32.security import Security
from boards.faults import Faults
from boards.simulated_board import BoardModel, SimulatedBoard
from boards.smp_server import SmpServer
from boards.storage import StorageFull


@dataclass(frozen=True, slots=True)
class FirmwareOptions:
    """How a board's firmware behaves. Faults are the board's own: they count on over its resets."""

    key_types: tuple[str, ...] = keys.KEY_TYPES
    keygen_s: float = 0.0
    buffer: int = 1024
    pop: bool = True
    faults: Faults = field(default_factory=Faults)


class RunningFirmware:
    """What runs now. `board` and `storage` are None where it answers nothing."""

    def __init__(
        self,
        role: str,
        firmware: Firmware,
        server: SmpServer | None = None,
        storage: NvsStorage | None = None,
    ) -> None:
        self.role = role
        self.firmware = firmware
        self.storage = storage
        self._server = server

    @property
    def board(self) -> SimulatedBoard | None:
        return None if self._server is None else self._server.board

    def received(self, data: bytes) -> None:
        """Bytes from the UART."""
        if self._server is not None:
            self._server.received(data)


class _HmacPeripheral:
    """Method `hmac-sha256` with the key that a trusted site burned; firmware uses it and never sees it."""

    method = "hmac-sha256"

    def __init__(self, security: Security) -> None:
        self._security = security

    def attest(self, transcript: bytes, csr: bytes) -> bytes:  # noqa: ARG002 (the port)
        mac = self._security.hmac(transcript)
        if mac is None:
            raise RuntimeError("an HMAC key was there at the start")
        return mac

    def identity(self) -> None:
        return None


class _ChipBoard(SimulatedBoard):
    """A board whose locks are the chip's eFuses."""

    def __init__(self, model: BoardModel, storage: NvsStorage, faults: Faults, security: Security) -> None:
        self._security = security
        self.is_application = False
        super().__init__(model, storage, faults)

    @property
    def security_state(self) -> dict[str, bool]:
        return self._security.state

    @property
    def sealed(self) -> bool:
        locked = self._security.state["secure_boot"] and self._security.state["flash_encryption"]
        return self.storage.get("sealed") is not None or (self.is_application and locked)


async def start_firmware(
    chip: Chip,
    console: Console,
    partitions: tuple[Partition, ...],
    running: Partition,
    firmware: Firmware,
    options: FirmwareOptions,
    table_offset: int,
) -> RunningFirmware | None:
    """Starts the image that the bootloader has loaded; None: it crashed.

    `table_offset`: where the partition table stands, before which the bootloader ends.

    Raises:
        PowerLost: while it migrated its storage.
    """
    marker, flash = firmware.marker, CachedFlash(chip.flash, chip.efuses)
    console.info("cpu_start", "Pro cpu start user code")
    console.info("app_init", "Application information:")
    console.info("app_init", f"Project name:     {firmware.project}")
    console.info("app_init", f"App version:      {firmware.version}")
    console.info("app_init", f"ESP-IDF:          {IDF_VERSION}")
    if chip.efuses.flash_encryption:
        console.info("flash_encrypt", "Flash encryption mode is RELEASE")
    if marker.get("behaviour") == "crashes":
        console.line("Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.")
        console.line("Rebooting...")
        return None
    console.info("main_task", "Calling app_main()")
    role = str(marker.get("firmware"))
    if role not in {"manufacturing", "application"} or marker.get("behaviour") == "silent":
        return RunningFirmware(role, firmware)
    try:
        storage = NvsStorage(chip.flash, flash, partitions)
        if chip.efuses.flash_encryption:
            _migrate(storage, console)
    except (ValueError, StorageFull) as error:
        console.error("main", f"NVS: {error}")
        return RunningFirmware(role, firmware)
    components = _components(chip, flash, partitions, running, role, table_offset)
    board = _make_board(chip, storage, components, str(marker.get("model", "sensor")), options)
    board.is_application = role == "application"
    server = SmpServer(board, chip.send, lambda: chip.reset(Cause.SOFTWARE))
    chip.spawn(server.serve())
    console.info("main", f"{role} firmware ready")
    return RunningFirmware(role, firmware, server, storage)


def _migrate(storage: NvsStorage, console: Console) -> None:
    """The first start with flash encryption: what stands in `nvs` in plain becomes encrypted."""
    if not storage.encrypted:
        console.info("main", 'Migrating NVS partition "nvs" to encrypted NVS...')
        count = storage.migrate()
        console.info("main", f"NVS migration completed: {count} items")
    console.info("nvs", 'NVS partition "nvs" is encrypted.')


def _components(
    chip: Chip,
    flash: CachedFlash,
    partitions: tuple[Partition, ...],
    running: Partition,
    role: str,
    table_offset: int,
) -> Mapping[str, tuple[str, bytes]]:
    """`fw` of the board protocol: what lies in flash, by its own descriptors and digests."""
    start = chip.family.bootloader_offset
    found = {"boot": firmware_at(flash, start, table_offset - start)}
    for part in partitions:
        if part.is_app and part.subtype == OTA_0:
            found["app"] = firmware_at(flash, part.offset, part.size)
    if role == "manufacturing":
        found["manufacturing"] = firmware_at(flash, running.offset, running.size)
    return {name: (image.version, image.digest) for name, image in found.items() if image is not None}


def _make_board(
    chip: Chip,
    storage: NvsStorage,
    components: Mapping[str, tuple[str, bytes]],
    model: str,
    options: FirmwareOptions,
) -> _ChipBoard:
    security = Security(chip.efuses)
    attesters: tuple[Attester, ...] = ()
    if security.hmac(b"") is not None:
        attesters = (_HmacPeripheral(security),)
    described = BoardModel(
        chip_id=chip.efuses.mac_text,
        attesters=attesters,
        model=model,
        firmware=components,
        key_types=options.key_types,
        keygen_s=options.keygen_s,
        buffer=options.buffer,
        pop=options.pop,
    )
    return _ChipBoard(described, storage, options.faults, security)
