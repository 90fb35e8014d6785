"""A simulated chip on a pty beside the driver `esp32`, and bundles that it is given.

async with rig(tmp_path, "esp32s3", machine) as it:
    async with it.driver() as driver:
        await driver.identify()
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.adapters.drivers.esp32.driver import Esp32Driver
from agent.core.bundle import Bundle, Burn, Image, Manifest, Role, SecureBoot
from agent.core.esp_image import parse_image, signing_key_digest
from agent.errors import AgentError
from agent.ports import BoardIdentity, Firmware, FirmwareDemands
from boards.esp32.chip import Chip, EmptyFlash, Machine
from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import Flash
from boards.esp32.power import PowerSupply
from boards.esp32.product import ProductImages
from boards.paper_ca import SETTINGS, credential_for

MAC = bytes.fromhex("7cdfa1000001")
CHIP_ID = "7c:df:a1:00:00:01"
FLASH_BYTES = 4 << 20
NOTHING_DEMANDED = FirmwareDemands(None, {}, ())
CHIPS = ("esp32", "esp32s3", "esp32c3")
CHALLENGE = bytes(range(32))
BURNS = (
    Burn("DIS_DIRECT_BOOT", 1, after_first_boot=False),
    Burn("ENABLE_SECURITY_DOWNLOAD", 1, after_first_boot=True),
)
_credential = functools.cache(credential_for)
_COMPONENTS = {
    Role.BOOTLOADER: "boot",
    Role.SECURE_BOOTLOADER: "boot",
    Role.MANUFACTURING: "manufacturing",
    Role.APPLICATION: "app",
}


@dataclass
class Rig:
    """The chip, and how a station reaches it."""

    chip: Chip
    link: Path
    options: dict[str, object] = field(default_factory=dict)

    def driver(self, firmware: Firmware | None = None, **options: object) -> Esp32Driver:
        """A driver of the station, opened by the test."""
        return Esp32Driver(str(self.link), self.options | options, firmware)

    @property
    def efuses(self) -> list[bytes]:
        """The blocks as the silicon holds them, read-protected or not."""
        return [self.chip.efuses.hardware_key(index) for index in range(len(self.chip.efuses.layout.blocks))]

    @property
    def matter(self) -> str:
        """A digest of all that a station could change on the chip: every flash byte and every eFuse."""
        flash = self.chip.flash.read(0, self.chip.flash.size)
        return hashlib.sha256(flash + repr(self.efuses).encode()).hexdigest()


@asynccontextmanager
async def rig(
    folder: Path, family: str = "esp32s3", machine: Machine | None = None, *, flash_bytes: int = FLASH_BYTES
) -> AsyncIterator[Rig]:
    """A chip that is powered on. Its buttons are pressed by the driver's reset command."""
    supply = PowerSupply()
    link = folder / "port"
    chip = Chip(
        FAMILIES[family],
        flash=Flash(flash_bytes, supply=supply),
        efuses=Efuses(FAMILIES[family].efuses, mac=MAC, supply=supply),
        supply=supply,
        machine=EmptyFlash() if machine is None else machine,
        link=link,
    )
    press = ("/bin/sh", "-c", 'echo "reset $BIRTHMARK_RESET" > "$BIRTHMARK_PORT.control"')
    await chip.start()
    try:
        yield Rig(chip, link, {"reset_command": press, "boot_timeout_s": 5.0})
    finally:
        await chip.stop()


def make_firmware(
    folder: Path,
    images: ProductImages,
    *,
    key_pem: str | None = None,
    burns: tuple[Burn, ...] = (),
    minimum_versions: Mapping[str, str] | None = None,
    flash_size: int = FLASH_BYTES,
) -> Firmware:
    """A bundle as if it had been verified, its images laid out in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = images.write(folder)
    secure_boot = None
    if key_pem is not None:
        secure_boot = SecureBoot(signing_key_digest(key_pem.encode()), key_pem)
    manifest = Manifest(
        product="sensor",
        version="1.4.0",
        chip=images.chip,
        flash_size=flash_size,
        images=tuple(
            _describe(Role(role), images.offset(role), data) for role, data in images.by_role.items()
        ),
        minimum_versions=minimum_versions or {},
        secure_boot=secure_boot,
        burns=burns,
    )
    digest = hashlib.sha256(repr(manifest).encode()).digest()
    return Firmware(Bundle(manifest, digest), paths)


def with_manifest(firmware: Firmware, **changes: object) -> Firmware:
    """The same images under another manifest."""
    manifest = replace(firmware.bundle.manifest, **changes)  # type: ignore[arg-type]
    return replace(firmware, bundle=replace(firmware.bundle, manifest=manifest))


def _describe(role: Role, offset: int, data: bytes) -> Image:
    version, digest = None, None
    component = _COMPONENTS.get(role)
    if component is not None:
        parsed = parse_image(data)
        version = parsed.app.version if parsed.app is not None else str(parsed.bootloader_version)
        digest = parsed.digest
    sha256 = hashlib.sha256(data).digest()
    return Image(role.value, role, offset, len(data), sha256, component, version, digest)


async def prepare(driver: Esp32Driver) -> None:
    """All that a station does before the seal."""
    await driver.identify()
    await driver.flash(NOTHING_DEMANDED)
    await driver.keygen("p256")
    request = await driver.request(CHALLENGE)
    spki = x509.load_der_x509_csr(request.csr_der).public_key()
    await driver.install(_credential(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))
    await driver.configure(SETTINGS)


async def finish(driver: Esp32Driver) -> BoardIdentity:
    """All that comes then."""
    await driver.seal()
    await driver.first_boot()
    found = await driver.identify()
    assert found.chip_id == CHIP_ID
    assert found.board is not None
    return found.board


async def until_done(it: Rig, bundle: Firmware, tries: int = 4) -> BoardIdentity:
    """Presents the board again, as an operator does, until it is finished."""
    for left in range(tries, 0, -1):
        it.chip.plug()
        it.chip.power_on()
        try:
            async with it.driver(bundle) as driver:
                await prepare(driver)
                return await finish(driver)
        except AgentError as error:
            if not error.retryable or left == 1:
                raise
    raise AssertionError("unreachable")


def is_locked(it: Rig) -> bool:
    """By the eFuses."""
    return it.chip.efuses.secure_boot and it.chip.efuses.flash_encryption
