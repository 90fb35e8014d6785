"""What goes wrong under way: the station, the port, the fixture, the power."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agent.adapters.drivers.esp32.driver import Esp32Driver
from agent.errors import BoardError, ConfigError, LineError
from agent.ports import Firmware
from boards.esp32.boot import BootChain, BootOptions
from boards.esp32.product import make_images
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
    until_done,
)
from harness.waiting import until

pytestmark = pytest.mark.check


async def test_a_flash_that_is_cancelled_leaves_the_port_usable(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    begun = asyncio.Event()
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle) as driver:
        await driver.identify()
        flashing = asyncio.create_task(driver.flash(NOTHING_DEMANDED, lambda *_: begun.set()))
        await begun.wait()
        flashing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flashing
        await prepare(driver)
        assert (await finish(driver)).sealed


async def test_a_first_boot_that_is_cancelled_goes_on_later(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    """As when the station is told to stop: the chip locks itself meanwhile, whoever watches."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    slow = BootChain(BootOptions(first_boot_s=2.0))
    async with rig(tmp_path, "esp32s3", slow) as it:
        async with it.driver(firmware("esp32s3")) as driver:
            await prepare(driver)
            await driver.seal()
            booting = asyncio.create_task(driver.first_boot(lambda *_: begun.set()))
            await begun.wait()
            told_s = loop.time()
            booting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await booting
        assert loop.time() - told_s < 20.0  # `stop_s`, and the port is closed
        async with it.driver(firmware("esp32s3")) as driver:
            await driver.identify()
            await driver.flash(NOTHING_DEMANDED)
            assert (await finish(driver)).sealed
            assert is_locked(it)


async def test_a_port_that_is_pulled_out_in_a_first_boot(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    slow = BootChain(BootOptions(first_boot_s=600.0))
    async with rig(tmp_path, "esp32s3", slow) as it, it.driver(bundle) as driver:
        await prepare(driver)
        await driver.seal()
        with pytest.raises((LineError, BoardError)) as raised:
            await driver.first_boot(lambda *_: it.chip.unplug())
        assert raised.value.code == "port_gone"
        assert raised.value.retryable


async def test_a_first_boot_that_fails_says_why(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(firmware("esp32s3")) as driver:
        await prepare(driver)
        await driver.seal()
        it.chip.flash.erase(0, 0x1000)  # the flash fails after it was verified
        with pytest.raises(BoardError) as raised:
            await driver.first_boot()
        assert raised.value.code == "no_boot"
        assert "invalid header" in raised.value.detail
        assert raised.value.retryable
        await prepare(driver)  # the board is taken again
        assert (await finish(driver)).sealed


async def test_firmware_whose_console_is_elsewhere_is_no_empty_place(tmp_path: Path) -> None:
    """The chip is flashed and boots: what is wrong is its firmware, and what came on the line is said."""
    images = make_images("esp32s3", None, manufacturing={"behaviour": "silent"})
    bundle = make_firmware(tmp_path / "bundle", images)
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle, boot_timeout_s=1.0) as driver:
        await driver.identify()
        with pytest.raises(BoardError) as raised:
            await driver.flash(NOTHING_DEMANDED)
        assert raised.value.code == "no_firmware"
        assert "bytes came on this line, the last are " in raised.value.detail
        assert "CONFIG_ESP_CONSOLE" in raised.value.remedy


async def test_an_empty_place_is_noticed(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        it.chip.power_off()
        async with it.driver(firmware("esp32s3"), boot_timeout_s=0.5, connect_attempts=1) as driver:
            assert await driver.present() is None
            with pytest.raises(LineError) as raised:
                await driver.identify()
            assert raised.value.code == "no_answer"
            it.chip.power_on()
            assert await driver.present() == CHIP_ID


async def test_a_station_without_a_bundle_speaks_with_the_firmware_alone(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(firmware("esp32s3")) as driver:
            await prepare(driver)
        async with it.driver(None) as driver:
            found = await driver.identify()
            assert found.board is not None
            with pytest.raises(BoardError) as raised:
                await driver.flash(NOTHING_DEMANDED)
            assert raised.value.code == "no_bundle"
            assert (await driver.stamp(CHALLENGE)).stamp


async def test_options_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="previous_bundles"):
        Esp32Driver(str(tmp_path / "port"), {"previous_bundles": []})


async def test_a_reset_command_that_fails(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        for command in (("/bin/false",), ("/nonexistent",), ("/bin/sleep", "600")):
            async with it.driver(
                firmware("esp32s3"), reset_command=command, reset_command_timeout_s=0.3
            ) as driver:
                with pytest.raises(LineError) as raised:
                    await driver.identify()
                assert raised.value.code == "reset_failed"


async def test_a_reset_command_that_hangs_ends_with_all_that_it_started(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    pid_file = tmp_path / "pid"
    command = ("sh", "-c", f"sleep 600 & echo $! > {pid_file}; wait")
    async with (
        rig(tmp_path, "esp32s3", BootChain()) as it,
        it.driver(firmware("esp32s3"), reset_command=command, reset_command_timeout_s=1.0) as driver,
    ):
        with pytest.raises(LineError, match="does not end"):
            await driver.identify()
    pid = int(pid_file.read_text(encoding="ascii"))
    await until(lambda: not _is_running(pid), "the end of what the reset command started")


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("part", ["flash", "seal", "first boot"])
async def test_a_power_cut_is_finished_on_the_next_presentation(
    chip: str, part: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware(chip)
    async with rig(tmp_path, chip, BootChain()) as it:
        async with it.driver(
            bundle, boot_timeout_s=1.0, first_boot_timeout_s=3.0, connect_attempts=1
        ) as driver:
            await driver.identify()
            if part != "flash":
                await prepare(driver)
            if part == "first boot":
                await driver.seal()
            # Bytes erased and written: 200 KiB of images, 70 KiB at the seal, then all partitions in place.
            total = {"flash": 430_000, "seal": 100_000, "first boot": 4_000_000}[part]
            it.chip.supply.cut_after(flash_bytes=total // 2)
            with contextlib.suppress(LineError, BoardError):
                if part == "flash":
                    await driver.flash(NOTHING_DEMANDED)
                await finish(driver)
        board = await until_done(it, bundle)
        assert board.sealed
        assert is_locked(it)
