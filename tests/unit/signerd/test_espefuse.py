"""Which chips can hold a key for evidence, and the command that burns it."""

from __future__ import annotations

import shlex

import pytest

from signerd.adapters.espefuse import HMAC_CHIPS, KEY_BLOCKS, burn_command, check_block, check_chip
from signerd.errors import Code, Refused


def test_the_command_is_that_of_espefuse_5() -> None:
    assert burn_command("esp32c3", "BLOCK_KEY5", "7c:df:a1:00:00:01") == (
        'espefuse --chip esp32c3 --port "$PORT" burn-key BLOCK_KEY5 ./7c:df:a1:00:00:01.key HMAC_UP'
    )


@pytest.mark.parametrize("chip_id", ["-x", "..", ".", "a_b-c.d:e", "x" * 64])
def test_any_chip_id_is_one_file_in_the_folder(chip_id: str) -> None:
    words = shlex.split(burn_command("esp32s3", "BLOCK_KEY0", chip_id))
    assert words[-3:] == ["BLOCK_KEY0", f"./{chip_id}.key", "HMAC_UP"]


@pytest.mark.parametrize("chip", HMAC_CHIPS)
def test_chips_with_an_hmac_peripheral(chip: str) -> None:
    check_chip(chip)


@pytest.mark.parametrize(
    ("chip", "reason"),
    [
        ("esp32", "no HMAC peripheral"),
        ("esp32c2", "no HMAC peripheral"),
        ("esp8266", "known: esp32s2"),
        ("ESP32C3", "known: esp32s2"),
        ("", "known: esp32s2"),
    ],
)
def test_other_chips_are_refused_with_the_reason(chip: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        check_chip(chip)
    assert refused.value.code is Code.INVALID


def test_key_blocks() -> None:
    for block in KEY_BLOCKS:
        check_block(block)
    for block in ("BLOCK_KEY6", "BLOCK3", "block_key0", "BLOCK_KEY0 x", ""):
        with pytest.raises(Refused, match="key block"):
            check_block(block)
