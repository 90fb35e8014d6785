"""The driver with real esptool on simulated chips: the way of a chip, refusals, what goes wrong under way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.adapters.drivers.esp32 import DRIVER
from agent.adapters.drivers.esp32.driver import Esp32Driver
from agent.core.bundle import Burn, Role
from agent.core.recipe import StepName, parse_recipe
from agent.errors import AgentError, BoardError, BundleMismatch, ConfigError, LineError
from agent.ports import BoardIdentity, Demanded, Firmware
from boards.esp32.boot import BootChain, BootOptions
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey
from boards.paper_ca import SETTINGS, credential_for
from harness import esp32_faulty_worker
from harness.esp32_rig import CHIP_ID, NOTHING_DEMANDED, Rig, make_firmware, rig, with_manifest

CHIPS = ("esp32", "esp32s3", "esp32c3")
CHALLENGE = bytes(range(32))
BURNS = (
    Burn("DIS_DIRECT_BOOT", 1, after_first_boot=False),
    Burn("ENABLE_SECURITY_DOWNLOAD", 1, after_first_boot=True),
)
credential = functools.cache(credential_for)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.make(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def images(key: SigningKey) -> Callable[[str], ProductImages]:
    return functools.cache(lambda chip: make_images(chip, key))


@pytest.fixture
def firmware(
    tmp_path: Path, key: SigningKey, images: Callable[[str], ProductImages]
) -> Callable[[str], Firmware]:
    def make(chip: str) -> Firmware:
        burns = () if chip == "esp32" else BURNS
        return make_firmware(tmp_path / chip, images(chip), key_pem=key.public_pem, burns=burns)

    return make


async def prepare(driver: Esp32Driver) -> None:
    """All that a station does before the seal."""
    await driver.identify()
    await driver.flash(NOTHING_DEMANDED)
    await driver.keygen("p256")
    request = await driver.request(CHALLENGE)
    spki = x509.load_der_x509_csr(request.csr_der).public_key()
    await driver.install(credential(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))
    await driver.configure(SETTINGS)


async def finish(driver: Esp32Driver) -> BoardIdentity:
    """All that comes then."""
    await driver.seal()
    await driver.first_boot()
    found = await driver.identify()
    assert found.chip_id == CHIP_ID
    assert found.board is not None
    return found.board


def is_locked(it: Rig) -> bool:
    return it.chip.efuses.secure_boot and it.chip.efuses.flash_encryption


@pytest.mark.parametrize("chip", CHIPS)
async def test_from_an_empty_chip_to_a_locked_one_and_once_more(
    chip: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware(chip)
    await DRIVER.check_firmware(bundle)  # type: ignore[misc]
    percents: list[int] = []
    async with rig(tmp_path, chip, BootChain()) as it:
        async with it.driver(bundle) as driver:
            assert await driver.present() == CHIP_ID
            found = await driver.identify()
            assert (found.chip_id, found.board) == (CHIP_ID, None)
            await prepare(driver)
            await driver.seal()
            assert not is_locked(it)
            await driver.first_boot(lambda done, total: percents.append(100 * done // total))
            assert is_locked(it)
            locks = await driver.locks()
            assert locks == {"secure_boot": True, "flash_encryption": True, "debug_closed": True}
            assert await driver.present() == CHIP_ID
            assert (await driver.stamp(CHALLENGE)).stamp
        assert percents == sorted(percents)
        assert percents[-1] == 100
        if chip != "esp32":
            assert it.chip.efuses.get("DIS_DIRECT_BOOT")
            assert it.chip.efuses.secure_download
        matter = it.matter
        async with it.driver(bundle) as driver:
            await prepare(driver)
            board = await finish(driver)
            assert board.sealed
            assert not {name for name, closed in (await driver.locks()).items() if not closed}
        assert it.matter == matter, "a finished board is not changed"


async def test_a_chip_whose_loader_is_closed_for_good(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = with_manifest(firmware("esp32"), burns=(Burn("UART_DOWNLOAD_DIS", 1, after_first_boot=True),))
    async with rig(tmp_path, "esp32", BootChain()) as it:
        async with it.driver(bundle) as driver:
            await prepare(driver)
            await finish(driver)
            assert it.chip.efuses.download_disabled
            assert all((await driver.locks()).values()), "as they were read before it closed"
        matter = it.matter
        async with it.driver(bundle, connect_attempts=1) as driver:
            await prepare(driver)
            assert (await finish(driver)).sealed
            assert await driver.locks() == {}
        assert it.matter == matter


@pytest.mark.parametrize("chip", CHIPS)
async def test_a_current_chip_is_not_written(
    chip: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, chip, BootChain()) as it, it.driver(firmware(chip)) as driver:
        await prepare(driver)
        matter, written = it.matter, it.chip.supply.flash_bytes
        await driver._port.close()
        await driver.identify()
        flashed = await driver.flash(NOTHING_DEMANDED)
        assert flashed.written == ()
        assert set(flashed.kept) == {
            "bootloader",
            "partition-table",
            "manufacturing",
            "application",
            "otadata",
        }
        assert (it.matter, it.chip.supply.flash_bytes) == (matter, written)


async def test_of_an_older_application_only_what_differs_is_written(tmp_path: Path, key: SigningKey) -> None:
    size = 512 * 1024
    old = make_images("esp32s3", key, version="1.3.0", app_bytes=size)
    new = make_images("esp32s3", key, version="1.4.0", app_bytes=size)
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        for version, images in (("1.3.0", old), ("1.4.0", new)):
            async with it.driver(make_firmware(tmp_path / version, images, key_pem=key.public_pem)) as driver:
                await driver.identify()
                before = it.chip.supply.flash_bytes
                flashed = await driver.flash(NOTHING_DEMANDED)
                found = await driver.identify()
                assert found.board is not None
                assert found.board.firmware["app"].version == version
        assert flashed.written == ("application",)
        same = sum(a == b for a, b in zip(*(i.by_role["application"] for i in (old, new)), strict=True))
        if same > size // 2:  # the marker's filling may follow from the version
            assert it.chip.supply.flash_bytes - before < 2 * size


async def test_settings_stay_where_firmware_is_written(
    tmp_path: Path, firmware: Callable[[str], Firmware], images: Callable[[str], ProductImages]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(firmware("esp32s3")) as driver:
        await prepare(driver)
        nvs = images("esp32s3").partition("nvs")
        before = it.chip.flash.read(nvs.offset, nvs.size)
        it.chip.flash.erase(images("esp32s3").offset("application"), 0x10000)
        await driver._port.close()
        await driver.identify()
        assert (await driver.flash(NOTHING_DEMANDED)).written == ("application",)
        assert it.chip.flash.read(nvs.offset, nvs.size) == before


# What is refused, and each time neither a byte of flash nor an eFuse changes


async def refused(it: Rig, bundle: Firmware, demanded: Demanded = NOTHING_DEMANDED) -> str:
    """The code with which `flash` refuses the chip, which is not changed."""
    matter, counts = it.matter, (it.chip.supply.flash_bytes, it.chip.supply.efuse_words)
    async with it.driver(bundle) as driver:
        await driver.identify()
        with pytest.raises((BoardError, BundleMismatch)) as raised:
            await driver.flash(demanded)
    assert it.matter == matter
    assert (it.chip.supply.flash_bytes, it.chip.supply.efuse_words) == counts
    return raised.value.code


async def test_right_bundles_are_not_refused(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    """The positive of all that follows."""
    bundle = firmware("esp32s3")
    demanded = Demanded(bundle.bundle.digest, {"app": "1.4.0"}, ("secure_boot",))
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle) as driver:
        await driver.identify()
        assert (await driver.flash(demanded)).written


async def test_a_bundle_for_another_chip(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32c3", BootChain()) as it:
        assert await refused(it, firmware("esp32s3")) == "bundle_other_chip"


async def test_another_bundle_than_the_orders(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        assert await refused(it, firmware("esp32s3"), Demanded(bytes(32), {}, ())) == "bundle_differs"


async def test_a_bundle_that_is_too_old(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        assert (
            await refused(it, firmware("esp32s3"), Demanded(None, {"app": "1.4.1"}, ())) == "bundle_too_old"
        )


async def test_a_chip_whose_application_is_newer(tmp_path: Path, key: SigningKey) -> None:
    def bundle(version: str) -> Firmware:
        images = make_images("esp32s3", key, version=version)
        return make_firmware(tmp_path / version, images, key_pem=key.public_pem)

    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(bundle("1.5.0")) as driver:
            await prepare(driver)
        assert await refused(it, bundle("1.4.0")) == "firmware_newer"


async def test_a_flash_that_is_too_small(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain(), flash_bytes=2 << 20) as it:
        assert await refused(it, firmware("esp32s3")) == "flash_too_small"


async def test_a_chip_with_the_secure_boot_key_of_another_company(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        it.chip.efuses.burn_block(4, b"\x5a" * 32)
        it.chip.efuses.burn("KEY_PURPOSE_0", it.chip.efuses.layout.purposes["SECURE_BOOT_DIGEST0"])
        assert await refused(it, firmware("esp32s3")) == "secure_boot_key_differs"


async def test_a_chip_with_our_secure_boot_key_is_not_refused(
    tmp_path: Path, firmware: Callable[[str], Firmware], key: SigningKey
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        it.chip.efuses.burn_block(4, key.digest)
        it.chip.efuses.burn("KEY_PURPOSE_0", it.chip.efuses.layout.purposes["SECURE_BOOT_DIGEST0"])
        async with it.driver(firmware("esp32s3")) as driver:
            await driver.identify()
            assert (await driver.flash(NOTHING_DEMANDED)).written


async def test_a_chip_that_is_sealed_with_other_firmware(
    tmp_path: Path, firmware: Callable[[str], Firmware], key: SigningKey
) -> None:
    other = make_firmware(
        tmp_path / "other", make_images("esp32s3", key, version="1.4.1"), key_pem=key.public_pem
    )
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(firmware("esp32s3")) as driver:
            await prepare(driver)
            await finish(driver)
        assert await refused(it, other) == "chip_sealed"


@pytest.mark.parametrize("name", ["application", "bootloader", "partition-table"])
async def test_an_image_that_was_altered_on_the_station(
    name: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    path = bundle.images[name]
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        matter = it.matter
        async with it.driver(bundle) as driver:
            await driver.identify()
            path.write_bytes(altered)
            with pytest.raises(ConfigError, match="altered"):
                await driver.flash(NOTHING_DEMANDED)
        assert it.matter == matter


async def test_an_image_that_is_altered_between_look_and_writing(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle) as driver:
        await prepare(driver)
        it.chip.flash.erase(0x120000, 0x1000)
        await driver._port.close()
        await driver.identify()
        matter = it.matter
        path = bundle.images["application"]
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        with pytest.raises(BoardError) as raised:
            await driver.flash(NOTHING_DEMANDED)
        assert raised.value.code == "image_altered"
        assert it.matter == matter


@pytest.mark.parametrize("role", [Role.SECURE_BOOTLOADER, Role.APPLICATION])
async def test_a_bundle_with_an_unsigned_image_is_refused_at_the_start(
    role: Role, tmp_path: Path, images: Callable[[str], ProductImages], key: SigningKey
) -> None:
    product = images("esp32s3")
    unsigned = make_images("esp32s3", None).by_role["application"]
    if role is Role.SECURE_BOOTLOADER:
        unsigned = make_images("esp32s3", None).by_role["bootloader"]
    await DRIVER.check_firmware(make_firmware(tmp_path / "right", product, key_pem=key.public_pem))  # type: ignore[misc]
    wrong = replace(product, by_role={**product.by_role, role.value: unsigned})
    with pytest.raises(ConfigError, match=f"{role.value}.*not signed"):
        await DRIVER.check_firmware(make_firmware(tmp_path / "wrong", wrong, key_pem=key.public_pem))  # type: ignore[misc]


async def test_a_bundle_with_the_key_of_another_company_is_refused_at_the_start(
    tmp_path: Path, images: Callable[[str], ProductImages], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = SigningKey.make(tmp_path_factory.mktemp("other"))
    bundle = make_firmware(tmp_path / "wrong", images("esp32s3"), key_pem=other.public_pem)
    with pytest.raises(ConfigError, match="another key"):
        await DRIVER.check_firmware(bundle)  # type: ignore[misc]


async def test_burns_that_a_station_does_not_make(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = with_manifest(firmware("esp32s3"), burns=(Burn("BLOCK_KEY0", 1, after_first_boot=False),))
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        assert await refused(it, bundle) == "burn_refused"
    with pytest.raises(ConfigError, match="BLOCK_KEY0"):
        await DRIVER.check_firmware(bundle)  # type: ignore[misc]


async def test_another_chip_than_the_one_that_was_identified(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(firmware("esp32s3")) as driver:
        await prepare(driver)
        matter = it.matter
        driver._port.known.chip_id = "7c:df:a1:00:00:02"
        with pytest.raises(BoardError) as raised:
            await driver.flash(NOTHING_DEMANDED)
        assert raised.value.code == "chip_changed"
        assert it.matter == matter


# What goes wrong under way


async def until_done(it: Rig, bundle: Firmware, tries: int = 4) -> BoardIdentity:
    """Presents the board again, as an operator does, until it is finished."""
    for left in range(tries, 0, -1):
        it.chip.plug()
        it.chip.power_on()
        try:
            async with it.driver(bundle) as driver:
                await prepare(driver)
                return await finish(driver)
        except AgentError as error:
            if not error.retryable or left == 1:
                raise
    raise AssertionError("unreachable")


COMMANDS = ("open", "prepare", "digests", "write", "burned", "burn", "run", "close")
FAULTS = [
    *itertools.product(COMMANDS, ("die", "unplug")),
    *itertools.product(("open", "write"), ("hang", "junk", "wrong")),
]


@pytest.mark.parametrize(("command", "fault"), FAULTS)
async def test_a_worker_or_port_that_fails_in_a_command(
    command: str, fault: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    waiting = tmp_path / "fault"
    waiting.touch()
    script = str(Path(esp32_faulty_worker.__file__))
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(
            bundle, connect_timeout_s=15.0, command_timeout_s=8.0, write_timeout_s=8.0
        ) as driver:
            driver._port._worker._command = (sys.executable, "-P", script, str(waiting), command, fault)
            driver._port.loader._worker = driver._port._worker
            try:
                await prepare(driver)
                await finish(driver)
                failed = None
            except (LineError, BoardError) as error:
                failed = error
        assert not waiting.exists(), "the fault has happened"
        if failed is not None:
            assert failed.retryable, failed
        board = await until_done(it, bundle)
        assert board.sealed
        assert is_locked(it)
        assert it.chip.efuses.get("DIS_DIRECT_BOOT")


async def test_a_flash_that_is_cancelled_leaves_the_port_usable(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    begun = asyncio.Event()
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(bundle) as driver:
        await driver.identify()
        flashing = asyncio.create_task(driver.flash(NOTHING_DEMANDED, lambda *_: begun.set()))
        await begun.wait()
        flashing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flashing
        await prepare(driver)
        assert (await finish(driver)).sealed


async def test_a_port_that_is_pulled_out_in_a_first_boot(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware("esp32s3")
    slow = BootChain(BootOptions(first_boot_s=600.0))
    async with rig(tmp_path, "esp32s3", slow) as it, it.driver(bundle) as driver:
        await prepare(driver)
        await driver.seal()
        with pytest.raises((LineError, BoardError)) as raised:
            await driver.first_boot(lambda *_: it.chip.unplug())
        assert raised.value.code == "port_gone"
        assert raised.value.retryable


async def test_a_first_boot_that_fails_says_why(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it, it.driver(firmware("esp32s3")) as driver:
        await prepare(driver)
        await driver.seal()
        it.chip.flash.erase(0, 0x1000)  # the flash fails after it was verified
        with pytest.raises(BoardError) as raised:
            await driver.first_boot()
        assert raised.value.code == "no_boot"
        assert "invalid header" in raised.value.detail


async def test_an_empty_place_is_noticed(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        it.chip.power_off()
        async with it.driver(firmware("esp32s3"), boot_timeout_s=0.5, connect_attempts=1) as driver:
            assert await driver.present() is None
            with pytest.raises(LineError) as raised:
                await driver.identify()
            assert raised.value.code == "no_answer"
            it.chip.power_on()
            assert await driver.present() == CHIP_ID


async def test_a_station_without_a_bundle_speaks_with_the_firmware_alone(
    tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        async with it.driver(firmware("esp32s3")) as driver:
            await prepare(driver)
        async with it.driver(None) as driver:
            found = await driver.identify()
            assert found.board is not None
            with pytest.raises(BoardError) as raised:
                await driver.flash(NOTHING_DEMANDED)
            assert raised.value.code == "no_bundle"
            assert (await driver.stamp(CHALLENGE)).stamp


async def test_options_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="previous_bundles"):
        Esp32Driver(str(tmp_path / "port"), {"previous_bundles": []})


async def test_a_reset_command_that_fails(tmp_path: Path, firmware: Callable[[str], Firmware]) -> None:
    async with rig(tmp_path, "esp32s3", BootChain()) as it:
        for command in (("/bin/false",), ("/nonexistent",), ("/bin/sleep", "600")):
            async with it.driver(
                firmware("esp32s3"), reset_command=command, reset_command_timeout_s=0.3
            ) as driver:
                with pytest.raises(LineError) as raised:
                    await driver.identify()
                assert raised.value.code == "reset_failed"


def test_the_default_recipe_has_every_step_of_a_chip_and_challenges() -> None:
    assert DRIVER.default_recipe is not None
    recipe = parse_recipe(DRIVER.default_recipe)
    assert recipe.challenge
    assert set(recipe.names) >= set(StepName) - {StepName.LABEL}


# The power fails


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("part", ["flash", "seal", "first boot"])
async def test_a_power_cut_is_finished_on_the_next_presentation(
    chip: str, part: str, tmp_path: Path, firmware: Callable[[str], Firmware]
) -> None:
    bundle = firmware(chip)
    async with rig(tmp_path, chip, BootChain()) as it:
        async with it.driver(
            bundle, boot_timeout_s=1.0, first_boot_timeout_s=3.0, connect_attempts=1
        ) as driver:
            await driver.identify()
            if part != "flash":
                await prepare(driver)
            if part == "first boot":
                await driver.seal()
            # Bytes erased and written: 200 KiB of images, 70 KiB at the seal, then all partitions in place.
            total = {"flash": 430_000, "seal": 100_000, "first boot": 4_000_000}[part]
            it.chip.supply.cut_after(flash_bytes=total // 2)
            with contextlib.suppress(LineError, BoardError):
                if part == "flash":
                    await driver.flash(NOTHING_DEMANDED)
                await finish(driver)
        board = await until_done(it, bundle)
        assert board.sealed
        assert is_locked(it)
