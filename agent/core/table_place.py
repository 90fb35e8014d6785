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
    if table is not None:
        _check_place({image.name: images[image.name] for image in _bootloaders(manifest)}, table.offset)


def _check_place(bootloaders: Mapping[str, bytes], place: int) -> None:
    for name, data in bootloaders.items():
        looks = table_offsets(data)
        if looks and place not in looks:
            raise BundleError(
                f"{name}: its code looks for the partition table at {_places(looks)}, and the bundle puts "
                f"it at {place:#x}: partition_table_offset has to be CONFIG_PARTITION_TABLE_OFFSET of both "
                f"builds"
            )


def not_shown(manifest: Manifest, images: Mapping[str, bytes]) -> tuple[str, ...]:
    """The bootloaders, by name, whose code does not show where they look for the table."""
    return tuple(image.name for image in _bootloaders(manifest) if not table_offsets(images[image.name]))


def place_of_table(bootloaders: Mapping[str, bytes], said: int | None) -> int | None:
    """Where the table goes: where it is said, or where these bootloaders, by their names, look for it.

    None where nothing is said and no code shows it.

    Raises:
        BundleError: they look at different places, or at another than is said.
    """
    if said is not None:
        _check_place(bootloaders, said)
        return said
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
