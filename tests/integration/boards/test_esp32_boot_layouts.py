"""Where the table stands, and which partitions there are: what a simulated chip starts in each layout."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent.core.bundle_build import build_bundle, parse_description
from agent.core.bundle_verify import read_unverified
from boards.esp32.images import FAMILIES as IMAGE_FAMILIES
from boards.esp32.partitions import (
    OTA_0,
    Partition,
    default_partitions,
    ota_only_partitions,
    otadata,
    parse_partition_table,
    partition_table,
)
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey
from harness.esp32_boots import BootBench

PLACES = (0x9000, 0xC000, 0x10000)
SLOT = 0x10000
KIB_28 = 0x7000

every_family = pytest.mark.parametrize("family", IMAGE_FAMILIES)


def small(
    family: str, key: SigningKey | None, partitions: tuple[Partition, ...], place: int
) -> ProductImages:
    return make_images(
        family,
        key,
        partitions=partitions,
        table_offset=place,
        app_bytes=16_384,
        manufacturing_bytes=16_384,
    )


@cache
def with_table_at(family: str, place: int) -> ProductImages:
    return small(family, None, default_partitions(SLOT, SLOT, place), place)


@every_family
@pytest.mark.parametrize("place", PLACES, ids=hex)
async def test_it_starts_where_its_bootloader_was_built_for_the_table(
    family: str, place: int, tmp_path: Path
) -> None:
    images = with_table_at(family, place)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        assert set(bench.hello()["fw"]) == {"app", "boot", "manufacturing"}
        bench.write(images.final_stage)
        bench.reset()
        await bench.until_runs("application")


@pytest.mark.parametrize("looks", [0x9000, 0xC000])
async def test_it_finds_no_table_at_another_place(looks: int, tmp_path: Path) -> None:
    """What a bundle does on every board whose bootloader was built for another place."""
    images = with_table_at("esp32s3", 0x10000)
    elsewhere = with_table_at("esp32s3", looks).by_role["bootloader"]
    stage = images.manufacturing_stage | {images.offset("bootloader"): elsewhere}
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        await bench.until_printed("load partition table error!", times=2)
        assert bench.chain.running is None


@pytest.mark.parametrize(("sequence", "runs"), [(0, "application"), (1, "application"), (2, "manufacturing")])
async def test_without_a_factory_partition_otadata_names_the_slot(
    sequence: int, runs: str, tmp_path: Path
) -> None:
    """Blank otadata starts ota_0, so a chip that loses it starts the application."""
    images = small("esp32s3", None, ota_only_partitions(SLOT), 0x8000)
    stage = images.manufacturing_stage
    assert stage[images.partition("otadata").offset] == otadata(2)
    async with BootBench(
        "esp32s3", tmp_path, stage | {images.partition("otadata").offset: otadata(sequence)}
    ) as bench:
        await bench.until_runs(runs)


async def test_beside_a_factory_partition_otadata_may_name_ota_1(tmp_path: Path) -> None:
    images = with_two_slots_and_factory()
    ota_1 = images.partition("ota_1").offset
    stage = images.manufacturing_stage | {
        images.partition("otadata").offset: otadata(2),
        ota_1: images.by_role["application"],
    }
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        await bench.until_runs("application")
        assert f"Loaded app from partition at offset 0x{ota_1:x}" in bench.printed


def with_two_slots_and_factory() -> ProductImages:
    table = default_partitions(SLOT, SLOT)
    ota_1 = Partition("ota_1", 0, OTA_0 + 1, table[-1].end, SLOT)
    return small("esp32s3", None, (*table, ota_1), 0x8000)


async def test_a_table_without_any_application_starts_nothing(tmp_path: Path) -> None:
    images = with_table_at("esp32s3", 0x8000)
    data = partition_table([part for part in images.partitions if not part.is_app])
    stage = images.manufacturing_stage | {images.table_offset: data}
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        await bench.until_printed("No bootable app partitions in the partition table", times=2)


@pytest.fixture(scope="session")
def large(signing_key: SigningKey) -> ProductImages:
    """A P4's, whose signed bootloaders end at 0xA000."""
    return make_images(
        "esp32p4",
        signing_key,
        partitions=default_partitions(SLOT, SLOT, 0x10000),
        table_offset=0x10000,
        boot_bytes=KIB_28 - 0x100,
        app_bytes=16_384,
        manufacturing_bytes=16_384,
    )


