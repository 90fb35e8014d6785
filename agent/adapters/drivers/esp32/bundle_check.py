"""A look at a bundle before the first board: would chips of this family take it?"""

from __future__ import annotations

import asyncio

from agent.adapters.drivers.esp32 import chip
from agent.adapters.drivers.esp32.images import read_facts
from agent.adapters.drivers.esp32.worker_process import Worker
from agent.core.bundle import Manifest, Role
from agent.core.bundle_checks import FIRMWARE
from agent.errors import BoardError, ConfigError, LineError
from agent.ports import Firmware

_TIMEOUT_S = 60.0  # starting esptool on a loaded station, and some signatures
_CHIPS = ("esp32", "esp32s2", "esp32s3", "esp32c3", "esp32c6", "esp32h2", "esp32p4")
_REMEDY = "Have the company mend the bundle and send it again; each image is signed with the secure boot key."


async def check_firmware(firmware: Firmware) -> None:
    """See `agent.ports.CheckFirmware`: images, burns, and signatures by espsecure."""
    manifest = firmware.bundle.manifest
    if manifest.chip not in _CHIPS:
        raise ConfigError(
            f"driver esp32 knows no chip {manifest.chip}", remedy=f"Known are {', '.join(_CHIPS)}."
        )
    facts = await asyncio.to_thread(read_facts, firmware)
    if not facts.partitions or manifest.image(Role.BOOTLOADER) is None:
        raise ConfigError("the bundle has no bootloader or no partition table", remedy=_REMEDY)
    try:
        chip.check_burns(manifest.burns)
        async with Worker() as worker:
            burns = [[burn.name, burn.value] for burn in manifest.burns]
            if burns:
                await worker.ask("check_burns", {"chip": manifest.chip, "burns": burns}, _TIMEOUT_S)
            await _check_signatures(worker, firmware, manifest)
    except (BoardError, LineError) as error:
        raise ConfigError(error.detail, remedy=error.remedy or _REMEDY) from error


async def _check_signatures(worker: Worker, firmware: Firmware, manifest: Manifest) -> None:
    """Every firmware is signed: a locked chip falls back to the factory partition when it loses otadata."""
    if manifest.secure_boot is None:
        return
    names = [image.name for image in manifest.images if image.role in FIRMWARE]
    fields = {
        "images": [[name, str(firmware.images[name].resolve())] for name in names],
        "public_key_pem": manifest.secure_boot.public_key_pem,
        "key_sha256": manifest.secure_boot.key_sha256.hex(),
    }
    await worker.ask("check_signatures", fields, _TIMEOUT_S)
