"""Images for simulated chips, read by the real esptool and espsecure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from boards.esp32.images import FAMILIES, ImageError, app_image, bootloader_image, parse_image
from boards.esp32.partitions import (
    default_partitions,
    otadata,
    parse_otadata,
    parse_partition_table,
    partition_table,
)
from boards.esp32.product import APPLICATION, BOOTLOADER, make_images
from boards.esp32.signing import SignatureError, SigningKey, verify_signature

every_chip = pytest.mark.parametrize("chip", FAMILIES)


async def _tool(folder: Path, *arguments: str | Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@every_chip
async def test_esptool_reads_an_application(chip: str, tmp_path: Path) -> None:
    image = app_image(chip, "sensor", "1.4.0", APPLICATION)
    (tmp_path / "app.bin").write_bytes(image)
    said = await _tool(tmp_path, "esptool", "image-info", "app.bin")
    assert f"Chip ID: {FAMILIES[chip].chip_id} " in said
    assert "Project name: sensor" in said
    assert "App version: 1.4.0" in said
    assert f"Validation hash: {parse_image(image).digest.hex()} (valid)" in said
    assert "invalid" not in said
    assert parse_image(image).marker == APPLICATION


@every_chip
async def test_esptool_reads_a_bootloader(chip: str, tmp_path: Path) -> None:
    image = bootloader_image(chip, 7, BOOTLOADER)
    (tmp_path / "bootloader.bin").write_bytes(image)
    said = await _tool(tmp_path, "esptool", "image-info", "bootloader.bin")
    assert "Bootloader version: 7" in said
    assert "invalid" not in said
    assert parse_image(image).version == "7"


async def test_espsecure_verifies_what_was_signed(tmp_path: Path, signing_key: SigningKey) -> None:
    signed = signing_key.sign(bootloader_image("esp32c3", 7, BOOTLOADER))
    (tmp_path / "signed.bin").write_bytes(signed)
    arguments = ("verify-signature", "--version", "2", "--keyfile", signing_key.path, "signed.bin")
    assert "verification successful" in await _tool(tmp_path, "espsecure", *arguments)
    digest = ("digest-sbv2-public-key", "--keyfile", signing_key.path, "--output", "digest.bin")
    await _tool(tmp_path, "espsecure", *digest)
    assert (tmp_path / "digest.bin").read_bytes() == signing_key.digest
    assert verify_signature(signed, [signing_key.digest]) == signing_key.digest


@pytest.mark.parametrize(
    "at",
    [0x800, -4096, -4096 + 4, -4096 + 40, -4096 + 900],
    ids=["body", "magic", "digest", "key", "signature"],
)
def test_a_changed_byte_is_no_longer_signed(signing_key: SigningKey, at: int) -> None:
    signed = bytearray(signing_key.sign(app_image("esp32s3", "sensor", "1.4.0", APPLICATION)))
    assert verify_signature(bytes(signed), [signing_key.digest])
    signed[at] ^= 1
    with pytest.raises((ImageError, SignatureError)):
        verify_signature(bytes(signed), [signing_key.digest])


def test_another_key_is_not_trusted(signing_key: SigningKey, other_key: SigningKey) -> None:
    signed = other_key.sign(bootloader_image("esp32", 7, BOOTLOADER))
    assert verify_signature(signed, None) == other_key.digest
    with pytest.raises(SignatureError, match="doesn't match any key digest"):
        verify_signature(signed, [signing_key.digest])


def test_sizes_are_as_asked() -> None:
    for size in (16_384, 500_000):
        assert abs(len(app_image("esp32s3", "sensor", "1.4.0", APPLICATION, size=size)) - size) < 256


@pytest.mark.parametrize("chip", ["esp32", "esp32s3", "esp32p4"])  # one for each place of the bootloader
def test_a_products_images_fit_their_places(chip: str, signing_key: SigningKey) -> None:
    images = make_images(chip, signing_key)
    bootloader = images.by_role["secure-bootloader"]
    assert images.offset("secure-bootloader") + len(bootloader) <= images.offset("partition-table")
    for role, name in (("manufacturing", "factory"), ("application", "ota_0")):
        assert len(images.by_role[role]) <= images.partition(name).size
    assert images.manufacturing_stage[images.partition("otadata").offset] == otadata(0)


def test_partition_tables_are_read_back() -> None:
    table = partition_table(default_partitions())
    assert parse_partition_table(table) == default_partitions()
    with pytest.raises(ImageError, match="MD5"):
        parse_partition_table(table[:4] + b"\x01" + table[5:])


def test_otadata_of_espressifs_own_tool() -> None:
    entry = bytes.fromhex("01000000" + "ff" * 20 + "02000000" + "9a984347")  # ota_seq 1
    assert otadata(1).startswith(entry)
    assert [parse_otadata(otadata(sequence)) for sequence in (0, 1, 2)] == [0, 1, 2]
    assert parse_otadata(b"\x02" + otadata(1)[1:]) == 0
