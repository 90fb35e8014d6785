"""A first boot on the console: progress, failure, and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.drivers.esp32.console import Console, Heard

# As ESP-IDF v5 prints it, shortened.
FIRST_BOOT = b"""\
ESP-ROM:esp32s3-20210327\r
rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\r
\x1b[0;32mI (24) boot: ESP-IDF v5.1 2nd stage bootloader\x1b[0m\r
I (448) secure_boot_v2: Verifying with RSA-PSS...\r
I (469) secure_boot_v2: enabling secure boot v2...\r
I (475) secure_boot_v2: Secure boot digests absent, generating..\r
I (490) secure_boot_v2: 1 signature block(s) found appended to the bootloader.\r
I (500) secure_boot_v2: Burning public key hash to eFuse\r
I (520) secure_boot_v2: blowing secure boot efuse...\r
I (540) secure_boot_v2: Secure boot permanently enabled\r
I (568) boot: Checking flash encryption...\r
I (579) flash_encrypt: Generating new flash encryption key...\r
I (603) flash_encrypt: Disable JTAG...\r
I (934) flash_encrypt: bootloader encrypted successfully\r
I (978) flash_encrypt: partition table encrypted and loaded successfully\r
I (978) flash_encrypt: Encrypting partition 1 at offset 0xf000 (length 0x2000)...\r
I (1028) flash_encrypt: Done encrypting\r
I (1078) flash_encrypt: Encrypting partition 4 at offset 0x120000 (length 0x100000)...\r
I (9628) flash_encrypt: Done encrypting\r
I (9630) flash_encrypt: Setting CRYPT_CNT for permanent encryption\r
I (9640) flash_encrypt: Flash encryption completed\r
I (9650) boot: Resetting with flash encryption enabled...\r
rst:0x3 (RTC_SW_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\r
I (487) flash_encrypt: flash encryption is enabled (0 plaintext flashes left)\r
I (700) app: NVS: migrating 4 entries to encrypted storage\r
"""


def read(data: bytes) -> Console:
    console = Console()
    console.feed(data)
    return console


def test_a_first_boot_goes_forward_and_does_not_fail() -> None:
    console, seen = Console(), []
    for line in FIRST_BOOT.splitlines(keepends=True):
        console.feed(line)
        seen.append(console.percent)
    assert seen == sorted(seen)
    assert seen[-1] == 95
    assert len(set(seen)) > 10
    assert console.failure is None


@given(st.lists(st.integers(0, len(FIRST_BOOT)), max_size=8))
def test_cut_anywhere_it_reads_the_same(cuts: list[int]) -> None:
    console, last = Console(), 0
    for cut in [*sorted(cuts), len(FIRST_BOOT)]:
        console.feed(FIRST_BOOT[last:cut])
        last = cut
    assert (console.percent, console.failure) == (95, None)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"E (460) secure_boot_v2: Secure boot signature verification failed", "boot_signature"),
        (b"image valid, signature bad", "boot_signature"),
        (b"Sig block 0 invalid: Stored CRC ends", "boot_signature"),
        (b"E (9) secure_boot_v2: Secure boot key (0) verification failed.", "boot_signature"),
        (b"E (9) secure_boot_v2: No valid bootloader signature blocks found.", "boot_signature"),
        (
            b"E (9) secure_boot_v2: No application key digest matches the bootloader key digest.",
            "boot_signature",
        ),
        (b"E (9) boot: Secure Boot v2 failed (259)", "first_boot_failed"),
        (b"E (9) flash_encrypt: Cannot re-encrypt data CRYPT_CNT 7 write disabled 0", "first_boot_failed"),
        (b"E (9) flash_encrypt: Error programming security eFuses (err=0x103).", "first_boot_failed"),
        (b"W (9) flash_encrypt: no valid bootloader was found", "first_boot_failed"),
        (b"E (9) flash_encrypt: Failed to encrypt partition 4", "first_boot_failed"),
        (b"E (9) boot: Flash encryption check failed (261)", "first_boot_failed"),
        (b"E (9) flash_encrypt: flash encryption is not enabled, refusing to boot.", "first_boot_failed"),
        (b"E (9) app: ESP_ERR_NVS_CORRUPT_KEY_PART", "nvs_keys_damaged"),
    ],
)
def test_failures_end_the_wait_at_once(line: bytes, code: str) -> None:
    failure = read(FIRST_BOOT + line + b"\r\n").failure
    assert failure is not None
    assert failure.code == code
    assert failure.retryable == (code != "boot_signature")
    assert read(FIRST_BOOT + line).failure is None, "a line counts when it ends"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"invalid header: 0xffffffff", "no_boot"),
        (b"flash read err, 1000", "no_boot"),
        (b"E (88) boot: No bootable app partitions in the partition table", "no_boot"),
        (b"Brownout detector was triggered", "brownout"),
        (b"Guru Meditation Error: Core  0 panic'ed (LoadProhibited)", "firmware_crashes"),
    ],
)
def test_passing_troubles_are_failures_when_they_stay(line: bytes, code: str) -> None:
    assert read((line + b"\r\n") * 2).failure is None
    failure = read((line + b"\r\n") * 3).failure
    assert failure is not None
    assert failure.code == code
    assert failure.retryable == (code != "brownout")


def test_a_chip_that_resets_again_and_again() -> None:
    reset = b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x8\r\n"
    assert read(reset * 8).failure is None
    failure = read(reset * 9).failure
    assert failure is not None
    assert failure.code == "boot_loop"


def test_the_first_failure_stays() -> None:
    failure = read(b"image valid, signature bad\n" + b"invalid header: 0x0\n" * 5).failure
    assert failure is not None
    assert failure.code == "boot_signature"


def test_what_the_chip_prints_is_shown_as_printable_text() -> None:
    failure = read(b"\x1b[2J\xff refusing to boot\n").failure
    assert failure is not None
    assert failure.detail.isprintable()
    assert failure.detail.isascii()


def test_a_line_without_end_takes_no_memory() -> None:
    console = Console()
    for _ in range(100):
        console.feed(b"x" * 10_000)
    assert len(console._line) <= 512


@pytest.mark.parametrize("line", [b"a\n", b"nvs" * 170 + b"\n", b"I (1) flash_encrypt: waiting\r\n"])
def test_a_flood_is_not_looked_at_for_ever(line: bytes) -> None:
    """It is the station's time, which its other boards need."""
    console = Console()
    console.feed(line * 500)
    console.feed(b"refusing to boot\n")
    assert console.failure is not None, "a chatty first boot is read to its end"
    console = Console()
    while console._looked_at < 524_288:
        console.feed(line * 1_000)
    console.feed(b"I (1) flash_encrypt: Generating new flash encryption key...\nrefusing to boot\n")
    assert (console.percent, console.failure) == (0, None)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes(parts: list[bytes]) -> None:
    console, before = Console(), 0
    for part in parts:
        console.feed(part)
        assert before <= console.percent <= 99
        before = console.percent


@pytest.mark.parametrize("line", [line for line in FIRST_BOOT.splitlines() if line])
def test_a_chip_is_heard_by_what_only_a_chip_prints(line: bytes) -> None:
    heard = Heard()
    for start in range(0, len(line), 3):
        heard.feed(line[start : start + 3])
    assert heard.is_chip


@pytest.mark.parametrize(
    "line", [b"\x00\xff\xf8\x80" * 200, b"login: \r\n", b"uart:~$ \r\n", b"OK\r\n", b"I am (1) here"]
)
def test_noise_and_other_boards_are_no_chip(line: bytes) -> None:
    heard = Heard()
    heard.feed(line)
    assert not heard.is_chip
    assert str(heard).startswith(f"{len(line)} bytes came on this line")


def test_a_chip_that_was_heard_once_stays_heard_in_little_memory() -> None:
    heard = Heard()
    heard.feed(b"rst:0x1 (POWERON),boot:0x13\r\n")
    for _ in range(100):
        heard.feed(b"x" * 10_000)
    assert heard.is_chip
    assert len(heard._tail) <= 512
