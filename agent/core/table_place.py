"""Where the partition table stands, and whether the bundle's bootloaders look for it there.

A table says nothing of its place, and a bootloader that finds none starts nothing. What its code says is in
`agent.core.bootloader_code`; a bootloader whose code does not show it is left to who built it.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.bootloader_code import table_offsets
from agent.core.bundle import BundleError, Image, Manifest, Role
from agent.core.esp_image import SECTOR

BOOTLOADERS = frozenset({Role.BOOTLOADER, Role.SECURE_BOOTLOADER})


def check_room(manifest: Manifest) -> None:
    """Refuses a bootloader that reaches into the table. Raises `BundleError`."""
    table = manifest.image(Role.PARTITION_TABLE)
    for image in manifest.images:
        end = -(-(image.offset + image.size) // SECTOR) * SECTOR
        if table is not None and image.role in BOOTLOADERS and image.offset < table.offset < end:
            raise BundleError(
                f"{image.name}: it ends at {end:#x}, and the partition table stands at "
                f"{table.offset:#x}: build both bootloaders and applications with "
                f"CONFIG_PARTITION_TABLE_OFFSET={end:#x} or beyond, and say it as partition_table_offset"
            )


def check_looked_for(manifest: Manifest, images: Mapping[str, bytes]) -> None:
    """Refuses a bootloader that looks for the table at another place. Raises `BundleError`."""
    table = manifest.image(Role.PARTITION_TABLE)
    for image in _bootloaders(manifest):
        looks = table_offsets(images[image.name])
        if table is not None and looks and table.offset not in looks:
            raise BundleError(
                f"{image.name}: its code looks for the partition table at {_places(looks)}, and the bundle "
                f"puts it at {table.offset:#x}: partition_table_offset has to be "
                f"CONFIG_PARTITION_TABLE_OFFSET of both builds"
            )


def not_shown(manifest: Manifest, images: Mapping[str, bytes]) -> tuple[str, ...]:
    """The bootloaders, by name, whose code does not show where they look for the table."""
    return tuple(image.name for image in _bootloaders(manifest) if not table_offsets(images[image.name]))


def shown(bootloaders: Mapping[str, bytes]) -> int | None:
    """The one place at which all of these look for the table, by their names; None where no code shows it.

    Raises:
        BundleError: they look at different places.
    """
    by_name = {name: table_offsets(data) for name, data in bootloaders.items()}
    told = [places for places in by_name.values() if places]
    common = frozenset.intersection(*told) if told else frozenset()
    if told and not common:
        where = ", ".join(f"{name} at {_places(places)}" for name, places in by_name.items() if places)
        raise BundleError(
            f"the bootloaders look for the partition table at different places, {where}: build both with one "
            f"CONFIG_PARTITION_TABLE_OFFSET"
        )
    return min(common, default=None)


def _bootloaders(manifest: Manifest) -> tuple[Image, ...]:
    return tuple(image for image in manifest.images if image.role in BOOTLOADERS)


def _places(offsets: frozenset[int]) -> str:
    return " or ".join(f"{offset:#x}" for offset in sorted(offsets))
