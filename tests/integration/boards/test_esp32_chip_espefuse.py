"""The real espefuse against simulated chips: burns through registers, protection, restarts."""

import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.power import PowerSupply
from harness.esp32_bench import MAC, Esp32Bench

pytestmark = pytest.mark.check

every_family = pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
newer_families = pytest.mark.parametrize("family", ["esp32s3", "esp32c3"])
KEY = random.Random(7).randbytes(32)
DEBUG_FIELD = {"esp32": "JTAG_DISABLE", "esp32s3": "DIS_PAD_JTAG", "esp32c3": "DIS_PAD_JTAG"}


def _key_file(folder: Path) -> Path:
    path = folder / "key.bin"
    path.write_bytes(KEY)
    return path


def _efuses(family: str) -> Efuses:
    return Efuses(FAMILIES[family].efuses, mac=MAC, supply=PowerSupply())


@every_family
async def test_the_summary_names_the_chip(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        summary = await bench.espefuse("summary")

    assert "7c:df:a1:00:00:01" in summary
    assert "?? ??" not in summary


@pytest.mark.parametrize("family", ["esp32s2", "esp32s3", "esp32c3", "esp32c6", "esp32h2", "esp32p4"])
async def test_a_burned_hmac_key_can_be_used_and_no_longer_read(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        said = await bench.espefuse("burn-key", "BLOCK_KEY0", _key_file(tmp_path), "HMAC_UP")
        summary = await bench.espefuse("summary")

        assert "BURN BLOCK4  - OK" in said
        assert "Error" not in said
        assert "?? ??" in summary
        assert bench.chip.efuses.key_block("HMAC_UP") == 4
        assert bench.chip.efuses.block(4) == bytes(32)
        assert bench.chip.efuses.hardware_key(4) == KEY
        assert bench.chip.efuses.get("RD_DIS") == 1
        dump = await bench.esptool("read-mem", hex(bench.family.efuses.base + 0x9C))
        assert "= 0x00000000" in dump


@newer_families
async def test_without_read_protection_the_block_stays_readable(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.espefuse("burn-key", "--no-read-protect", "BLOCK_KEY0", _key_file(tmp_path), "HMAC_UP")

        assert bench.chip.efuses.block(4) == KEY
        word = int.from_bytes(KEY[:4], "little")
        dump = await bench.esptool("read-mem", hex(bench.family.efuses.base + 0x9C))
        assert f"= {word:#010x}" in dump


async def test_the_flash_encryption_key_of_an_esp32(tmp_path: Path) -> None:
    async with Esp32Bench("esp32", tmp_path) as bench:
        await bench.espefuse("burn-key", "flash_encryption", _key_file(tmp_path))

        assert bench.chip.efuses.flash_key() == KEY
        assert bench.chip.efuses.block(1) == bytes(32)


@every_family
async def test_a_secure_boot_digest_stays_readable(family: str, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 3072)
    pem, digest = tmp_path / "signing.pem", tmp_path / "digest.bin"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    arguments = [pem] if family == "esp32" else ["BLOCK_KEY1", pem, "SECURE_BOOT_DIGEST0"]
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.espefuse("burn-key-digest", *arguments)
        await bench.run("espsecure", "digest-sbv2-public-key", "--keyfile", pem, "--output", digest)

        block = bench.chip.efuses.key_block("secure_boot_v2" if family == "esp32" else "SECURE_BOOT_DIGEST0")
        assert block == (2 if family == "esp32" else 5)
        assert bench.chip.efuses.block(block) == digest.read_bytes()


@every_family
async def test_burned_fields_survive_a_restart_of_the_simulator(family: str, tmp_path: Path) -> None:
    field = DEBUG_FIELD[family]
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.espefuse("burn-efuse", field, "1")
        bench.chip.flash.program(0x1000, b"kept")
    async with Esp32Bench(family, tmp_path) as again:
        assert again.chip.efuses.get(field) == 1
        assert again.chip.flash.read(0x1000, 4) == b"kept"
        assert again.chip.efuses.mac_text == "7c:df:a1:00:00:01"
        said = await again.espefuse("burn-efuse", field, "1")
        assert "already burned" in said


@pytest.mark.parametrize("protected", [False, True])
@every_family
async def test_write_protection_is_honoured(family: str, protected: bool, tmp_path: Path) -> None:
    field = DEBUG_FIELD[family]
    async with Esp32Bench(family, tmp_path) as bench:
        if protected:
            await bench.espefuse("write-protect-efuse", field)
        await bench.espefuse("burn-efuse", field, "1", expect=2 if protected else 0)
        # What espefuse would not even try, the controller does not do either.
        bench.chip.efuses.burn(field, 1)

        assert bench.chip.efuses.get(field) == (0 if protected else 1)


@pytest.mark.parametrize("protected", [False, True])
@every_family
def test_a_write_protected_block_keeps_its_content(family: str, protected: bool) -> None:
    efuses = _efuses(family)
    block = efuses.layout.key_blocks[0]
    if protected:
        bit = efuses.layout.blocks[block].write_protect
        assert bit is not None
        efuses.burn("WR_DIS", 1 << bit)
    efuses.burn_block(block, KEY)

    assert efuses.block(block) == (bytes(32) if protected else KEY)


@newer_families
async def test_secure_download_ends_the_session_that_burns_it(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.press("reset download")
        said = await bench.espefuse("burn-efuse", "ENABLE_SECURITY_DOWNLOAD", "1")

        assert "espefuse can not continue to work in Secure download mode" in said
        assert bench.chip.efuses.secure_download


@newer_families
def test_what_does_not_belong_to_its_code_is_reported(family: str) -> None:
    efuses = _efuses(family)
    base = efuses.layout.base
    efuses.burn_block(4, KEY)
    assert efuses.read_register(base + 0x1C0) == 0

    efuses.burn_block(
        4, bytes(byte ^ 0xFF for byte in KEY)
    )  # over another key: neither data nor code is what was meant
    fail_bit = {"esp32s3": 15, "esp32c3": 19}[family]
    assert efuses.read_register(base + 0x1C0) == 7 << 12 | 1 << fail_bit


@every_family
def test_programming_needs_the_operation_code(family: str) -> None:
    efuses = _efuses(family)
    layout = efuses.layout
    place = layout.fields[DEBUG_FIELD[family]]
    data = layout.base + layout.blocks[0].write + 4 * place.word
    for code, burned in ((0x5AA5, 0), (0x5A5A, 1)):
        efuses.write_register(data, 1 << place.position)
        efuses.write_register(layout.base + layout.configuration, code)
        efuses.write_register(layout.base + layout.command, 0x2)
        efuses.load()
        assert efuses.get(DEBUG_FIELD[family]) == burned


@every_family
def test_what_was_burned_shows_after_the_read_command(family: str) -> None:
    efuses = _efuses(family)
    layout = efuses.layout
    place = layout.fields[DEBUG_FIELD[family]]
    efuses.write_register(layout.base + layout.blocks[0].write + 4 * place.word, 1 << place.position)
    efuses.write_register(layout.base + layout.configuration, 0x5A5A)
    efuses.write_register(layout.base + layout.command, 0x2)
    assert efuses.get(DEBUG_FIELD[family]) == 0

    efuses.write_register(layout.base + layout.configuration, 0x5AA5)
    efuses.write_register(layout.base + layout.command, 0x1)
    assert efuses.get(DEBUG_FIELD[family]) == 1
