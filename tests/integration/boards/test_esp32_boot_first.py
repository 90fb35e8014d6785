"""The first boot of a bootloader that locks the chip: to its end, and with the power cut anywhere in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from boards.esp32.images import FAMILIES as IMAGE_FAMILIES
from boards.esp32.nvs import NvsStorage
from boards.esp32.partitions import otadata
from boards.esp32.product import ProductImages
from boards.esp32.security import Security
from boards.esp32.signing import SigningKey
from harness.esp32_boots import BootBench, Consumption

MakeImages = Callable[[str], ProductImages]

CLOSED = {"secure_boot": True, "flash_encryption": True, "debug_closed": True}
FLASH_CUTS = 16  # places a family at which the power fails while flash is being encrypted

some_families = pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
every_family = pytest.mark.parametrize("family", IMAGE_FAMILIES)


async def _provisioned(bench: BootBench) -> bytes:
    """A board with key and seal, as `seal` finds it; returns its key as stored."""
    await bench.until_runs("manufacturing")
    bench.board.handle(write=True, command="keygen", body={"type": "p256"})
    bench.board.handle(write=True, command="seal", body={})
    return _stored_key(bench)


def _stored_key(bench: BootBench) -> bytes:
    key = bench.board.storage.get("key")
    assert key is not None
    return key


async def _sealed_chip(bench: BootBench, images: ProductImages) -> bytes:
    """Up to the reset after which the first boot begins."""
    key = await _provisioned(bench)
    bench.write(images.final_stage)
    return key


def _is_locked(bench: BootBench, key: bytes) -> None:
    assert bench.locks == CLOSED
    assert bench.hello()["sealed"]
    assert bench.hello()["sec"] == CLOSED
    assert _stored_key(bench) == key
    storage = bench.board.storage
    assert isinstance(storage, NvsStorage)
    assert storage.encrypted
    assert key[-32:] not in bench.chip.flash.read(0, bench.chip.flash.size)


@every_family
async def test_first_boot_locks_the_chip(family: str, tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        key = await _sealed_chip(bench, images)
        assert key[-32:] in bench.chip.flash.read(0, bench.chip.flash.size)
        bench.reset()
        await bench.until_runs("application")

        _is_locked(bench, key)
        for said in (
            "Secure boot permanently enabled",
            "Generating new flash encryption key...",
            "bootloader encrypted successfully",
            "Flash encryption completed",
            "Resetting with flash encryption enabled...",
            "secure boot verification succeeded",
            'NVS partition "nvs" is encrypted.',
        ):
            assert said in bench.printed
        assert bench.hello()["fw"]["boot"][1] in images.by_role["secure-bootloader"]
        flash = bench.chip.flash.read(0, bench.chip.flash.size)
        for role in ("secure-bootloader", "partition-table", "application", "manufacturing"):
            assert images.by_role[role][0x20:0x40] not in flash
        assert bench.chip.efuses.get("WR_DIS") & 1  # RD_DIS can no longer be written
        assert not any(bench.chip.efuses.block(1 if family == "esp32" else 5))  # the key is hidden


@some_families
async def test_a_locked_chip_starts_again(family: str, tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        key = await _sealed_chip(bench, images)
        bench.reset()
        await bench.until_runs("application")
        burned = bench.consumed
        bench.reset()
        await bench.until_runs("application")
        _is_locked(bench, key)
        assert bench.consumed == burned  # nothing is written or burned any more


@some_families
async def test_plain_images_on_a_locked_chip_are_noise(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        bench.reset()
        await bench.until_runs("application")
        bench.write(images.final_stage)
        bench.reset()
        await bench.until_printed("invalid header", times=2)


async def _measure(family: str, tmp_path: Path, images: ProductImages) -> Consumption:
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        before = bench.consumed
        bench.reset()
        await bench.until_runs("application")
        after = bench.consumed
    return Consumption(after.flash_bytes - before.flash_bytes, after.efuse_words - before.efuse_words)


async def _cut_and_repair(bench: BootBench, images: ProductImages, **cut: int) -> bytes:
    """Cuts the power in the first boot, and does what a station does about it."""
    key = await _sealed_chip(bench, images)
    bench.chip.supply.cut_after(**cut)
    bench.reset()
    await bench.until_off()
    bench.power_on()
    await bench.until_settled()
    if not bench.locks["flash_encryption"]:  # plain images can still be written
        bench.write(images.manufacturing_stage | images.final_stage)
        bench.reset()
        await bench.until_settled()
    return key


@some_families
async def test_power_cuts_while_flash_is_encrypted(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images(family)
    total = (await _measure(family, tmp_path, images)).flash_bytes
    places = sorted({0, 1, total - 1, *random.Random(family).sample(range(total), FLASH_CUTS)})
    for place in places:
        async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
            key = await _cut_and_repair(bench, images, flash_bytes=place)
            await bench.until_runs("application")
            _is_locked(bench, key)


@some_families
async def test_a_cut_in_the_bootloader_leaves_noise(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        bench.chip.supply.cut_after(flash_bytes=3 * 4096)
        bench.reset()
        await bench.until_off()
        bench.power_on()
        await bench.until_printed("invalid header", times=2)
        assert bench.locks == {"secure_boot": True, "flash_encryption": False, "debug_closed": True}


# An ESP32 has one block for each key: a torn digest (8 words) or flash encryption key (8 words, and its
# protection) cannot be burned again. Later chips take the next block.
SCRAP_WORDS = {"esp32": 17, "esp32s3": 0, "esp32c3": 0}


@some_families
async def test_power_cuts_while_efuses_are_burned(
    family: str, tmp_path: Path, small_images: MakeImages
) -> None:
    """Each word. It ends wholly locked, or the chip never starts the application: scrap, and seen as such."""
    images = small_images(family)
    total = (await _measure(family, tmp_path, images)).efuse_words
    scrap = 0
    for place in range(total):
        async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
            key = await _cut_and_repair(bench, images, efuse_words=place)
            running = bench.chain.running
            if running is not None and running.role == "application":
                _is_locked(bench, key)
            else:
                assert not bench.locks["flash_encryption"]
                scrap += 1
    assert scrap <= SCRAP_WORDS[family]


async def test_the_key_digest_of_another_company(
    tmp_path: Path, small_images: MakeImages, other_key: SigningKey
) -> None:
    images = small_images("esp32s3")
    async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        efuses = bench.chip.efuses
        efuses.burn_block(4, other_key.digest)
        efuses.burn("KEY_PURPOSE_0", efuses.layout.purposes["SECURE_BOOT_DIGEST0"])
        before = bench.consumed.efuse_words
        bench.reset()
        await bench.until_printed("No bootable app partitions in the partition table", times=2)
        assert bench.consumed.efuse_words == before  # nothing was burned


async def test_no_flash_encryption_key_where_it_could_not_be_hidden(
    tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images("esp32c3")
    async with BootBench("esp32c3", tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        bench.chip.efuses.burn("WR_DIS", 1)  # RD_DIS
        bench.reset()
        await bench.until_printed("Flash encryption check failed", times=2)
        assert bench.chip.efuses.flash_key() is None
        assert not bench.locks["flash_encryption"]


async def test_a_flash_encryption_key_that_can_be_read_is_refused(
    tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images("esp32")
    async with BootBench("esp32", tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        bench.chip.efuses.burn_block(1, bytes(range(32)))
        bench.reset()
        await bench.until_printed("Invalid key state", times=2)
        assert not bench.locks["flash_encryption"]


async def test_an_unsigned_application_is_not_locked_in(tmp_path: Path, small_images: MakeImages) -> None:
    """The locking bootloader passes over what nobody signed and locks with the manufacturing firmware."""
    images = small_images("esp32s3")
    async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        signature = images.partition("ota_0").offset + len(images.by_role["application"]) - 4096
        bench.damage(signature)
        bench.reset()
        await bench.until(lambda: bench.locks == CLOSED, "the locks")
        await bench.until_runs("manufacturing")
        assert "app" not in bench.hello()["fw"]  # it was not encrypted, and reads as noise


async def test_a_first_boot_with_blank_otadata_locks_with_the_manufacturing_firmware(
    tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images("esp32s3")
    async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
        await _sealed_chip(bench, images)
        bench.write({images.partition("otadata").offset: otadata(0)})
        bench.reset()
        await bench.until(lambda: bench.locks == CLOSED, "the locks")
        await bench.until_runs("manufacturing")


@pytest.mark.parametrize("family", ["esp32s3", "esp32c3"])
async def test_k_chip_stays_usable_and_hidden(family: str, tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        Security(bench.chip.efuses).burn_hmac_key(bytes(range(32)))
        bench.reset()
        key = await _sealed_chip(bench, images)
        assert bench.hello()["methods"] == ["hmac-sha256"]
        bench.reset()
        await bench.until_runs("application")
        _is_locked(bench, key)
        assert bench.hello()["methods"] == ["hmac-sha256"]
        assert not any(bench.chip.efuses.block(9))
