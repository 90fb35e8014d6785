"""What is refused before a byte is written: each time neither flash nor an eFuse changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.drivers.esp32 import DRIVER
from agent.core.bundle import Burn, Role
from agent.errors import BoardError, BundleMismatch, ConfigError
from agent.ports import Firmware, FirmwareDemands
from boards.esp32.boot import BootChain
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey
from harness.esp32_rig import (
    NOTHING_DEMANDED,
    Rig,
    finish,
    make_firmware,
    prepare,
    rig,
    with_manifest,
)


async def refused(it: Rig, bundle: Firmware, demanded: FirmwareDemands = NOTHING_DEMANDED) -> str:
    """The code with which `flash` refuses the chip, which is not changed."""
    matter, counts = it.matter, (it.chip.supply.flash_bytes, it.chip.supply.efuse_words)
    async with it.driver(bundle) as driver:
        await driver.identify()
        with pytest.raises((BoardError, BundleMismatch)) as raised:
            await driver.flash(demanded)
    assert it.matter == matter
    assert (it.chip.supply.flash_bytes, it.chip.supply.efuse_words) == counts
    return raised.value.code


async def test_right_bundles_are_not_refused(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    """The positive of all that follows."""
    bundle = firmware("esp32s3")
    demanded = FirmwareDemands(bundle.bundle.digest, {"app": "1.4.0"}, ("secure_boot",))
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle) as driver:
        await driver.identify()
        assert (await driver.flash(demanded)).written


async def test_a_bundle_for_another_chip(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32c3", BootChain()) as it:
        assert await refused(it, firmware("esp32s3")) == "bundle_other_chip"


async def test_another_bundle_than_the_orders(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        assert await refused(it, firmware("esp32s3"), FirmwareDemands(bytes(32), {}, ())) == "bundle_differs"


async def test_a_bundle_that_is_too_old(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        assert (
            await refused(it, firmware("esp32s3"), FirmwareDemands(None, {"app": "1.4.1"}, ()))
            == "bundle_too_old"
        )


async def test_a_chip_whose_application_is_newer(tmp_path: Path, key: SigningKey) -> None:
    def bundle(version: str) -> Firmware:
        images = make_images("esp32s3", key, version=version)
        return make_firmware(tmp_path / version, images, key_pem=key.public_pem)

    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(bundle("1.5.0")) as driver:
            await prepare(driver)
        assert await refused(it, bundle("1.4.0")) == "firmware_newer"


async def test_a_flash_that_is_too_small(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain(), flash_bytes=2 << 20) as it:
        assert await refused(it, firmware("esp32s3")) == "flash_too_small"


async def test_a_chip_with_the_secure_boot_key_of_another_company(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        it.chip.efuses.burn_block(4, b"\x5a" * 32)
        it.chip.efuses.burn("KEY_PURPOSE_0", it.chip.efuses.layout.purposes["SECURE_BOOT_DIGEST0"])
        assert await refused(it, firmware("esp32s3")) == "secure_boot_key_differs"


async def test_a_chip_with_our_secure_boot_key_is_not_refused(
    tmp_path: Path, firmware: Callable[[str], Firmware], key: SigningKey
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        it.chip.efuses.burn_block(4, key.digest)
        it.chip.efuses.burn("KEY_PURPOSE_0", it.chip.efuses.layout.purposes["SECURE_BOOT_DIGEST0"])
        async with it.driver(firmware("esp32s3")) as driver:
            await driver.identify()
            assert (await driver.flash(NOTHING_DEMANDED)).written


async def test_a_chip_that_is_sealed_with_other_firmware(
    tmp_path: Path, firmware: Callable[[str], Firmware], key: SigningKey
) -> None:
    other = make_firmware(
        tmp_path / "other", make_images("esp32s3", key, version="1.4.1"), key_pem=key.public_pem
    )
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(firmware("esp32s3")) as driver:
            await prepare(driver)
            await finish(driver)
        assert await refused(it, other) == "chip_sealed"


async def test_a_chip_that_is_sealed_and_silent(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    bundle = with_manifest(firmware("esp32s3"), burns=())
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(bundle) as driver:
            await prepare(driver)
            await finish(driver)
        it.chip.flash.erase(0x120000, 0x1000)  # what a sealed chip runs is gone
        it.options["boot_timeout_s"] = 0.5
        assert await refused(it, bundle) == "chip_sealed"


@pytest.mark.parametrize("name", ["application", "bootloader", "partition-table"])
async def test_an_image_that_was_altered_on_the_station(
    name: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    path = bundle.images[name]
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        matter = it.matter
        async with it.driver(bundle) as driver:
            await driver.identify()
            path.write_bytes(altered)
            with pytest.raises(ConfigError, match="altered"):
                await driver.flash(NOTHING_DEMANDED)
        assert it.matter == matter


async def test_an_image_that_is_altered_between_look_and_writing(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle) as driver:
        await prepare(driver)
        it.chip.flash.erase(0x120000, 0x1000)
        await driver._port.close()
        await driver.identify()
        matter = it.matter
        path = bundle.images["application"]
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        with pytest.raises(BoardError) as raised:
            await driver.flash(NOTHING_DEMANDED)
        assert raised.value.code == "image_altered"
        assert it.matter == matter


@pytest.mark.parametrize("role", [Role.SECURE_BOOTLOADER, Role.APPLICATION])
async def test_a_bundle_with_an_unsigned_image_is_refused_at_the_start(
    role: Role, tmp_path: Path, images: Callable[[str], ProductImages], key: SigningKey
) -> None:
    product = images("esp32s3")
    unsigned = make_images("esp32s3", None).by_role["application"]
    if role is Role.SECURE_BOOTLOADER:
        unsigned = make_images("esp32s3", None).by_role["bootloader"]
    await DRIVER.check_firmware(make_firmware(tmp_path / "right", product, key_pem=key.public_pem))  # type: ignore[misc]
    wrong = replace(product, by_role={**product.by_role, role.value: unsigned})
    with pytest.raises(ConfigError, match=f"{role.value}.*not signed"):
        await DRIVER.check_firmware(make_firmware(tmp_path / "wrong", wrong, key_pem=key.public_pem))  # type: ignore[misc]


async def test_a_bundle_with_the_key_of_another_company_is_refused_at_the_start(
    tmp_path: Path, images: Callable[[str], ProductImages], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = SigningKey.make(tmp_path_factory.mktemp("other"))
    bundle = make_firmware(tmp_path / "wrong", images("esp32s3"), key_pem=other.public_pem)
    with pytest.raises(ConfigError, match="another key"):
        await DRIVER.check_firmware(bundle)  # type: ignore[misc]


async def test_burns_that_a_station_does_not_make(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = with_manifest(firmware("esp32s3"), burns=(Burn("BLOCK_KEY0", 1, after_first_boot=False),))
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        assert await refused(it, bundle) == "burn_refused"
    with pytest.raises(ConfigError, match="BLOCK_KEY0"):
        await DRIVER.check_firmware(bundle)  # type: ignore[misc]


async def test_another_chip_than_the_one_that_was_identified(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(firmware("esp32s3")) as driver:
        await prepare(driver)
        matter = it.matter
        driver._port.known.chip_id = "7c:df:a1:00:00:02"
        with pytest.raises(BoardError) as raised:
            await driver.flash(NOTHING_DEMANDED)
        assert raised.value.code == "chip_changed"
        assert it.matter == matter
