"""The real esptool against simulated chips: it finds, writes, verifies and reads them like real ones."""

import asyncio
import os
import random
import select
import termios
import time
import tty
from pathlib import Path

import pytest

from boards.esp32.chip import Cause, Chip, State
from boards.esp32.commands import SYNC_WIRE
from boards.esp32.control import UnknownCommandError
from harness.esp32_bench import Esp32Bench, Witness
from harness.waiting import until

pytestmark = pytest.mark.check

MAC = "7c:df:a1:00:00:01"
NAMES = {"esp32": "ESP32", "esp32s3": "ESP32-S3", "esp32c3": "ESP32-C3"}
every_family = pytest.mark.parametrize("family", list(NAMES))
newer_families = pytest.mark.parametrize("family", ["esp32s3", "esp32c3"])


def _image(folder: Path, size: int, *, dense: bool = False, seed: int = 1) -> tuple[Path, bytes]:
    """Bytes that are half noise, half constant (`dense`: all noise), in a file."""
    noise = random.Random(seed)
    data = noise.randbytes(size) if dense else (noise.randbytes(500) + b"\x12" * 524) * (size // 1024)
    path = folder / f"image-{seed}.bin"
    path.write_bytes(data)
    return path, data


@every_family
async def test_a_chip_says_who_it_is(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        said = await bench.esptool("flash-id")

    assert f"Connected to {NAMES[family]} on" in said
    assert f"MAC:                {MAC}" in said
    assert "Detected flash size: 4MB" in said
    assert "Stub flasher running" in said


@pytest.mark.parametrize(
    ("family", "chip"),
    [
        ("esp32-v1", "ESP32-D0WDQ6 (revision v1.0)"),
        ("esp32", "ESP32-D0WDQ6-V3 (revision v3.1)"),
        ("esp32s2", "ESP32-S2 (revision v1.0)"),
        ("esp32s3", "ESP32-S3 (QFN56) (revision v0.2)"),
        ("esp32c3", "ESP32-C3 (QFN32) (revision v0.4)"),
        ("esp32c6", "ESP32-C6 (QFN40) (revision v0.1)"),
        ("esp32h2", "ESP32-H2 (revision v0.2)"),
        ("esp32p4", "ESP32-P4 (revision v1.3)"),
    ],
)
async def test_the_whole_family_is_known_and_written(family: str, chip: str, tmp_path: Path) -> None:
    image, data = _image(tmp_path, 0x2400)
    async with Esp32Bench(family, tmp_path) as bench:
        said = await bench.esptool("write-flash", hex(bench.family.bootloader_offset), image)

        assert f"Chip type:          {chip}" in said
        assert MAC in said
        assert "Hash of data verified" in said
        assert bench.chip.flash.read(bench.family.bootloader_offset, len(data)) == data


@every_family
async def test_what_is_written_is_verified_read_and_erased(family: str, tmp_path: Path) -> None:
    low, low_data = _image(tmp_path, 0x5000, seed=1)
    high, high_data = _image(tmp_path, 0x14000, seed=2)
    async with Esp32Bench(family, tmp_path) as bench:
        said = await bench.esptool("-b", "921600", "write-flash", "0x10000", low, "0x83000", high)
        assert said.count("Hash of data verified") == 2
        assert "compressed" in said
        assert bench.chip.flash.read(0x10000, len(low_data)) == low_data
        assert bench.chip.flash.read(0x83000, len(high_data)) == high_data

        assert "Verification successful" in await bench.esptool("verify-flash", "0x83000", high)
        await bench.esptool("read-flash", "0x83000", hex(len(high_data)), tmp_path / "read.bin")
        assert (tmp_path / "read.bin").read_bytes() == high_data

        await bench.esptool("erase-region", "0x84000", "0x2000")
        left = high_data[:0x1000] + b"\xff" * 0x2000 + high_data[0x3000:]
        assert bench.chip.flash.read(0x83000, len(high_data)) == left
        await bench.esptool("verify-flash", "0x83000", high, expect=2)


@every_family
async def test_the_rom_alone_writes_and_reads(family: str, tmp_path: Path) -> None:
    image, data = _image(tmp_path, 0x3000)
    async with Esp32Bench(family, tmp_path) as bench:
        said = await bench.esptool("--no-stub", "write-flash", "0x20000", image)
        assert "Hash of data verified" in said
        assert "stub" not in said.lower()
        assert bench.chip.flash.read(0x20000, len(data)) == data
        await bench.esptool("--no-stub", "read-flash", "0x20000", "0x400", tmp_path / "read.bin")

    assert (tmp_path / "read.bin").read_bytes() == data[:0x400]


@every_family
async def test_uncompressed_and_unaligned(family: str, tmp_path: Path) -> None:
    image, data = _image(tmp_path, 0x3000)
    async with Esp32Bench(family, tmp_path) as bench:
        bench.chip.flash.program(0x30000, bytes(0x5000))
        said = await bench.esptool("write-flash", "--no-compress", "0x30100", image)

        assert "Hash of data verified" in said
        assert bench.chip.flash.read(0x30000, 0x100) == b"\xff" * 0x100  # the sector is erased from its start
        assert bench.chip.flash.read(0x30100, len(data)) == data
        assert bench.chip.flash.read(0x34000, 0x1000) == bytes(0x1000)


@newer_families
async def test_security_information_is_the_efuses(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        before = await bench.esptool("get-security-info")
        bench.chip.efuses.burn("SPI_BOOT_CRYPT_CNT", 1)
        bench.chip.efuses.burn("KEY_PURPOSE_3", 8)
        bench.chip.efuses.burn("SECURE_BOOT_KEY_REVOKE1", 1)
        await bench.press("reset download")
        after = await bench.esptool("get-security-info")

    assert "Flash Encryption: Disabled" in before
    assert "BLOCK_KEY3 - USER/EMPTY" in before
    assert "Flash Encryption: Enabled" in after
    assert "BLOCK_KEY3 - HMAC_UP" in after
    assert "0x00000010" in after  # SECURE_BOOT_KEY_REVOKE1
    assert f"Chip ID: {bench.family.chip_id}" in after


@every_family
async def test_a_sync_takes_a_running_chip_into_its_loader(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.esptool("read-mac")
        assert (bench.machine.starts, bench.machine.stops) == ([Cause.POWER_ON], 1)
        assert bench.chip.state is State.LOADER

        await bench.press("reset run")
        await until(lambda: bench.chip.state is State.RUN, "the chip to run")
        await bench.esptool("-b", "460800", "read-mac")  # leaves the stub at another rate
        await bench.esptool("read-mac")

    assert bench.machine.starts == [Cause.POWER_ON, Cause.PIN]
    assert bench.machine.heard == b""


@newer_families
async def test_the_watchdog_resets_into_firmware(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.esptool("--after", "watchdog-reset", "read-mac")
        await until(lambda: bench.chip.state is State.RUN, "the watchdog")

    assert bench.machine.starts == [Cause.POWER_ON, Cause.WATCHDOG]


async def test_the_stub_of_an_s3_with_secure_boot_starts_through_the_roms_pointer(tmp_path: Path) -> None:
    async with Esp32Bench("esp32s3", tmp_path) as bench:
        bench.chip.efuses.burn("SECURE_BOOT_EN", 1)
        said = await bench.esptool("flash-id")

    assert "Stub flasher running" in said
    assert "Detected flash size: 4MB" in said


async def test_a_c3_with_secure_boot_runs_no_stub(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        bench.chip.efuses.burn("SECURE_BOOT_EN", 1)
        said = await bench.esptool("flash-id")

    assert "Stub flasher is not supported on ESP32-C3 with Secure Boot" in said
    assert "Detected flash size: 4MB" in said


@newer_families
async def test_secure_download_mode_writes_and_does_nothing_else(family: str, tmp_path: Path) -> None:
    image, data = _image(tmp_path, 0x2000)
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.esptool("--no-stub", "read-mac")
        bench.chip.efuses.burn("ENABLE_SECURITY_DOWNLOAD", 1)
        await bench.press("reset download")

        assert "not available in Secure Download Mode" in await bench.esptool("read-mac", expect=2)
        await bench.esptool("--no-stub", "read-flash", "0", "16", tmp_path / "read.bin", expect=2)
        await bench.espefuse("summary", expect=2)
        await bench.esptool("get-security-info")
        said = await bench.esptool("write-flash", "--flash-size", "4MB", "0x40000", image)
        assert "Cannot verify written data" in said
        assert bench.chip.flash.read(0x40000, len(data)) == data


@pytest.mark.parametrize("family", ["esp32", "esp32c3"])
async def test_a_disabled_loader_is_silent(family: str, tmp_path: Path) -> None:
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.press("reset download")
        await bench.esptool("--connect-attempts", "1", "read-mac")
        bench.chip.efuses.burn(bench.family.efuses.download_disable, 1)
        await bench.press("reset download")
        await bench.esptool("--connect-attempts", "1", "read-mac", expect=2)
        assert bench.chip.state is State.HALTED

        await bench.press("reset run")
        await bench.esptool("--connect-attempts", "1", "read-mac", expect=2)

    assert bench.machine.starts == [Cause.POWER_ON, Cause.PIN]
    assert b"\x07\x07\x12\x20" in bench.machine.heard  # the SYNC is the firmware's to ignore


async def test_the_buttons(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        await bench.press("power off")
        await bench.esptool("--connect-attempts", "1", "read-mac", expect=2)
        await bench.press("power on")
        await bench.esptool("--connect-attempts", "1", "read-mac")

        host = os.open(bench.port, os.O_RDWR | os.O_NOCTTY)
        await bench.press("unplug")
        await until(lambda: not bench.port.is_symlink(), "the port to vanish")
        assert os.read(host, 1) == b""  # hung up
        os.close(host)
        await bench.press("plug")
        await until(bench.port.exists, "the port to appear")
        await bench.esptool("--connect-attempts", "1", "read-mac")


async def test_a_button_that_is_not_there_is_told(tmp_path: Path) -> None:
    bench = Esp32Bench("esp32c3", tmp_path)
    await bench.chip.start()
    await bench.press("reset runn")
    await bench.press("reset run")
    await until(lambda: len(bench.machine.starts) == 2, "the reset")
    with pytest.raises(UnknownCommandError, match="reset runn"):
        await bench.chip.stop()
    assert not bench.control.exists()


async def test_a_button_is_felt_before_what_is_written_after_it(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        with bench.control.open("wb", buffering=0) as button:
            button.write(b"reset download\n")
        bench.chip._came(bench.chip.now(), 115_200, b"late")  # the loop finds both at once, the port first
        assert bench.chip.state is State.LOADER


class _Faulty(Witness):
    """Firmware with a mistake in a task of its own."""

    def power_on(self, chip: Chip, cause: Cause) -> None:
        super().power_on(chip, cause)
        chip.spawn(self._fail())

    async def _fail(self) -> None:
        raise ZeroDivisionError


async def test_a_mistake_of_the_machine_is_told(tmp_path: Path) -> None:
    bench = Esp32Bench("esp32c3", tmp_path)
    bench.chip.replace_machine(_Faulty())
    await bench.chip.start()
    await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        await bench.chip.stop()


async def test_esptool_goes_on_when_a_port_that_was_pulled_out_comes_back(tmp_path: Path) -> None:
    image, data = _image(tmp_path, 0xC000, dense=True)
    async with Esp32Bench("esp32c3", tmp_path, time_scale=1.0) as bench:
        writing = asyncio.create_task(bench.esptool("write-flash", "0x1000", image))
        await until(lambda: bench.supply.flash_bytes > 0x4000, "the write to begin")
        await bench.press("unplug")
        await until(lambda: not bench.port.is_symlink(), "the port to vanish")
        await bench.press("plug")

        assert "Lost connection, retrying" in await writing
        assert bench.chip.flash.read(0x1000, len(data)) == data


async def _open_at(bench: Esp32Bench, rate: int) -> int:
    """Opens the port as a host does, and has the chip start anew."""
    host = os.open(bench.port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(host)
    settings = termios.tcgetattr(host)
    settings[4] = settings[5] = rate
    termios.tcsetattr(host, termios.TCSANOW, settings)
    await bench.press("reset run")
    await until(lambda: len(bench.machine.starts) == 2, "the reset")
    return host


def _first_bytes(host: int) -> bytes:
    ready, _, _ = select.select([host], [], [], 30)
    assert ready
    return os.read(host, 1000)


async def test_a_host_at_the_consoles_rate_hears_and_is_heard(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        host = await _open_at(bench, termios.B115200)
        assert _first_bytes(host) == b"hello\r\n"
        os.write(host, b"command\n")
        await until(lambda: bench.machine.heard == b"command\n", "the firmware to hear it")
        os.close(host)


async def test_what_one_host_left_unread_is_not_the_next_ones(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        bench.machine.greeting = b"old\r\n" * 40_000
        host = await _open_at(bench, termios.B115200)
        assert bench.chip._port._pending
        os.close(host)
        await until(lambda: not bench.chip._port._pending, "the chip to see it leave")

        bench.machine.greeting = b"new\r\n"
        host = os.open(bench.port, os.O_RDWR | os.O_NOCTTY)
        termios.tcflush(host, termios.TCIFLUSH)  # as every serial library does on opening
        await bench.press("reset run")
        assert await asyncio.to_thread(_first_bytes, host) == b"new\r\n"
        os.close(host)


async def test_a_host_at_another_rate_is_understood_by_the_loader_alone(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        host = await _open_at(bench, termios.B57600)
        os.write(host, b"command\n" + SYNC_WIRE)
        await until(lambda: bench.chip.state is State.LOADER, "the loader")
        assert _first_bytes(host).startswith(b"\xc0\x01\x08")  # the ROM measures the rate; no greeting before
        os.close(host)
    assert bench.machine.heard == b""


async def test_a_line_takes_its_time_and_no_processor(tmp_path: Path) -> None:
    image, data = _image(tmp_path, 0x8000, dense=True)
    async with Esp32Bench("esp32c3", tmp_path, time_scale=1.0) as bench:
        began, worked = time.monotonic(), time.process_time()
        await bench.esptool("write-flash", "0", image)
        took, worked = time.monotonic() - began, time.process_time() - worked

        assert bench.chip.flash.read(0, len(data)) == data
    assert took > 10 * len(data) / 115_200
    assert worked < 0.2 * took
