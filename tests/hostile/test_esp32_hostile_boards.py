"""Boards that lie, shout, change places or fall back, against the ESP32 driver: none of them is called good.

What the firmware says is believed only where the eFuses or the bundle bear it out; what the console prints is
believed never.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from agent.adapters.drivers.esp32.plan import Piece, Target, content
from agent.core.bundle import Burn
from agent.errors import AgentError, BoardError, LineError
from agent.ports import Firmware
from boards.esp32.boot import BootChain
from boards.esp32.chip import Cause, Chip
from boards.esp32.efuses import Efuses
from boards.esp32.images import bootloader_image
from boards.esp32.product import BOOTLOADER, ProductImages, make_images
from boards.esp32.signing import SigningKey
from boards.faults import ALWAYS, Fault, Faults, Kind
from harness.esp32_rig import (
    BURNS,
    CHIP_ID,
    NOTHING_DEMANDED,
    Rig,
    finish,
    is_locked,
    make_firmware,
    prepare,
    rig,
)

pytestmark = pytest.mark.check

FAMILY = "esp32s3"
OTHER_MAC = bytes.fromhex("7cdfa1000002")
OTHER = "7c:df:a1:00:00:02"
LOCKS = ("secure_boot", "flash_encryption", "debug_closed")
ENDS_S = 60.0  # every wait is bounded; nothing here may come near it
# What a first boot prints when all goes well, and what no console is believed.
SUCCESS = (
    b"I (100) secure_boot_v2: Secure boot permanently enabled\r\n"
    b"I (200) flash_encrypt: Flash encryption completed\r\n"
    b"I (300) boot: Resetting with flash encryption enabled...\r\n"
    b"I (400) main: NVS migration completed: 7 items\r\n"
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.make(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def images(key: SigningKey) -> ProductImages:
    return make_images(FAMILY, key)


@pytest.fixture
def bundle(tmp_path: Path, key: SigningKey, images: ProductImages) -> Firmware:
    return make_firmware(tmp_path / "bundle", images, key_pem=key.public_pem)


@pytest.fixture
def closing_bundle(tmp_path: Path, key: SigningKey, images: ProductImages) -> Firmware:
    """Its last burn takes away what the station could look at the chip with."""
    return make_firmware(tmp_path / "closing", images, key_pem=key.public_pem, burns=BURNS)


class Liar(BootChain):
    """Firmware that says in `hello` what it likes, from the moment on when `lies` are put in."""

    def __init__(self) -> None:
        super().__init__()
        self.lies: dict[str, object] = {}

    def received(self, data: bytes) -> None:
        board = None if self.running is None else self.running.board
        if board is not None and self.lies:
            truth = board.handle(write=False, command="hello", body={})
            told: Mapping[str, object] = {**truth, **self.lies}
            board.faults = Faults([Fault(Kind.ANSWER, times=ALWAYS, command="hello", value=told)])
        super().received(data)


def exchange(it: Rig) -> None:
    """Another chip is in the fixture; adapter, port and what its loader runs stay. Its MAC is its own."""
    other = Efuses(it.chip.efuses.layout, mac=OTHER_MAC, supply=it.chip.supply)
    it.chip.efuses._cells[:] = other._cells
    it.chip.efuses.load()


async def code_of(action: Any) -> str:
    """With which code it ends; and it ends."""
    with pytest.raises(AgentError) as raised:
        async with asyncio.timeout(ENDS_S):
            await action
    return raised.value.code


# other chips


async def test_firmware_that_says_another_chip_id_than_the_chip(tmp_path: Path, bundle: Firmware) -> None:
    machine = Liar()
    machine.lies = {"chip": OTHER}
    async with rig(tmp_path, FAMILY, machine) as it, it.driver(bundle) as driver:
        await driver.identify()
        assert await code_of(driver.flash(NOTHING_DEMANDED)) == "chip_changed"
        assert it.chip.supply.efuse_words == 0


async def test_a_chip_that_is_exchanged_after_it_was_looked_at_is_not_written(
    tmp_path: Path, bundle: Firmware
) -> None:
    """The connection to the loader is open, and the other chip is in its loader too."""
    async with rig(tmp_path, FAMILY, BootChain()) as it, it.driver(bundle) as driver:
        await driver.identify()
        exchange(it)
        assert await code_of(driver.flash(NOTHING_DEMANDED)) == "chip_changed"
        assert (it.chip.supply.flash_bytes, it.chip.supply.efuse_words) == (0, 0)


@pytest.mark.parametrize("does", ["write", "burn"])
async def test_the_worker_itself_asks_the_chip(tmp_path: Path, bundle: Firmware, does: str) -> None:
    async with rig(tmp_path, FAMILY, BootChain()) as it, it.driver(bundle) as driver:
        loader, mac = driver._port.loader, (await driver.identify()).chip_id
        await loader.prepare()
        burns = (Burn("DIS_LEGACY_SPI_BOOT", 1, after_first_boot=False),)
        pieces = (Piece(Target("otadata", 0x10000, content(bytes(4096)), bytes(4096)), 0, 4096),)

        async def act() -> None:
            await (loader.burn(mac, burns) if does == "burn" else loader.write(mac, pieces, bundle, None))

        exchange(it)
        before = (it.chip.supply.flash_bytes, it.chip.supply.efuse_words)
        assert await code_of(act()) == "chip_changed"
        assert (it.chip.supply.flash_bytes, it.chip.supply.efuse_words) == before


async def test_a_chip_that_is_exchanged_before_the_seal_is_not_sealed(
    tmp_path: Path, bundle: Firmware
) -> None:
    """Its firmware says the right chip id: the loader says the truth."""
    machine = Liar()
    async with rig(tmp_path, FAMILY, machine) as it, it.driver(bundle) as driver:
        await prepare(driver)
        exchange(it)
        machine.lies = {"chip": driver._port.known.chip_id}
        words = it.chip.supply.efuse_words
        assert await code_of(driver.seal()) == "chip_changed"
        assert it.chip.supply.efuse_words == words


# firmware that says it is closed


@pytest.fixture
def open_bootloader(tmp_path: Path, key: SigningKey, images: ProductImages) -> Callable[..., Firmware]:
    """A bundle whose secure bootloader is signed with the right key and locks nothing."""
    harmless = key.sign(bootloader_image(FAMILY, 3, BOOTLOADER))
    wrong = replace(images, by_role={**images.by_role, "secure-bootloader": harmless})

    def make(burns: tuple[Burn, ...] = ()) -> Firmware:
        return make_firmware(tmp_path / "open", wrong, key_pem=key.public_pem, burns=burns)

    return make


async def test_locks_are_what_the_silicon_says(
    tmp_path: Path, open_bootloader: Callable[..., Firmware]
) -> None:
    machine = Liar()
    machine.lies = {"sec": dict.fromkeys(LOCKS, True)}
    async with rig(tmp_path, FAMILY, machine) as it, it.driver(open_bootloader()) as driver:
        await prepare(driver)
        board = await finish(driver)
        assert board.sealed
        assert all(board.security_state.values())
        assert await driver.locks() == dict.fromkeys(LOCKS, False)
        assert not is_locked(it)


async def test_the_loader_of_a_chip_that_is_not_locked_is_not_closed(
    tmp_path: Path, open_bootloader: Callable[..., Firmware]
) -> None:
    """The last burn would take away the only witness."""
    machine = Liar()
    machine.lies = {"sec": dict.fromkeys(LOCKS, True)}
    async with rig(tmp_path, FAMILY, machine) as it, it.driver(open_bootloader(BURNS)) as driver:
        await prepare(driver)
        await driver.seal()
        words = it.chip.supply.efuse_words
        assert await code_of(driver.first_boot()) == "first_boot_failed"
        assert it.chip.supply.efuse_words == words
        assert not it.chip.efuses.secure_download


async def test_the_loader_of_a_chip_that_is_locked_is_closed(
    tmp_path: Path, closing_bundle: Firmware
) -> None:
    async with rig(tmp_path, FAMILY, BootChain()) as it, it.driver(closing_bundle) as driver:
        await prepare(driver)
        await finish(driver)
        assert it.chip.efuses.secure_download
        assert await driver.locks() == dict.fromkeys(LOCKS, True)


class Deaf(Chip):
    """Its boot strap has lost contact: it starts its firmware, whatever button is pressed."""

    strapped = True

    def reset(self, cause: Cause, *, download: bool = False) -> None:
        super().reset(cause, download=download and self.strapped)

    def _enter_loader(self, rate: int, data: bytes) -> bytes:
        return super()._enter_loader(rate, data) if self.strapped else data


def lose_strap(it: Rig) -> None:
    it.chip.__class__ = Deaf
    it.chip.strapped = False  # type: ignore[attr-defined]


async def test_a_loader_that_has_lost_contact_is_no_closed_loader(tmp_path: Path, bundle: Firmware) -> None:
    async with rig(tmp_path, FAMILY, BootChain()) as it, it.driver(bundle, connect_attempts=1) as driver:
        await prepare(driver)
        await finish(driver)
        driver._port.known.report = None
        lose_strap(it)
        assert await code_of(driver.locks()) == "locks_unreadable"
        it.chip.strapped = True  # type: ignore[attr-defined]
        assert await driver.locks() == dict.fromkeys(LOCKS, True)


async def test_a_last_burn_that_could_not_be_made_is_not_taken_for_made(
    tmp_path: Path, key: SigningKey
) -> None:
    """What it burns would silence the loader for good; so does a bad contact, for a while."""
    images = make_images("esp32", key)
    burns = (Burn("UART_DOWNLOAD_DIS", 1, after_first_boot=True),)
    firmware = make_firmware(tmp_path / "bundle", images, key_pem=key.public_pem, burns=burns)
    async with rig(tmp_path, "esp32", BootChain()) as it, it.driver(firmware, connect_attempts=1) as driver:
        await prepare(driver)
        await driver.seal()
        lose_strap(it)
        assert await code_of(driver.first_boot()) == "no_answer"
        assert not it.chip.efuses.download_disabled
        it.chip.strapped = True  # type: ignore[attr-defined]
        await driver.identify()
        await driver.first_boot()
        assert it.chip.efuses.download_disabled


# firmware that is not the bundle's


async def test_a_chip_that_fell_back_to_its_manufacturing_firmware_is_refused(
    tmp_path: Path, bundle: Firmware, images: ProductImages
) -> None:
    """Its application was damaged after the seal: the secure bootloader locks the chip with what is left."""
    async with rig(tmp_path, FAMILY, BootChain()) as it:
        async with it.driver(bundle) as driver:
            await prepare(driver)
            await driver.seal()
            it.chip.flash.program(images.offset("application") + 0x4000, bytes(16))
            assert await code_of(driver.first_boot()) in {"firmware_differs", "boot_signature"}
            assert is_locked(it)
        async with it.driver(bundle) as driver:
            await driver.identify()
            assert await code_of(driver.flash(NOTHING_DEMANDED)) == "chip_sealed"


@pytest.mark.parametrize(
    "firmware",
    [
        {"app": ["1.4.0", bytes(32)]},
        {"app": ["1.4.0", bytes(32)], "manufacturing": ["1.0.0", bytes(32)]},
        {},
    ],
    ids=["digest", "manufacturing", "none"],
)
async def test_an_application_of_another_digest_ends_the_first_boot(
    tmp_path: Path, bundle: Firmware, firmware: dict[str, object]
) -> None:
    machine = Liar()
    async with rig(tmp_path, FAMILY, machine) as it, it.driver(bundle) as driver:
        await prepare(driver)
        await driver.seal()
        machine.lies = {"fw": firmware, "sealed": True, "sec": dict.fromkeys(LOCKS, True)}
        assert await code_of(driver.first_boot()) == "firmware_differs"


# consoles


class Shouting(BootChain):
    """Prints something else beside what the chip prints, for ever."""

    def __init__(self, shout: bytes) -> None:
        super().__init__()
        self.shout = shout
        self.shouted = 0

    def power_on(self, chip: Chip, cause: Cause) -> None:
        super().power_on(chip, cause)
        chip.spawn(self._shout(chip))

    async def _shout(self, chip: Chip) -> None:
        while True:
            chip.send(self.shout)
            self.shouted += len(self.shout)
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    "shout",
    [
        b"\n" * 2048,
        b"x" * 4096,
        SUCCESS,
        b"\x1b[2J\x1b]0;PASS\x07\x08\x08" * 20 + b"\r\n",
        b"\x06\x09" * 64 + b"\n",
        b"\x06\x09AAAA\n\x04\x14BBBB\n",
        b"\xff\x00\xfe" * 300,
    ],
    ids=["newlines", "no end", "success", "ansi", "starts", "frames", "bytes"],
)
async def test_a_console_that_is_flooded(tmp_path: Path, bundle: Firmware, shout: bytes) -> None:
    """The board is made, or ends with a code; either way soon. What the eFuses say is the truth of it."""
    machine = Shouting(shout)
    options = {"boot_timeout_s": 3.0, "first_boot_timeout_s": 5.0, "connect_attempts": 1, "failures": 2}
    async with rig(tmp_path, FAMILY, machine) as it, it.driver(bundle, **options) as driver:
        ended: BoardError | LineError | None = None
        try:
            async with asyncio.timeout(ENDS_S):
                await prepare(driver)
                await driver.seal()
                await driver.first_boot()
                # Whether the firmware's own answer comes through once more is the noise's to say.
                assert (await driver.identify()).chip_id == CHIP_ID
        except (BoardError, LineError) as error:
            ended = error
        assert is_locked(it) if ended is None else ended.detail.isprintable()
        assert machine.shouted > len(shout)


async def test_success_on_the_console_is_no_success(tmp_path: Path, key: SigningKey) -> None:
    """The application says nothing but what a good first boot prints."""
    images = make_images(FAMILY, key, application={"behaviour": "silent"})
    bundle = make_firmware(tmp_path / "bundle", images, key_pem=key.public_pem)
    machine = Shouting(SUCCESS)
    percents: list[int] = []
    async with (
        rig(tmp_path, FAMILY, machine) as it,
        it.driver(bundle, first_boot_timeout_s=4.0) as driver,
    ):
        await prepare(driver)
        await driver.seal()
        first_boot = driver.first_boot(lambda done, total: percents.append(100 * done // total))
        assert await code_of(first_boot) == "first_boot_slow"
        assert percents
        assert max(percents) < 100


# loaders


class Noise:
    """A peer on a pty that answers whatever is written to it with the same bytes, over and over."""

    def __init__(self, folder: Path, answer: bytes, times: int) -> None:
        self._answer, self._times = answer, times
        self._master, slave = os.openpty()
        self.port = folder / "noise"
        self.port.symlink_to(os.ttyname(slave))
        os.set_blocking(self._master, False)
        self._slave = slave

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._master, self._came)
        return self

    def _came(self) -> None:
        os.read(self._master, 65_536)
        for _ in range(self._times):
            try:
                os.write(self._master, self._answer)
            except BlockingIOError:
                return  # nobody reads as fast

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


def _slip(frame: bytes) -> bytes:
    return b"\xc0" + frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def _answer(op: int, data: bytes, value: int = 0) -> bytes:
    return b"\x01" + bytes([op]) + len(data).to_bytes(2, "little") + value.to_bytes(4, "little") + data


SYNC = _slip(_answer(0x08, bytes(4)))


@pytest.mark.parametrize(
    ("answer", "times"),
    [
        (b"\xc0", 64),
        (b"\xc0\xdb\xff\xc0", 64),
        (bytes(range(256)), 16),
        (SYNC, 64),
        (SYNC + _slip(_answer(0x14, bytes(200))), 8),
        (SYNC + _slip(_answer(0x0A, bytes(4), 0xFFFFFFFF)) * 3, 16),
        (b"\xc0" + b"A" * 60_000, 1),
        (_slip(b"\x01\x08\xff\xff" + bytes(5_000)), 4),
    ],
    ids=["ends", "bad escape", "all bytes", "sync", "zeros", "registers", "endless frame", "long"],
)
async def test_a_loader_that_answers_garbage(
    tmp_path: Path, bundle: Firmware, answer: bytes, times: int
) -> None:
    with Noise(tmp_path, answer, times) as peer:
        options = {"connect_attempts": 1, "connect_timeout_s": 10.0, "boot_timeout_s": 1.0}
        it = Rig(None, peer.port, {"reset_command": ("true",)})  # type: ignore[arg-type]
        async with it.driver(bundle, **options) as driver:
            assert await code_of(driver.identify())


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    """Workers end with their drivers."""
    yield
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    names = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not [name for name in names if b"esp32.worker" in name]
