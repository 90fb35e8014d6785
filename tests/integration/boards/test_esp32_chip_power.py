"""Power cuts on simulated chips: what is torn, what is kept, and that the real tools go on afterwards."""

import random
from pathlib import Path

import pytest

from boards.esp32.chip import Cause, Chip, State
from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import SECTOR, Flash
from boards.esp32.power import PowerLost, PowerSupply
from harness.esp32_bench import MAC, Esp32Bench
from harness.waiting import until

pytestmark = pytest.mark.check

every_family = pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
newer_families = pytest.mark.parametrize("family", ["esp32s3", "esp32c3"])
KEY = random.Random(7).randbytes(32)
IMAGE = random.Random(8).randbytes(0x8000)
ADDRESS = 0x10000


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "data.bin"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("erased_first", [True, False], ids=["rom", "stub"])
@every_family
async def test_a_write_that_loses_power_is_torn_and_can_be_repeated(
    family: str, erased_first: bool, tmp_path: Path
) -> None:
    image = _file(tmp_path, IMAGE)
    write: list[str | Path] = ["write-flash", hex(ADDRESS), image]
    if erased_first:
        write.insert(0, "--no-stub")
    async with Esp32Bench(family, tmp_path) as bench:
        bench.chip.flash.program(ADDRESS, bytes(len(IMAGE)))
        cut = 0x8000 + 0x1234 if erased_first else 5 * SECTOR + 0x234
        await bench.press(f"cut flash {cut}")
        await bench.esptool(*write, expect=2)

        assert bench.chip.state is State.OFF
        flash = bench.chip.flash.read(ADDRESS, len(IMAGE))
        assert flash != IMAGE
        if erased_first:
            assert flash[:0x1234] == IMAGE[:0x1234]
            assert flash[0x1235:] == b"\xff" * (len(flash) - 0x1235)
        assert bench.supply.flash_bytes == len(IMAGE) + cut

        await bench.press("power on")
        await until(lambda: bench.chip.state is State.RUN, "power")
        said = await bench.esptool(*write)
        assert "Hash of data verified" in said
        assert bench.chip.flash.read(ADDRESS, len(IMAGE)) == IMAGE


@newer_families
async def test_a_key_that_loses_power_is_torn_and_never_made_good(family: str, tmp_path: Path) -> None:
    key = _file(tmp_path, KEY)
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.press("cut efuse 3")
        await bench.espefuse("burn-key", "BLOCK_KEY0", key, "HMAC_UP", expect=2)
        assert bench.chip.state is State.OFF
        torn = bench.chip.efuses.hardware_key(4)
        assert torn[:12] == KEY[:12]
        assert torn[12:14] == KEY[12:14]
        assert torn[14:] == bytes(18)

        await bench.press("power on")
        await until(lambda: bench.chip.state is State.RUN, "power")
        assert bench.chip.efuses.get("KEY_PURPOSE_0") == 0
        said = await bench.espefuse("burn-key", "BLOCK_KEY0", key, "HMAC_UP", expect=2)
        assert "Error(s) in BLOCK4" in said
        assert "forbidden" in said
        await bench.espefuse("burn-key", "BLOCK_KEY1", key, "HMAC_UP")
        assert bench.chip.efuses.hardware_key(5) == KEY


@pytest.mark.parametrize("family", ["esp32c3"])
async def test_a_key_without_its_purpose_is_finished_when_burned_again(family: str, tmp_path: Path) -> None:
    key = _file(tmp_path, KEY)
    async with Esp32Bench(family, tmp_path) as bench:
        await bench.press("cut efuse 11")  # eight words of key, three of code
        await bench.espefuse("burn-key", "BLOCK_KEY0", key, "HMAC_UP", expect=2)
        assert bench.chip.efuses.hardware_key(4) == KEY
        await bench.press("power on")
        await until(lambda: bench.chip.state is State.RUN, "power")
        assert bench.chip.efuses.key_block("HMAC_UP") is None

        await bench.espefuse("burn-key", "BLOCK_KEY0", key, "HMAC_UP")
        assert bench.chip.efuses.key_block("HMAC_UP") == 4


