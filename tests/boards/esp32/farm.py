"""Simulated ESP32 chips in one event loop: how they are made, and what a test can ask of them. POSIX.

chip = make_chip(0, FarmOptions("esp32s3", link_dir=folder, stage=images.manufacturing_stage))
await chip.start()          # <folder>/port-0 is its serial port, <folder>/port-0.control its buttons
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from boards import keys
from boards.esp32.boot import BootChain, BootOptions
from boards.esp32.chip import Chip
from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import SECTOR, Flash
from boards.esp32.partitions import DATA_OTA, FACTORY, otadata, parse_partition_table
from boards.esp32.power import PowerSupply
from boards.esp32.security import Security
from boards.faults import Faults

FIRST_MAC = 0x7CDFA1000001
_SAME_IN_BOTH = frozenset({"partition-table", "manufacturing", "application", "data"})


@dataclass(frozen=True, slots=True)
class FarmOptions:
    """How the chips are. Secrets are K_chip by base MAC as esptool prints it; others have none burned."""

    chip: str
    link_dir: Path
    state_dir: Path | None = None
    flash_size: int = 4 << 20
    first_mac: int = FIRST_MAC
    time_scale: float = 0.0  # of line and flash: 1 is real time, 0 makes them take none
    stage: Mapping[int, bytes] = field(default_factory=dict)  # what is in a new chip's flash, by offset
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    boot: BootOptions = field(default_factory=BootOptions)
    faults: Mapping[int, Sequence[dict[str, object]]] = field(default_factory=dict)  # by the chip's number


@dataclass(frozen=True, slots=True)
class FarmChip:
    """A chip on its port, with what is needed to look behind the line."""

    chip: Chip
    chain: BootChain
    link: Path

    @property
    def mac(self) -> str:
        return self.chip.efuses.mac_text

    async def start(self) -> None:
        """Plugs it in and powers it on."""
        await self.chip.start()

    async def stop(self) -> None:
        """Takes it away; what its flash and eFuses hold is kept where there is a folder for it."""
        await self.chip.stop()

    def set_faults(self, items: Sequence[dict[str, object]]) -> None:
        """Replaces its firmware's faults (`boards.faults`), from now on and after resets."""
        faults = Faults.from_json(items)
        self.chain.options = replace(
            self.chain.options, firmware=replace(self.chain.options.firmware, faults=faults)
        )
        if self.chain.running is not None and self.chain.running.board is not None:
            self.chain.running.board.faults = faults

    def show(self) -> dict[str, object]:
        """What it holds and does, in words that JSON has."""
        flash, efuses, running = self.chip.flash, self.chip.efuses, self.chain.running
        board = None if running is None else running.board
        key = None if board is None else board.key
        blocks = b"".join(efuses.hardware_key(index) for index in range(len(efuses.layout.blocks)))
        return {
            "mac": self.mac,
            "state": self.chip.state.value,
            "resets": self.chip.resets,
            "flash_bytes": self.chip.supply.flash_bytes,
            "efuse_words": self.chip.supply.efuse_words,
            "flash_sha256": hashlib.sha256(flash.read(0, flash.size)).hexdigest(),
            "efuses_sha256": hashlib.sha256(blocks).hexdigest(),
            "locks": Security(efuses).state,
            "secure_download": efuses.secure_download,
            "purposes": efuses.purposes(),
            "firmware": None if running is None else running.role,
            "version": None if running is None else running.firmware.version,
            "sealed": None if board is None else board.sealed,
            "stored": None if running is None or running.storage is None else running.storage.names,
            "nvs_encrypted": None
            if running is None or running.storage is None
            else running.storage.encrypted,
            "spki_sha256": None if key is None else hashlib.sha256(keys.public_der(key)).hexdigest(),
        }


def make_chip(number: int, options: FarmOptions, *, mac: int | None = None) -> FarmChip:
    """Makes a chip, or finds the one that its files in the state folder hold. Start it on the running loop.

    Args:
        number: its place: names of port and control FIFO.
        options: how it is.
        mac: its base MAC; None: the first one plus `number`.
    """
    address = (options.first_mac + number if mac is None else mac).to_bytes(6, "big")
    family, supply = FAMILIES[options.chip], PowerSupply()
    flash_path = efuse_path = None
    if options.state_dir is not None:
        options.state_dir.mkdir(parents=True, exist_ok=True)
        flash_path = options.state_dir / f"{address.hex()}.flash"
        efuse_path = options.state_dir / f"{address.hex()}.efuses"
    known = efuse_path is not None and efuse_path.exists()
    flash = Flash(options.flash_size, supply=supply, path=flash_path)
    efuses = Efuses(family.efuses, mac=address, supply=supply, path=efuse_path)
    if not known:
        _personalize(efuses, options.secrets.get(efuses.mac_text))
        for offset, image in options.stage.items():
            flash.erase(offset, -(-len(image) // SECTOR) * SECTOR)
            flash.program(offset, image)
    firmware = options.boot.firmware
    if number in options.faults:
        firmware = replace(firmware, faults=Faults.from_json(options.faults[number]))
    chain = BootChain(replace(options.boot, firmware=firmware))
    options.link_dir.mkdir(parents=True, exist_ok=True)
    link = options.link_dir / f"port-{number}"
    chip = Chip(
        family,
        flash=flash,
        efuses=efuses,
        supply=supply,
        machine=chain,
        link=link,
        time_scale=options.time_scale,
    )
    return FarmChip(chip, chain, link)


def _personalize(efuses: Efuses, secret: bytes | None) -> None:
    if secret is not None:
        Security(efuses).burn_hmac_key(secret)


def stage_of_bundle(path: Path, *, locking: bool = False) -> dict[int, bytes]:
    """What a chip holds that was flashed with a bundle's manufacturing stage, by offset.

    Args:
        path: the bundle's file.
        locking: with the secure bootloader, so that the chip locks itself before it comes to the factory.

    Raises:
        ValueError: not a bundle that has one.
    """
    try:
        roles = _SAME_IN_BOTH | {"secure-bootloader" if locking else "bootloader"}
        with zipfile.ZipFile(path) as bundle:
            manifest = json.loads(bundle.read("manifest.json"))
            stage = {
                int(image["offset"]): bundle.read(f"images/{image['name']}.bin")
                for image in manifest["images"]
                if image["role"] in roles
            }
        table = next(image for image in manifest["images"] if image["role"] == "partition-table")
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"{path}: no bundle with a manufacturing stage: {error}") from error
    partitions = parse_partition_table(stage[int(table["offset"])])
    sequence = 0 if any(part.is_app and part.subtype == FACTORY for part in partitions) else 2
    for part in partitions:
        if part.type == 1 and part.subtype == DATA_OTA:
            stage[part.offset] = otadata(sequence)
    return stage
