"""What a simulated chip starts, and what it refuses to start, in the words of ROM and ESP-IDF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from boards.esp32.images import FAMILIES as IMAGE_FAMILIES
from boards.esp32.images import app_image, bootloader_image
from boards.esp32.partitions import otadata
from boards.esp32.product import APPLICATION, BOOTLOADER, MANUFACTURING, ProductImages
from boards.esp32.security import Security
from boards.esp32.signing import SigningKey
from harness.esp32_boots import MAC, BootBench

MakeImages = Callable[[str], ProductImages]

some_families = pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
every_family = pytest.mark.parametrize("family", IMAGE_FAMILIES)


def _enforce(bench: BootBench, key: SigningKey) -> None:
    Security(bench.chip.efuses).enable_secure_boot(key.digest)


@some_families
async def test_an_empty_chip_starts_over_and_over(family: str, tmp_path: Path) -> None:
    async with BootBench(family, tmp_path) as bench:
        await bench.until_printed("invalid header: 0xffffffff", times=3)
        assert bench.chain.running is None


@every_family
async def test_blank_otadata_starts_the_manufacturing_firmware(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        hello = bench.hello()

        assert hello["chip"] == MAC
        assert {name: version for name, (version, _) in hello["fw"].items()} == {
            "app": "1.4.0",
            "boot": "3",
            "manufacturing": "1.0.0",
        }
        unsigned = images.by_role["application"]
        assert hello["fw"]["app"][1] in unsigned  # the digest that stands at the image's end
        assert hello["sec"] == {"secure_boot": False, "flash_encryption": False, "debug_closed": False}
        assert hello["methods"] == ["none"]


@some_families
async def test_otadata_switches_to_the_application_and_back(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images(family)
    where = images.partition("otadata").offset
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        bench.write({where: otadata(1)})
        bench.reset()
        await bench.until_runs("application")
        assert set(bench.hello()["fw"]) == {"app", "boot"}
        assert not bench.hello()["sealed"]  # nothing is locked by a bootloader that locks nothing

        bench.write({where: otadata(0)})
        bench.reset()
        await bench.until_runs("manufacturing")


async def test_a_torn_otadata_starts_the_manufacturing_firmware(
    tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images("esp32s3")
    torn = otadata(1)[:30] + b"\xff" * 2 + otadata(1)[32:]  # the last half of the CRC was not programmed
    stage = images.manufacturing_stage | {images.partition("otadata").offset: torn}
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        await bench.until_runs("manufacturing")


async def test_a_damaged_application_falls_back_to_the_manufacturing_firmware(
    tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images("esp32s3")
    stage = images.manufacturing_stage | {images.partition("otadata").offset: otadata(1)}
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        bench.damage(images.partition("ota_0").offset + 0x500)
        bench.reset()
        await bench.until_runs("manufacturing")
        assert "OTA app partition slot 0 is not bootable" in bench.printed
        assert "app" not in bench.hello()["fw"]


async def test_without_any_application_it_starts_over(tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images("esp32c3")
    stage = {
        offset: image
        for offset, image in images.manufacturing_stage.items()
        if offset not in {images.partition("factory").offset, images.partition("ota_0").offset}
    }
    async with BootBench("esp32c3", tmp_path, stage) as bench:
        await bench.until_printed("No bootable app partitions in the partition table", times=2)


@pytest.mark.parametrize(
    ("role", "at", "said"),
    [
        ("bootloader", 0x400, "load failed"),
        ("bootloader", 0, "invalid header"),
        ("partition-table", 0x21, "load partition table error!"),
    ],
    ids=["bootloader-body", "bootloader-magic", "partition-table"],
)
async def test_what_is_damaged_is_not_started(
    tmp_path: Path, small_images: MakeImages, role: str, at: int, said: str
) -> None:
    images = small_images("esp32s3")
    async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        bench.damage(images.offset(role) + at)
        bench.reset()
        await bench.until_printed(said, times=2)


async def test_images_for_another_chip_are_not_started(tmp_path: Path, small_images: MakeImages) -> None:
    images, other = small_images("esp32c3"), IMAGE_FAMILIES["esp32c3"].chip_id
    stage = images.manufacturing_stage | {
        images.partition("factory").offset: app_image(
            "esp32s3", "sensor", "1.0.0", MANUFACTURING, size=16_384
        ),
        images.partition("ota_0").offset: app_image("esp32s3", "sensor", "1.0.0", APPLICATION, size=16_384),
    }
    async with BootBench("esp32c3", tmp_path, stage) as bench:
        await bench.until_printed(f"mismatch chip ID, expected {other}, found 9", times=2)


@some_families
async def test_with_secure_boot_what_the_key_signed_is_started(
    family: str, tmp_path: Path, small_images: MakeImages, signing_key: SigningKey
) -> None:
    async with BootBench(family, tmp_path, small_images(family).manufacturing_stage) as bench:
        _enforce(bench, signing_key)
        bench.reset()
        await bench.until_runs("manufacturing")
        assert "secure boot verification succeeded" in bench.printed
        assert bench.hello()["sec"] == {"secure_boot": True, "flash_encryption": False, "debug_closed": True}


@every_family
async def test_with_secure_boot_an_unsigned_bootloader_is_refused(
    family: str, tmp_path: Path, small_images: MakeImages, signing_key: SigningKey
) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        _enforce(bench, signing_key)
        bench.write({images.offset("bootloader"): bootloader_image(family, 3, BOOTLOADER) + b"\xff" * 4096})
        bench.reset()
        await bench.until_printed("secure boot verification failed", times=2)


@some_families
async def test_with_secure_boot_another_companys_bootloader_is_refused(
    family: str, tmp_path: Path, small_images: MakeImages, signing_key: SigningKey, other_key: SigningKey
) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        _enforce(bench, signing_key)
        bench.write({images.offset("bootloader"): other_key.sign(bootloader_image(family, 3, BOOTLOADER))})
        bench.reset()
        await bench.until_printed("key digest doesn't match any key digest in eFuse", times=2)


async def test_with_secure_boot_an_unsigned_application_is_passed_over(
    tmp_path: Path, small_images: MakeImages, signing_key: SigningKey
) -> None:
    images = small_images("esp32s3")
    stage = images.manufacturing_stage | {
        images.partition("otadata").offset: otadata(1),
        images.partition("ota_0").offset: app_image("esp32s3", "sensor", "9.9.9", APPLICATION, size=16_384),
    }
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        await bench.until_runs("application")
        _enforce(bench, signing_key)
        bench.reset()
        await bench.until_runs("manufacturing")
        assert "image valid, signature bad" in bench.printed


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [("crashes", "Guru Meditation Error"), ("silent", "Calling app_main()")],
)
async def test_an_application_that_does_not_work(
    tmp_path: Path, small_images: MakeImages, behaviour: str, said: str
) -> None:
    images = small_images("esp32s3")
    broken = app_image("esp32s3", "sensor", "1.4.0", {**APPLICATION, "behaviour": behaviour}, size=16_384)
    stage = images.manufacturing_stage | {
        images.partition("otadata").offset: otadata(1),
        images.partition("ota_0").offset: broken,
    }
    async with BootBench("esp32s3", tmp_path, stage) as bench:
        await bench.until_printed(said, times=2 if behaviour == "crashes" else 1)
        assert bench.chain.running is None or bench.chain.running.board is None
