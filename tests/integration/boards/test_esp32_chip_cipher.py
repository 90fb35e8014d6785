"""Flash encryption of simulated chips: espsecure's bytes, and what becomes of plain text on a locked chip."""

import random
from pathlib import Path

import pytest

from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import Flash
from boards.esp32.flash_cipher import CachedFlash, ClassicCipher, FlashCipher, XtsCipher, flash_cipher
from boards.esp32.power import PowerSupply
from harness.esp32_bench import MAC, Esp32Bench

KEY = random.Random(9).randbytes(32)
LONG_KEY = random.Random(10).randbytes(64)
DATA = random.Random(11).randbytes(0x500)

CIPHERS: dict[str, tuple[FlashCipher, bytes, list[str]]] = {
    "xts-128": (XtsCipher(KEY), KEY, ["--aes-xts"]),
    "xts-256": (XtsCipher(LONG_KEY), LONG_KEY, ["--aes-xts"]),
    "classic": (ClassicCipher(KEY, 0xF), KEY, ["--flash-crypt-conf", "0xF"]),
    "classic-two-quarters": (ClassicCipher(KEY, 0x6), KEY, ["--flash-crypt-conf", "0x6"]),
}


@pytest.mark.parametrize("address", [0x1000, 0x2A5460])
@pytest.mark.parametrize("name", list(CIPHERS))
async def test_the_cipher_is_espsecures(name: str, address: int, tmp_path: Path) -> None:
    cipher, key, options = CIPHERS[name]
    plain, encrypted, key_file = tmp_path / "plain.bin", tmp_path / "encrypted.bin", tmp_path / "key.bin"
    plain.write_bytes(DATA)
    key_file.write_bytes(key)
    bench = Esp32Bench("esp32c3", tmp_path)
    await bench.run(
        "espsecure", "encrypt-flash-data", *options, "--keyfile", key_file, "--address", hex(address),
        "--output", encrypted, plain,
    )  # fmt: skip

    assert cipher.encrypt(address, DATA) == encrypted.read_bytes()
    assert cipher.decrypt(address, encrypted.read_bytes()) == DATA


@pytest.mark.parametrize("name", list(CIPHERS))
def test_what_is_encrypted_in_pieces_is_the_same(name: str) -> None:
    cipher, _, _ = CIPHERS[name]
    whole = cipher.encrypt(0x9010, DATA)
    pieces = [cipher.encrypt(0x9010 + at, DATA[at : at + 0x30]) for at in range(0, len(DATA), 0x30)]
    assert b"".join(pieces) == whole


def _locked(family: str) -> Efuses:
    """eFuses with a key, and flash encryption on."""
    efuses = Efuses(FAMILIES[family].efuses, mac=MAC, supply=PowerSupply())
    if efuses.layout.classic:
        efuses.burn_block(1, KEY[::-1])
        efuses.burn("FLASH_CRYPT_CONFIG", 0xF)
    else:
        efuses.burn_block(6, KEY[::-1])
        efuses.burn("KEY_PURPOSE_2", efuses.layout.purposes["XTS_AES_128_KEY"])
    efuses.burn(efuses.layout.crypt_count, 1)
    return efuses


@pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
def test_a_locked_chip_reads_plain_text_as_garbage(family: str) -> None:
    efuses, flash = _locked(family), Flash(1 << 16, supply=PowerSupply())
    cached = CachedFlash(flash, efuses)
    cached.program(0x1000, DATA)
    flash.program(0x2000, DATA)

    assert efuses.flash_key() == KEY
    assert cached.read(0x1003, 99) == DATA[3:102]
    assert flash.read(0x1000, 16) != DATA[:16]
    assert cached.read(0x2000, 16) != DATA[:16]


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("family", ["esp32s3", "esp32c3"])
async def test_the_loader_encrypts_until_that_is_forbidden(
    family: str, allowed: bool, tmp_path: Path
) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(DATA)
    async with Esp32Bench(family, tmp_path) as bench:
        efuses = bench.chip.efuses
        efuses.burn_block(4, KEY[::-1])
        efuses.burn("KEY_PURPOSE_0", efuses.layout.purposes["XTS_AES_128_KEY"])
        efuses.burn("SPI_BOOT_CRYPT_CNT", 1)
        if not allowed:
            efuses.burn("DIS_DOWNLOAD_MANUAL_ENCRYPT", 1)
        write = ("write-flash", "--encrypt", "0x10000", image)
        await bench.esptool(*write, expect=0 if allowed else 2)

        expected = flash_cipher(efuses).encrypt(0x10000, DATA) if allowed else b"\xff" * len(DATA)
        assert bench.chip.flash.read(0x10000, len(DATA)) == expected
