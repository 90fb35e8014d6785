"""Firmware bundles: what a product's boards are flashed with (docs/formats.md, "Bundle").

`Bundle` is only made by `agent.core.bundle_verify.verify_bundle`: whoever holds one holds images that the
company's key signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_BUNDLE_BYTES = 64 * 1024 * 1024  # the whole file
MAX_IMAGE_BYTES = 32 * 1024 * 1024
MAX_IMAGES = 32


class BundleError(ValueError):
    """The bytes are no bundle that may be flashed; the text says where and why."""


class Role(StrEnum):
    """What an image is for."""

    BOOTLOADER = "bootloader"  # starts the manufacturing firmware; the product's too, where there is no other
    SECURE_BOOTLOADER = "secure-bootloader"  # takes the bootloader's place at `seal`, and locks the chip
    PARTITION_TABLE = "partition-table"
    MANUFACTURING = "manufacturing"  # speaks the board protocol; goes into the factory partition
    APPLICATION = "application"  # goes into ota_0; what the customer's board runs
    DATA = "data"  # a file system, a modem's firmware, …


@dataclass(frozen=True, slots=True)
class Image:
    """One file of a bundle and where it goes."""

    name: str  # [a-z0-9-]{1,32}, unique in the bundle
    role: Role
    offset: int  # in flash, bytes
    size: int  # bytes
    sha256: bytes  # of the file, 32 bytes
    component: str | None  # its name in a board's `fw`, e.g. "app"; None: boards do not report it
    version: str | None  # as the image itself says; None where it says none
    digest: bytes | None  # the SHA-256 that the firmware reports for it (appended to the image), 32 bytes


@dataclass(frozen=True, slots=True)
class Burn:
    """An eFuse that the station burns."""

    name: str  # as espefuse names it
    value: int
    after_first_boot: bool  # else at `seal`, before the chip locks itself


@dataclass(frozen=True, slots=True)
class SecureBoot:
    """Secure boot v2: the key with which bootloaders and applications are signed."""

    key_sha256: bytes  # as it stands in the eFuses, 32 bytes
    public_key_pem: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself."""

    product: str
    version: str
    chip: str  # as esptool names it: esp32, esp32s2, esp32s3, esp32c3, esp32c6, esp32h2, esp32p4
    flash_size: int  # bytes; the chip has at least so much
    images: tuple[Image, ...]
    minimum_versions: Mapping[str, str]  # by component; images of this bundle are not older
    secure_boot: SecureBoot | None
    burns: tuple[Burn, ...]  # in the order of burning

    def image(self, role: Role) -> Image | None:
        """The image of that role; DATA may have several, then the first."""
        return next((image for image in self.images if image.role is role), None)

    def final_firmware(self) -> Mapping[str, Image]:
        """By component: what a sealed board's application reports in its stamp.

        The manufacturing firmware is not in it, nor a bootloader that a secure one replaces.
        """
        replaced = Role.BOOTLOADER if self.image(Role.SECURE_BOOTLOADER) is not None else None
        left_out = {Role.MANUFACTURING, replaced}
        return {
            image.component: image
            for image in self.images
            if image.component is not None and image.role not in left_out
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest whose signature and images were verified."""

    manifest: Manifest
    digest: bytes  # SHA-256 of the manifest's bytes, 32 bytes: the bundle's name in a work order
