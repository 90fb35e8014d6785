"""Makes bundles from a description, `bundle.toml`, and the images that it names.

Versions and digests are taken out of the images, and offsets out of the partition table: a description cannot
say something else than what will be flashed. deploy/examples/bundle.toml shows all keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.bundle import BundleError, Burn, Image, Manifest, Role, SecureBoot
from agent.core.bundle_checks import (
    CHIPS,
    FIRMWARE,
    app_place,
    image_version,
    read_image,
    read_partitions,
)
from agent.core.bundle_verify import make_bundle
from agent.core.esp_image import ImageError, signing_key_digest
from agent.core.file_problems import in_one_line, problems
from agent.core.partition_table import TABLE_BYTES, TABLE_OFFSET, Partition
from agent.core.table_place import BOOTLOADERS, place_of_table
from agent.core.toml_text import TomlError, read_toml

MAX_DESCRIPTION_BYTES = 65_536
_MIB = 1024 * 1024
# Names in a board's `fw` (docs/esp32.md).
_COMPONENTS = {
    Role.BOOTLOADER: "boot",
    Role.SECURE_BOOTLOADER: "boot",
    Role.MANUFACTURING: "manufacturing",
    Role.APPLICATION: "app",
}


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _ImageTable(_Table):
    role: Annotated[Role, Field(strict=False)]
    file: Annotated[str, Field(min_length=1)]
    name: str | None = None  # none: that of the role
    partition: str | None = None  # of data: the label of the partition that it fills
    offset: int | None = None  # of data: bytes, in place of `partition`
    component: str | None = None
    reported: bool = True  # False: boards do not report this firmware

    @property
    def called(self) -> str:
        """The image's name in the bundle."""
        return self.name or self.role.value


class _BurnTable(_Table):
    name: str
    value: int
    when: Literal["seal", "first-boot"]


class _SecureBootTable(_Table):
    public_key: Annotated[str, Field(min_length=1)]


class _Description(_Table):
    product: str
    version: str
    chip: str
    flash_size: Annotated[str, Field(pattern=r"^[0-9]{1,3}MB$")]
    # Where both builds have their table: CONFIG_PARTITION_TABLE_OFFSET. None: where the bootloaders look for
    # it, or at ESP-IDF's own place, where their code does not show it.
    partition_table_offset: Annotated[int, Field(gt=0, lt=1 << 24, multiple_of=0x1000)] | None = None
    image: list[_ImageTable]
    minimum_versions: dict[str, str] = Field(default_factory=dict)
    secure_boot: _SecureBootTable | None = None
    burn: list[_BurnTable] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Description:
    """A description in good form. `files` are the paths that it names, as they stand there."""

    files: Mapping[str, str]  # by the image's name
    public_key: str | None  # path of the secure boot key, PEM
    table: _Description


def parse_description(data: bytes) -> Description:
    """Reads a description, UTF-8 TOML.

    Raises:
        BundleError: it is none; all keys that are wrong are named.
    """
    if len(data) > MAX_DESCRIPTION_BYTES:
        raise BundleError(f"larger than {MAX_DESCRIPTION_BYTES} bytes")
    try:
        table = _Description.model_validate(read_toml(data))
    except ValidationError as error:
        raise BundleError(in_one_line(problems(error))) from error
    except TomlError as error:
        raise BundleError(error.what) from error
    files: dict[str, str] = {}
    for image in table.image:
        name = image.called
        if name in files:
            raise BundleError(f"image: two are called {name}: give one another name")
        if image.role is not Role.DATA and (image.offset is not None or image.partition is not None):
            raise BundleError(f"{name}: its place follows from its role; take out offset and partition")
        if image.role is Role.DATA and (image.offset is None) == (image.partition is None):
            raise BundleError(f"{name}: give either partition or offset")
        files[name] = image.file
    public_key = None if table.secure_boot is None else table.secure_boot.public_key
    return Description(files, public_key, table)


