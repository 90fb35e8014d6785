"""The driver with real esptool on simulated chips: the way of a chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.drivers.esp32 import DRIVER
from agent.core.bundle import Burn
from agent.core.recipe import StepName, parse_recipe
from agent.errors import BoardError, LineError
from agent.ports import Firmware
from boards.esp32.boot import BootChain
from boards.esp32.chip import Cause
from boards.esp32.product import ProductImages, make_images
from harness.esp32_rig import (
    CHALLENGE,
    CHIP_ID,
    CHIPS,
    NOTHING_DEMANDED,
    finish,
    is_locked,
    make_firmware,
    prepare,
    rig,
    with_manifest,
)

pytestmark = pytest.mark.check


@pytest.mark.parametrize("chip", CHIPS)
async def test_from_an_empty_chip_to_a_locked_one_and_once_more(
    chip: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware(chip)
    await DRIVER.check_firmware(bundle)  # type: ignore[misc]
    percents: list[int] = []
    async with rig(tmp_path, chip, BootChain()) as it:
        async with it.driver(bundle) as driver:
            assert await driver.present() == CHIP_ID
            found = await driver.identify()
            assert (found.chip_id, found.board) == (CHIP_ID, None)
            await prepare(driver)
            await driver.seal()
            assert not is_locked(it)
            await driver.first_boot(lambda done, total: percents.append(100 * done // total))
            assert is_locked(it)
            locks = await driver.locks()
            assert locks == {"secure_boot": True, "flash_encryption": True, "debug_closed": True}
            assert await driver.present() == CHIP_ID
            assert (await driver.stamp(CHALLENGE)).stamp
        assert percents == sorted(percents)
        assert percents[-1] == 100
        if chip != "esp32":
            assert it.chip.efuses.get("DIS_DIRECT_BOOT")
            assert it.chip.efuses.secure_download
        matter = it.matter
        async with it.driver(bundle) as driver:
            await prepare(driver)
            board = await finish(driver)
            assert board.sealed
            assert not {name for name, closed in (await driver.locks()).items() if not closed}
        assert it.matter == matter, "a finished board is not changed"


async def test_a_chip_whose_loader_is_closed_for_good(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    """And when it falls silent, its verdict names the chip that was here, and that it is locked."""
    bundle = with_manifest(firmware("esp32"), burns=(Burn("UART_DOWNLOAD_DIS", 1, after_first_boot=True),))
    chain = BootChain()
    async with rig(tmp_path, "esp32", chain) as it:
        async with it.driver(bundle) as driver:
            await prepare(driver)
            await finish(driver)
            assert it.chip.efuses.download_disabled
            assert all((await driver.locks()).values()), "as they were read before it closed"
        matter = it.matter
        it.options |= {"connect_attempts": 1, "boot_timeout_s": 3.0, "timeout_s": 1.0}
        async with it.driver(bundle) as driver:
            await prepare(driver)
            assert (await finish(driver)).sealed
            assert await driver.locks() == {}
            assert it.matter == matter

            chain.options = replace(chain.options, elsewhere=True)
            it.chip.reset(Cause.WATCHDOG)
            with pytest.raises(LineError) as silent:
                await driver.stamp(CHALLENGE)
            assert silent.value.code == "no_answer"
            assert f"where {CHIP_ID} answered before: nothing came on this line" in silent.value.detail
            assert "Its chip is locked" in silent.value.remedy


async def test_a_chip_with_a_closed_loader_and_no_firmware_is_told_by_what_it_prints(tmp_path: Path) -> None:
    chain = BootChain()
    images = make_images("esp32", None, application={"behaviour": "silent"})
    async with rig(tmp_path, "esp32", chain) as it:
        it.chip.efuses.burn("UART_DOWNLOAD_DIS", 1)
        for offset, data in (images.manufacturing_stage | images.final_stage).items():
            it.chip.flash.program(offset, data)
        async with it.driver(None, connect_attempts=1, boot_timeout_s=2.0) as driver:
            with pytest.raises(BoardError) as heard:
                await driver.identify()
            chain.options = replace(chain.options, elsewhere=True)
            with pytest.raises(LineError) as nobody:
                await driver.identify()
    assert heard.value.code == "no_firmware"
    assert "a chip starts here; neither its loader nor a firmware answers: " in heard.value.detail
    assert "bytes came on this line, the last are '" in heard.value.detail
    assert "set it aside" in heard.value.remedy
    assert nobody.value.code == "no_answer"
    assert "neither a chip's loader nor a firmware answers: nothing came" in nobody.value.detail
    assert "A locked chip looks the same where its firmware hangs" in nobody.value.remedy


@pytest.mark.parametrize("chip", CHIPS)
async def test_a_current_chip_is_not_written(
    chip: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, chip, BootChain()) as it, it.driver(firmware(chip)) as driver:
        await prepare(driver)
        matter, written = it.matter, it.chip.supply.flash_bytes
        await driver._port.close()
        await driver.identify()
        flashed = await driver.flash(NOTHING_DEMANDED)
        assert flashed.written == ()
        assert set(flashed.kept) == {
            "bootloader",
            "partition-table",
            "manufacturing",
            "application",
            "otadata",
        }
        assert (it.matter, it.chip.supply.flash_bytes) == (matter, written)


async def test_of_a_damaged_application_only_the_blocks_that_differ_are_written(tmp_path: Path) -> None:
    block, blocks = 0x10000, 5
    images = make_images("esp32s3", None, app_bytes=blocks * block)
    offset = images.offset("application")
    async with (
        rig(tmp_path, "esp32s3", BootChain()) as it,
        it.driver(make_firmware(tmp_path / "bundle", images)) as driver,
    ):
        await driver.identify()
        await driver.flash(NOTHING_DEMANDED)
        for number in (1, 2, 4):
            it.chip.flash.erase(offset + number * block, 0x1000)
        before = it.chip.supply.flash_bytes
        await driver.identify()
        assert (await driver.flash(NOTHING_DEMANDED)).written == ("application",)
        written = it.chip.supply.flash_bytes - before
        assert 3 * block < written <= 2 * 3 * block, "erased once and programmed once"
        found = await driver.identify()
        assert found.board is not None
        assert it.chip.flash.read(offset, len(images.by_role["application"])) == images.by_role["application"]


async def test_settings_stay_where_firmware_is_written(
    tmp_path: Path, firmware: Callable[[str], Firmware], images: Callable[[str], ProductImages]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(firmware("esp32s3")) as driver:
        await prepare(driver)
        nvs = images("esp32s3").partition("nvs")
        before = it.chip.flash.read(nvs.offset, nvs.size)
        it.chip.flash.erase(images("esp32s3").offset("application"), 0x10000)
        await driver._port.close()
        await driver.identify()
        assert (await driver.flash(NOTHING_DEMANDED)).written == ("application",)
        assert it.chip.flash.read(nvs.offset, nvs.size) == before


def test_the_default_recipe_has_every_step_of_a_chip_and_challenges() -> None:
    assert DRIVER.default_recipe is not None
    recipe = parse_recipe(DRIVER.default_recipe)
    assert recipe.challenge
    assert set(recipe.names) >= set(StepName) - {StepName.LABEL}