@pytest.mark.check
async def test_a_large_signed_bootloader_locks_a_p4_with_its_table_behind_it(
    tmp_path: Path, large: ProductImages
) -> None:
    assert 0x2000 + len(large.by_role["secure-bootloader"]) == 0xA000
    async with BootBench("esp32p4", tmp_path, large.manufacturing_stage | large.final_stage) as bench:
        await bench.until_runs("application")
        assert bench.locks == {"secure_boot": True, "flash_encryption": True, "debug_closed": True}
        cells = bench.chip.flash.read(0x10000, 0x1000)
        assert cells[:2] != b"\xaa\x50", "the table is encrypted where it stands"
        assert bench.hello()["sealed"]


@pytest.mark.check
async def test_a_table_at_0x8000_is_lost_under_it(tmp_path: Path, large: ProductImages) -> None:
    """As esp-idf issue 19102 tells: the signature lies over the table, whichever is written last."""
    small_one = replace(large, table_offset=0x8000, partitions=default_partitions(SLOT, SLOT))
    stage = {small_one.offset("bootloader"): large.by_role["bootloader"], 0x8000: b"\xaa\x50" * 8}
    async with BootBench("esp32p4", tmp_path) as bench:
        for offset, data in stage.items():
            bench.write({offset: data})
        bench.reset()
        await bench.until_printed("load failed", times=2)


async def test_a_table_without_md5_is_read_to_its_end(tmp_path: Path) -> None:
    """CONFIG_PARTITION_TABLE_MD5=n, as bootloaders before ESP-IDF v3.1 had it."""
    images = with_table_at("esp32", 0x8000)
    entries = 32 * len(images.partitions)
    table = images.by_role["partition-table"][:entries].ljust(0xC00, b"\xff")
    async with BootBench("esp32", tmp_path, images.manufacturing_stage | {0x8000: table}) as bench:
        await bench.until_runs("manufacturing")


TABLES = json.loads((Path(__file__).parents[2] / "vectors" / "partition-tables" / "tables.json").read_text())
ROLES = ("bootloader", "partition-table", "manufacturing", "application")
DESCRIPTION = 'product = "sensor"\nversion = "1.4.0"\nchip = "{chip}"\nflash_size = "4MB"\n' + "".join(
    f'[[image]]\nrole = "{role}"\nfile = "{role}.bin"\n' for role in ROLES
)


@pytest.mark.parametrize("table", TABLES, ids=[table["case"] for table in TABLES])
async def test_each_table_of_a_project_is_bundled_and_starts(table: dict[str, Any], tmp_path: Path) -> None:
    """Nobody says where it stands: the bootloader's code does."""
    chip, place = "esp32p4" if "P4" in table["case"] else "esp32s3", table["table_offset"]
    data = bytes.fromhex(table["entries"]).ljust(0xC00, b"\xff")
    images = small(chip, None, parse_partition_table(data), place)
    files = {role: data if role == "partition-table" else images.by_role[role] for role in ROLES}
    bundle = read_unverified(
        build_bundle(parse_description(DESCRIPTION.format(chip=chip).encode()), files, None)
    )
    stage = {image.offset: files[image.name] for image in bundle.manifest.images}
    assert stage.keys() == images.manufacturing_stage.keys() - {images.partition("otadata").offset}
    async with BootBench(chip, tmp_path, images.manufacturing_stage | stage) as bench:
        await bench.until_runs("manufacturing")
        bench.write(images.final_stage)
        bench.reset()
        await bench.until_runs("application")