def build_bundle(
    description: Description, images: Mapping[str, bytes], public_key_pem: bytes | None
) -> bytes:
    """The unsigned bundle of a description.

    Args:
        description: what to make.
        images: the content of each file of `description.files`, by the image's name.
        public_key_pem: the content of `description.public_key`.

    Raises:
        BundleError: the images are not fit to be flashed; the text names the one.
    """
    table = description.table
    chip = CHIPS.get(table.chip)
    if chip is None:
        raise BundleError(f"chip {table.chip} is not known; known are {', '.join(CHIPS)}")
    bootloaders = {image.called: images[image.called] for image in table.image if image.role in BOOTLOADERS}
    table_at = place_of_table(bootloaders, table.partition_table_offset)
    partitions = _partitions(table, images, table_at)
    places = _Places(chip.bootloader_offset, TABLE_OFFSET if table_at is None else table_at)
    manifest = Manifest(
        product=table.product,
        version=table.version,
        chip=table.chip,
        flash_size=int(table.flash_size.removesuffix("MB")) * _MIB,
        images=tuple(_image(image, images[image.called], partitions, places) for image in table.image),
        minimum_versions=table.minimum_versions,
        secure_boot=None if public_key_pem is None else _secure_boot(public_key_pem),
        burns=tuple(Burn(burn.name, burn.value, burn.when == "first-boot") for burn in table.burn),
    )
    return make_bundle(manifest, images)


def _partitions(
    table: _Description, images: Mapping[str, bytes], table_at: int | None
) -> tuple[Partition, ...]:
    for image in table.image:
        if image.role is Role.PARTITION_TABLE:
            name, content = image.called, images[image.called]
            if table_at is not None:
                return read_partitions(name, content, table_at)
            found = read_partitions(name, content, TABLE_OFFSET)
            _check_said(name, found)
            return found
    raise BundleError("no image has the role partition-table")


def _check_said(name: str, partitions: tuple[Partition, ...]) -> None:
    """Nothing says where the table stands. It usually stands right before its first partition: where that is
    elsewhere, somebody has to say so, or a table that was built for another place is flashed where no
    bootloader looks for it."""
    first = min((one.offset for one in partitions if not one.stands_anyhow), default=0)
    if first != TABLE_OFFSET + TABLE_BYTES:
        raise BundleError(
            f"{name}: its first partition begins at {first:#x}, so it was perhaps not built for "
            f"{TABLE_OFFSET:#x}: say partition_table_offset, as CONFIG_PARTITION_TABLE_OFFSET of both builds"
        )


@dataclass(frozen=True, slots=True)
class _Places:
    bootloader: int
    table: int


def _image(wanted: _ImageTable, content: bytes, partitions: tuple[Partition, ...], places: _Places) -> Image:
    role, name = wanted.role, wanted.called
    component, version, digest = None, None, None
    if role in FIRMWARE:
        parsed = read_image(name, content)
        version, digest = image_version(parsed, role), parsed.digest
        component = (wanted.component or _COMPONENTS[role]) if wanted.reported else None
    elif wanted.component is not None or not wanted.reported:
        raise BundleError(f"{name}: no firmware reports such an image; take out component and reported")
    offset = _offset(wanted, partitions, places)
    sha256 = hashlib.sha256(content).digest()
    return Image(name, role, offset, len(content), sha256, component, version, digest)


def _offset(wanted: _ImageTable, partitions: tuple[Partition, ...], places: _Places) -> int:
    role = wanted.role
    if role in BOOTLOADERS:
        return places.bootloader
    if role is Role.PARTITION_TABLE:
        return places.table
    if wanted.offset is not None:
        return wanted.offset
    if role in {Role.MANUFACTURING, Role.APPLICATION}:
        place = app_place(role, partitions)
        wanted_place = "app/factory or app/ota_1" if role is Role.MANUFACTURING else "app/ota_0"
    else:
        place = next((one for one in partitions if one.label == wanted.partition), None)
        wanted_place = f"partition called {wanted.partition}"
    if place is None:
        raise BundleError(f"{wanted.called}: the partition table has no {wanted_place}")
    return place.offset


def _secure_boot(public_key_pem: bytes) -> SecureBoot:
    try:
        return SecureBoot(signing_key_digest(public_key_pem), public_key_pem.decode("ascii"))
    except (ImageError, UnicodeDecodeError) as error:
        raise BundleError(f"secure_boot.public_key: {error}") from error
