"""A bundle's images as the station needs them to write and to check: their MD5s by block, and what they say.

`read_facts` reads files and blocks for some milliseconds: call it in a thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agent.adapters.drivers.esp32.plan import BLOCK, Content, content
from agent.core.bundle import Image, Role
from agent.core.esp_image import ImageError, parse_image
from agent.core.partition_table import Partition, PartitionTableError, parse_partition_table
from agent.errors import ConfigError
from agent.ports import Firmware

_CODE = frozenset({Role.BOOTLOADER, Role.SECURE_BOOTLOADER, Role.MANUFACTURING, Role.APPLICATION})

__all__ = ["BLOCK", "BundleFacts", "ImageFacts", "read_facts"]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What one image says of itself."""

    content: Content
    revisions: tuple[int, int] | None  # of the chip, least and greatest; None for what is not run
    signing_keys: tuple[bytes, ...]  # digests of secure boot keys, as eFuses hold them


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What the images of a bundle say."""

    images: dict[str, ImageFacts]  # by name
    partitions: tuple[Partition, ...]


def read_facts(firmware: Firmware) -> BundleFacts:
    """Reads the images from their files.

    Raises:
        ConfigError: a file is not what the manifest says, or of no form that the chip would take.
    """
    images = {}
    partitions: tuple[Partition, ...] = ()
    for image in firmware.bundle.manifest.images:
        data = _read(firmware, image)
        if image.role is Role.PARTITION_TABLE:
            partitions = _partitions(image, data)
        images[image.name] = _facts(image, data)
    return BundleFacts(images, partitions)


_AGAIN = "Start the station again: it lays the bundle out anew."
_ALTERED = "Stop the line and call the company: somebody changes the station's files."
_BUILD = "Have the company build the bundle again: `birthmark-agent bundle build` says what is wrong."


def _read(firmware: Firmware, image: Image) -> bytes:
    try:
        data = firmware.images[image.name].read_bytes()
    except OSError as error:
        raise ConfigError(f"image {image.name} cannot be read: {error.strerror}", remedy=_AGAIN) from error
    if hashlib.sha256(data).digest() != image.sha256:
        raise ConfigError(f"image {image.name} was altered after the bundle was verified", remedy=_ALTERED)
    return data


def _facts(image: Image, data: bytes) -> ImageFacts:
    if image.role not in _CODE:
        return ImageFacts(content(data), None, ())
    try:
        parsed = parse_image(data)
    except ImageError as error:
        raise ConfigError(f"image {image.name}: {error}", remedy=_BUILD) from error
    maximum = parsed.maximum_revision or 0xFFFF  # 0: built before the field existed
    return ImageFacts(content(data), (parsed.minimum_revision, maximum), parsed.signing_keys)


def _partitions(image: Image, data: bytes) -> tuple[Partition, ...]:
    try:
        return parse_partition_table(data, image.offset)
    except PartitionTableError as error:
        raise ConfigError(f"image {image.name}: {error}", remedy=_BUILD) from error