@every_family
def test_each_word_of_a_block_is_a_place_to_lose_power(family: str) -> None:
    layout = FAMILIES[family].efuses
    block = layout.key_blocks[0]
    counted = PowerSupply()
    Efuses(layout, mac=MAC, supply=counted).burn_block(block, KEY)
    assert counted.efuse_words == (8 if layout.classic else 11)

    for words in range(counted.efuse_words):
        supply = PowerSupply()
        efuses = Efuses(layout, mac=MAC, supply=supply)
        supply.cut_after(efuse_words=words)
        with pytest.raises(PowerLost):
            efuses.burn_block(block, KEY)
        assert efuses.hardware_key(block)[: 4 * words] == KEY[: 4 * words]
        assert efuses.hardware_key(block)[4 * words + 4 :] == bytes(max(28 - 4 * words, 0))


def test_each_byte_of_flash_is_a_place_to_lose_power() -> None:
    for granted in (0, 1, SECTOR - 1, SECTOR, SECTOR + 1, SECTOR + 255):
        supply = PowerSupply()
        flash = Flash(1 << 16, supply=supply)
        flash.program(0, bytes(2 * SECTOR))
        supply.cut_after(flash_bytes=granted)
        with pytest.raises(PowerLost):
            flash.erase(0, 2 * SECTOR)
        assert flash.read(0, 2 * SECTOR) == b"\xff" * granted + bytes(2 * SECTOR - granted)


def test_flash_only_clears_bits_until_it_is_erased() -> None:
    flash = Flash(1 << 16, supply=PowerSupply())
    flash.program(3, b"\xf0\x0f")
    flash.program(3, b"\x3c\x3c")
    assert flash.read(2, 4) == b"\xff\x30\x0c\xff"

    flash.erase(0, SECTOR)
    assert flash.read(2, 4) == b"\xff\xff\xff\xff"


async def test_a_cut_that_is_set_without_power_waits_for_it(tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        await bench.press("power off")
        await until(lambda: bench.chip.state is State.OFF, "no power")
        bench.chip.replace_machine(_Burner(spawned=False))
        await bench.press("cut flash 60")
        await bench.press("power on")
        await until(lambda: bench.supply.flash_bytes == 60, "the firmware to write")
        assert bench.chip.resets == 2

        await bench.press("power on")  # of no effect, had the power not failed
        await until(lambda: bench.supply.flash_bytes == 160, "the firmware to write again")
        assert bench.chip.resets == 3


class _Burner:
    """Firmware that writes to flash as soon as it runs, at once or in a task of its own."""

    def __init__(self, *, spawned: bool) -> None:
        self._spawned = spawned
        self.stopped = False

    def power_on(self, chip: Chip, _cause: Cause) -> None:
        if self._spawned:
            chip.spawn(self._later(chip))
        else:
            chip.flash.program(0, bytes(100))

    async def _later(self, chip: Chip) -> None:
        await chip.sleep(1)
        chip.flash.program(0, bytes(100))

    def received(self, data: bytes) -> None:
        """Does not listen."""

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("spawned", [True, False], ids=["task", "call"])
async def test_firmware_dies_where_the_power_fails(spawned: bool, tmp_path: Path) -> None:
    async with Esp32Bench("esp32c3", tmp_path) as bench:
        burner = _Burner(spawned=spawned)
        bench.chip.power_off()
        bench.chip.replace_machine(burner)
        bench.chip.power_on()
        await until(lambda: bench.supply.flash_bytes == 100, "the firmware to write")
        assert bench.chip.state is State.RUN

        bench.chip.supply.cut_after(flash_bytes=60)
        bench.chip.reset(Cause.PIN)
        await until(lambda: bench.chip.state is State.OFF, "the power to fail")
        assert burner.stopped
        assert bench.supply.flash_bytes == 160
