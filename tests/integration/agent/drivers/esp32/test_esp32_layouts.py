"""Tables at other places, layouts without factory, large signed bootloaders: from empty to locked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.bundle_verify import make_bundle
from boards.esp32.boot import BootChain
from boards.esp32.partitions import Partition, default_partitions, ota_only_partitions, otadata
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey
from harness.esp32_rig import BURNS, FLASH_BYTES, Rig, finish, is_locked, make_firmware, prepare, rig

pytestmark = pytest.mark.check

SLOT = 0x40000


@dataclass(frozen=True, slots=True)
class Layout:
    """A chip and how its flash is divided."""

    chip: str
    table_offset: int
    partitions: tuple[Partition, ...]
    boot_bytes: int = 14 * 1024


def two_slots_and_factory(place: int) -> tuple[Partition, ...]:
    table = default_partitions(SLOT, SLOT, place)
    return (*table, Partition("ota_1", 0, 0x11, table[-1].end, SLOT))


LAYOUTS = {
    "table at 0x9000": Layout("esp32s3", 0x9000, default_partitions(SLOT, SLOT, 0x9000)),
    "ota-only, table at 0xc000": Layout("esp32c3", 0xC000, ota_only_partitions(SLOT, 0xC000)),
    "classic, two slots and factory, table at 0x10000": Layout(
        "esp32", 0x10000, two_slots_and_factory(0x10000)
    ),
    "p4 with a large signed bootloader": Layout(
        "esp32p4", 0x10000, default_partitions(SLOT, SLOT, 0x10000), 0x6F00
    ),
}


def made(layout: Layout, key: SigningKey | None) -> ProductImages:
    return make_images(
        layout.chip,
        key,
        partitions=layout.partitions,
        table_offset=layout.table_offset,
        boot_bytes=layout.boot_bytes,
    )


@pytest.mark.parametrize("name", LAYOUTS)
async def test_from_an_empty_chip_to_a_locked_one(name: str, tmp_path: Path, key: SigningKey) -> None:
    layout = LAYOUTS[name]
    images = made(layout, key)
    burns = () if layout.chip == "esp32" else BURNS
    bundle = make_firmware(tmp_path / "bundle", images, key_pem=key.public_pem, burns=burns)
    make_bundle(bundle.bundle.manifest, images.by_role)  # it is one that the company's desk lets pass
    async with rig(tmp_path, layout.chip, BootChain()) as it, it.driver(bundle) as driver:
        await prepare(driver)
        await driver.seal()
        assert not is_locked(it)
        board = await finish(driver)
        assert board.sealed
        assert is_locked(it)
        assert set(board.firmware) == {"app", "boot"}


async def test_a_chip_that_runs_ota_1_is_brought_back(tmp_path: Path) -> None:
    """It comes with a layout that has a factory partition, and otadata that names the second slot."""
    layout = Layout("esp32s3", 0x9000, two_slots_and_factory(0x9000))
    images = made(layout, None)
    bundle = make_firmware(tmp_path / "bundle", images)
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        program(it, images.manufacturing_stage)
        program(it, {images.partition("otadata").offset: otadata(2)})
        program(it, {images.partition("ota_1").offset: images.by_role["application"]})
        async with it.driver(bundle) as driver:
            await prepare(driver)
            assert not (await finish(driver)).security_state["secure_boot"]
        chosen = it.chip.flash.read(images.partition("otadata").offset, 4)
        assert chosen == otadata(1)[:4], "ota_0 has the bundle's application"


def program(it: Rig, stage: dict[int, bytes]) -> None:
    for offset, data in stage.items():
        it.chip.flash.erase(offset, -(-len(data) // 0x1000) * 0x1000)
        it.chip.flash.program(offset, data)
    assert it.chip.flash.size == FLASH_BYTES
