"""What makes a bundle fit to be flashed: images of its chip, apart from each other, in their partitions.

`check_contents` says nothing of who signed the bundle. Secure boot signatures of images are espsecure's to
verify (docs/adr/0014); here stands that they are there, with the expected key.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.bundle import BundleError, Image, Manifest, Role, SecureBoot
from agent.core.esp_image import SECTOR, EspImage, ImageError, is_rsa, parse_image, signing_key_digest
from agent.core.partition_table import (
    APP,
    BOOTLOADER,
    DATA,
    FACTORY,
    NVS,
    NVS_KEYS,
    OTA_0,
    OTA_1,
    OTADATA,
    OTADATA_BYTES,
    PARTITION_TABLE,
    PRIMARY,
    Partition,
    PartitionTableError,
    find,
    parse_partition_table,
)
from agent.core.table_place import BOOTLOADERS, check_looked_for, check_room
from agent.core.version import VersionKey, version_key

_SMALLEST_FLASH = 1024 * 1024  # bytes: a partition table with factory and ota_0 fits no smaller one


@dataclass(frozen=True, slots=True)
class Chip:
    """What of a chip its images depend on (esptool's targets)."""

    image_id: int  # esp_chip_id_t in image headers
    bootloader_offset: int
    ecdsa: bool  # secure boot v2 with P-256; RSA 3072 on all of them


CHIPS: Mapping[str, Chip] = {
    "esp32": Chip(0, 0x1000, ecdsa=False),
    "esp32s2": Chip(2, 0x1000, ecdsa=False),
    "esp32s3": Chip(9, 0x0, ecdsa=False),
    "esp32c3": Chip(5, 0x0, ecdsa=False),
    "esp32c6": Chip(13, 0x0, ecdsa=True),
    "esp32h2": Chip(16, 0x0, ecdsa=True),
    "esp32p4": Chip(18, 0x2000, ecdsa=True),
}
FIRMWARE = BOOTLOADERS | {Role.MANUFACTURING, Role.APPLICATION}  # ESP images, with a digest of their own
_REQUIRED = (Role.BOOTLOADER, Role.PARTITION_TABLE, Role.MANUFACTURING, Role.APPLICATION)
# Partitions that the station or the firmware writes: an image there would be lost, or would undo them.
_NOT_OURS = {(DATA, OTADATA), (DATA, NVS), (DATA, NVS_KEYS)}
# After one of these is burned the ROM no longer tells what was burned: no other can be confirmed.
_CLOSING = frozenset({"ENABLE_SECURITY_DOWNLOAD", "DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS"})


def check_contents(manifest: Manifest, images: Mapping[str, bytes]) -> None:
    """Checks a manifest against its images, by name.

    Raises:
        BundleError: the text names the image.
    """
    chip = CHIPS.get(manifest.chip)
    if chip is None:
        raise BundleError(f"chip {manifest.chip} is not known; known are {', '.join(CHIPS)}")
    size = manifest.flash_size
    if size < _SMALLEST_FLASH or size & (size - 1):
        raise BundleError(f"flash_size {size} is not a power of two from {_SMALLEST_FLASH}")
    _version(manifest.version, "the bundle")
    _check_roles(manifest)
    check_room(manifest)
    _check_places(manifest)
    # So no name appears twice, either.
    if list(images) != [image.name for image in manifest.images]:
        raise BundleError("the files under images/ are not those of the manifest, in its order")
    for image in manifest.images:
        data = images[image.name]
        if len(data) != image.size or hashlib.sha256(data).digest() != image.sha256:
            raise BundleError(f"{image.name}: the file is not the one of the manifest: altered or damaged")
    _check_secure_boot(manifest, chip)
    for image in manifest.images:
        if image.role in FIRMWARE:
            _check_firmware(image, read_image(image.name, images[image.name]), chip, manifest.secure_boot)
        elif (image.component, image.version, image.digest) != (None, None, None):
            raise BundleError(f"{image.name}: no firmware reports such an image")
    check_looked_for(manifest, images)
    table = next(image for image in manifest.images if image.role is Role.PARTITION_TABLE)
    partitions = read_partitions(table.name, images[table.name], table.offset)
    _check_partitions(manifest, chip, table, partitions)
    _check_flash_sizes(manifest, images, partitions)
    _check_versions(manifest)
    _check_burns(manifest)


def read_image(name: str, data: bytes) -> EspImage:
    """Reads an image of the bundle. Raises BundleError, naming it."""
    try:
        return parse_image(data)
    except ImageError as error:
        raise BundleError(f"{name}: {error}") from error


def read_partitions(name: str, data: bytes, offset: int) -> tuple[Partition, ...]:
    """Reads the partition table of the bundle, which goes to `offset`. Raises BundleError, naming it."""
    try:
        return parse_partition_table(data, offset)
    except PartitionTableError as error:
        raise BundleError(f"{name}: {error}") from error


def app_place(role: Role, partitions: tuple[Partition, ...]) -> Partition | None:
    """The application's partition is ota_0, the manufacturing firmware's factory, or else ota_1.

    So a chip that loses its otadata starts the application, in a layout without factory.
    """
    if role is Role.APPLICATION:
        return find(partitions, APP, OTA_0)
    return find(partitions, APP, FACTORY) or find(partitions, APP, OTA_1)


def image_version(image: EspImage, role: Role) -> str | None:
    """The version that firmware reports for it: that of its descriptor."""
    if role in BOOTLOADERS:
        return None if image.bootloader_version is None else str(image.bootloader_version)
    return None if image.app is None else image.app.version


def _check_roles(manifest: Manifest) -> None:
    roles = [image.role for image in manifest.images]
    for role in Role:
        if role is not Role.DATA and roles.count(role) > 1:
            raise BundleError(f"two images have the role {role.value}")
    for role in _REQUIRED:
        if role not in roles:
            raise BundleError(f"no image has the role {role.value}")


def _check_places(manifest: Manifest) -> None:
    for image in manifest.images:
        if image.offset % SECTOR:
            raise BundleError(f"{image.name}: its offset {image.offset:#x} is not a multiple of {SECTOR:#x}")
        if image.offset + image.size > manifest.flash_size:
            raise BundleError(f"{image.name}: it ends beyond the flash of {manifest.flash_size} bytes")
    for one, other in itertools.combinations(manifest.images, 2):
        if one.role in BOOTLOADERS and other.role in BOOTLOADERS:
            continue  # the secure one takes the other's place
        if one.offset < _end(other) and other.offset < _end(one):
            raise BundleError(f"{one.name} and {other.name}: they lie over each other")


def _end(image: Image) -> int:
    """Flash is erased by the sector: what stands in the rest of the last one is lost."""
    return -(-(image.offset + image.size) // SECTOR) * SECTOR


def _check_secure_boot(manifest: Manifest, chip: Chip) -> None:
    if manifest.secure_boot is None:
        if manifest.image(Role.SECURE_BOOTLOADER) is not None:
            raise BundleError(
                "a secure-bootloader without secure_boot: nothing says with which key it is signed"
            )
        return
    pem = manifest.secure_boot.public_key_pem.encode("utf-8", "replace")
    try:
        digest, rsa = signing_key_digest(pem), is_rsa(pem)
    except ImageError as error:
        raise BundleError(f"secure_boot: {error}") from error
    if digest != manifest.secure_boot.key_sha256:
        raise BundleError("secure_boot: key_sha256 is not the digest of its public key")
    if not rsa and not chip.ecdsa:
        raise BundleError(f"secure_boot: {manifest.chip} takes RSA 3072 keys alone")


def _check_firmware(image: Image, parsed: EspImage, chip: Chip, secure_boot: SecureBoot | None) -> None:
    if parsed.chip_id != chip.image_id:
        of = next((name for name, known in CHIPS.items() if known.image_id == parsed.chip_id), "another chip")
        raise BundleError(f"{image.name}: an image for {of}")
    if image.role not in BOOTLOADERS and parsed.app is None:
        raise BundleError(f"{image.name}: no application: it has no application descriptor")
    if image.role in BOOTLOADERS and parsed.app is not None:
        raise BundleError(f"{image.name}: an application, not a bootloader")
    if image.version != image_version(parsed, image.role):
        raise BundleError(f"{image.name}: the image says another version than the manifest")
    if image.digest != parsed.digest:
        raise BundleError(f"{image.name}: the image has another digest than the manifest says")
    if secure_boot is not None and secure_boot.key_sha256 not in parsed.signing_keys:
        found = "with another key" if parsed.signing_keys else "at all"
        what = "is not signed" if not parsed.signing_keys else "is signed"
        raise BundleError(f"{image.name}: it {what} for secure boot v2 {found}")


def _check_partitions(
    manifest: Manifest, chip: Chip, table: Image, partitions: tuple[Partition, ...]
) -> None:
    own = find(partitions, BOOTLOADER, PRIMARY)
    if own is not None and own.offset != chip.bootloader_offset:
        raise BundleError(
            f"{table.name}: its bootloader stands at {own.offset:#x}, that of {manifest.chip} at "
            f"{chip.bootloader_offset:#x}"
        )
    if max(one.end for one in partitions) > manifest.flash_size:
        raise BundleError(f"{table.name}: a partition ends beyond the flash of {manifest.flash_size} bytes")
    otadata = find(partitions, DATA, OTADATA)
    if otadata is None or otadata.size != OTADATA_BYTES:
        raise BundleError(
            f"{table.name}: no data/ota partition of {OTADATA_BYTES:#x} bytes to switch the firmware with"
        )
    for image in manifest.images:
        if image.role in BOOTLOADERS and image.offset != chip.bootloader_offset:
            raise BundleError(
                f"{image.name}: a bootloader of {manifest.chip} belongs at {chip.bootloader_offset:#x}"
            )
        if image.role in {Role.MANUFACTURING, Role.APPLICATION}:
            _check_app_place(image, partitions)
        if image.role is Role.DATA:
            _check_data_place(image, partitions)


def _check_flash_sizes(
    manifest: Manifest, images: Mapping[str, bytes], partitions: tuple[Partition, ...]
) -> None:
    """A bootloader believes its header: it starts nothing when a partition lies beyond that size, and its
    firmware stops on a smaller chip. esptool could set the size while it writes, but in nothing signed."""
    used = max(one.end for one in partitions)
    for image in manifest.images:
        if image.role not in BOOTLOADERS:
            continue
        size = read_image(image.name, images[image.name]).flash_size
        if size is None or not used <= size <= manifest.flash_size:
            built = "an unknown size" if size is None else f"{size >> 20} MB"
            raise BundleError(
                f"{image.name}: built for a flash of {built}; partitions end at {used:#x}, and the flash has "
                f"{manifest.flash_size >> 20} MB (CONFIG_ESPTOOLPY_FLASHSIZE)"
            )


def _check_app_place(image: Image, partitions: tuple[Partition, ...]) -> None:
    place = app_place(image.role, partitions)
    if place is None:
        text = "app/ota_0" if image.role is Role.APPLICATION else "app/factory, and no app/ota_1,"
        raise BundleError(f"{image.name}: the partition table has no {text} for it")
    if image.offset != place.offset or image.offset + image.size > place.end:
        raise BundleError(
            f"{image.name}: it must begin with partition {place.label} at {place.offset:#x} and fit into it"
        )


def _check_data_place(image: Image, partitions: tuple[Partition, ...]) -> None:
    for place in partitions:
        if place.offset <= image.offset and image.offset + image.size <= place.end:
            if place.type in {APP, BOOTLOADER, PARTITION_TABLE} or (place.type, place.subtype) in _NOT_OURS:
                raise BundleError(f"{image.name}: partition {place.label} is not for data of a bundle")
            return
    raise BundleError(f"{image.name}: it does not lie within one partition")


def _check_versions(manifest: Manifest) -> None:
    reported: dict[str, Role] = {}
    for image in manifest.images:
        if image.component is None:
            continue
        if image.version is None:
            raise BundleError(
                f"{image.name}: it says no version, so no firmware can report it as a component"
            )
        _version(image.version, image.name)
        before = reported.get(image.component)
        if before is not None and {before, image.role} != BOOTLOADERS:
            raise BundleError(f"{image.name}: another image is reported as {image.component} too")
        reported[image.component] = image.role
    for component, least in manifest.minimum_versions.items():
        images = [image for image in manifest.images if image.component == component]
        if not images:
            raise BundleError(f"minimum_versions: no image is reported as {component}")
        for image in images:
            if _version(image.version or "", image.name) < _version(least, "minimum_versions"):
                raise BundleError(
                    f"{image.name}: it is older than minimum_versions says, {image.version} < {least}"
                )


def _version(text: str, where: str) -> VersionKey:
    try:
        return version_key(text)
    except ValueError as error:
        raise BundleError(f"{where}: {error}") from error


def _check_burns(manifest: Manifest) -> None:
    names = [burn.name for burn in manifest.burns]
    if len(set(names)) != len(names):
        raise BundleError("burns: an eFuse appears twice")
    for burn, following in itertools.zip_longest(manifest.burns, manifest.burns[1:]):
        if burn.name.startswith(("BLOCK", "KEY_PURPOSE")):
            raise BundleError(f"burns: {burn.name}: keys are the chip's own affair")
        if following is not None and burn.after_first_boot and not following.after_first_boot:
            raise BundleError(f"burns: {following.name} is burned at seal, and stands after {burn.name}")
        if burn.name in _CLOSING and not (burn.after_first_boot and following is None):
            raise BundleError(
                f"burns: {burn.name} must be the last, after first-boot: no later one could be read"
            )
