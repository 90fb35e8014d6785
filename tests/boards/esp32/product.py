"""The images of a whole product: both bootloaders, partition table, manufacturing firmware and application.

    images = make_images("esp32s3", SigningKey.make(folder), version="1.4.0")
    images.write(folder)       # bootloader.bin, secure-bootloader.bin, partition-table.bin, …

The markers say what a simulated chip does with each (`boards.esp32.boot`, `boards.esp32.firmware`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boards.esp32.images import FAMILIES, app_image, bootloader_image
from boards.esp32.partitions import (
    PARTITION_TABLE_OFFSET,
    Partition,
    default_partitions,
    otadata,
    partition_table,
)
from boards.esp32.signing import SigningKey

BOOTLOADER: Mapping[str, object] = {"firmware": "bootloader"}
SECURE_BOOTLOADER: Mapping[str, object] = {"firmware": "bootloader", "locks": True}
MANUFACTURING: Mapping[str, object] = {"firmware": "manufacturing"}
APPLICATION: Mapping[str, object] = {"firmware": "application"}


@dataclass(frozen=True, slots=True)
class ProductImages:
    """Images by the name of their role in a bundle, and where they go."""

    chip: str
    partitions: tuple[Partition, ...]
    table_offset: int
    by_role: Mapping[str, bytes]

    def offset(self, role: str) -> int:
        """Where the image goes, bytes from the start of flash."""
        if role.endswith("bootloader"):
            return FAMILIES[self.chip].bootloader_offset
        if role == "partition-table":
            return self.table_offset
        names = {part.name for part in self.partitions}
        manufacturing = "factory" if "factory" in names else "ota_1"
        name = {"manufacturing": manufacturing, "application": "ota_0"}[role]
        return self.partition(name).offset

    def partition(self, name: str) -> Partition:
        return next(part for part in self.partitions if part.name == name)

    @property
    def manufacturing_stage(self) -> dict[int, bytes]:
        """What a chip holds before `seal`, by offset. Without a factory partition otadata names ota_1."""
        roles = ("bootloader", "partition-table", "manufacturing", "application")
        stage = {self.offset(role): self.by_role[role] for role in roles if role in self.by_role}
        has_factory = any(part.name == "factory" for part in self.partitions)
        return stage | {self.partition("otadata").offset: otadata(0 if has_factory else 2)}

    @property
    def final_stage(self) -> dict[int, bytes]:
        """What `seal` changes, by offset."""
        otadata_at = self.partition("otadata").offset
        if "secure-bootloader" not in self.by_role:
            return {otadata_at: otadata(1)}
        return {self.offset("secure-bootloader"): self.by_role["secure-bootloader"], otadata_at: otadata(1)}

    def write(self, folder: Path) -> dict[str, Path]:
        """Writes `<role>.bin` files; returns their paths by role."""
        paths = {role: folder / f"{role}.bin" for role in self.by_role}
        for role, path in paths.items():
            path.write_bytes(self.by_role[role])
        return paths


def make_images(
    chip: str,
    key: SigningKey | None,
    *,
    project: str = "sensor",
    version: str = "1.4.0",
    manufacturing_version: str = "1.0.0",
    boot_version: int = 3,
    app_bytes: int = 96 * 1024,
    manufacturing_bytes: int = 96 * 1024,
    partitions: tuple[Partition, ...] | None = None,
    table_offset: int | None = None,
    boot_bytes: int = 14 * 1024,
    tells_table: bool = True,
    application: Mapping[str, object] | None = None,
    manufacturing: Mapping[str, object] | None = None,
) -> ProductImages:
    """Makes them all, signed where there is a key.

    Args:
        chip: of `FAMILIES`.
        key: for secure boot v2; None: unsigned images, and no secure bootloader.
        project: the application's name; also the model that boards say they are.
        version: the application's.
        manufacturing_version: the manufacturing firmware's.
        boot_version: both bootloaders'.
        app_bytes: size of the application.
        manufacturing_bytes: size of the manufacturing firmware.
        partitions: None: `default_partitions()`, moved to behind the table.
        table_offset: where the table stands and both bootloaders look for it; None: at 0x8000.
        boot_bytes: size of each bootloader.
        tells_table: whether the bootloaders' code shows where they look for it.
        application: what else the application's marker says, as `boards.esp32.firmware` reads it.
        manufacturing: the same of the manufacturing firmware's.
    """

    def signed(image: bytes) -> bytes:
        return image if key is None else key.sign(image)

    place = PARTITION_TABLE_OFFSET if table_offset is None else table_offset
    layout = default_partitions(table_offset=place) if partitions is None else partitions

    def bootloader(marker: Mapping[str, object]) -> bytes:
        return signed(
            bootloader_image(
                chip, boot_version, marker, size=boot_bytes, table_offset=place, tells=tells_table
            )
        )

    model = {"model": project}
    made = {
        "bootloader": bootloader(BOOTLOADER),
        "partition-table": partition_table(layout),
        "manufacturing": signed(
            app_image(
                chip,
                f"{project}-manufacturing",
                manufacturing_version,
                {**MANUFACTURING, **model, **(manufacturing or {})},
                size=manufacturing_bytes,
            )
        ),
        "application": signed(
            app_image(chip, project, version, {**APPLICATION, **model, **(application or {})}, size=app_bytes)
        ),
    }
    if key is not None:
        made["secure-bootloader"] = bootloader(SECURE_BOOTLOADER)
    return ProductImages(chip, layout, place, made)
