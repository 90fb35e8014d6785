"""What a chip says of itself, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.drivers.esp32 import chip
from agent.adapters.drivers.esp32.chip import ChipReport, Stage
from agent.adapters.drivers.esp32.images import ImageFacts
from agent.adapters.drivers.esp32.plan import content
from agent.core.bundle import Bundle, Burn, Image, Manifest, Role, SecureBoot
from agent.errors import BoardError, BundleMismatch, LineError
from agent.ports import BoardIdentity, FirmwareComponent, KeyState
from agent.ports import FirmwareDemands as Demands

OURS, OTHER = b"\x01" * 32, b"\x02" * 32
NOTHING = Demands(None, {}, ())
REPORT: dict[str, Any] = {
    "chip": "esp32s3",
    "description": "ESP32-S3 (QFN56) (revision v0.2)",
    "revision": 2,
    "mac": "7c:df:a1:00:00:01",
    "secure_download": False,
    "secure_boot": False,
    "secure_boot_v1": False,
    "digests": [],
    "crypt_count": 0,
    "crypt_count_fixed": False,
    "key_burned": False,
    "debug_closed": False,
}


def report(**changes: object) -> ChipReport:
    return chip.parse_report(REPORT | changes)


def image(role: Role, version: str | None = None, component: str | None = None, size: int = 4096) -> Image:
    offset = {Role.PARTITION_TABLE: 0x8000, Role.MANUFACTURING: 0x20000, Role.APPLICATION: 0x120000}.get(
        role, 0
    )
    digest = hashlib.sha256(role.encode()).digest() if component else None
    return Image(role.value, role, offset, size, bytes(32), component, version, digest)


MANIFEST = Manifest(
    product="sensor",
    version="1.4.0",
    chip="esp32s3",
    flash_size=4 << 20,
    images=(
        image(Role.BOOTLOADER, "3", "boot"),
        image(Role.SECURE_BOOTLOADER, "4", "boot"),
        image(Role.PARTITION_TABLE),
        image(Role.MANUFACTURING, "1.0.0", "manufacturing"),
        image(Role.APPLICATION, "1.4.0", "app"),
    ),
    minimum_versions={"app": "1.4.0"},
    secure_boot=SecureBoot(OURS, ""),
    burns=(
        Burn("DIS_DIRECT_BOOT", 1, after_first_boot=False),
        Burn("ENABLE_SECURITY_DOWNLOAD", 1, after_first_boot=True),
    ),
)
BUNDLE = Bundle(MANIFEST, b"\x05" * 32)


def facts(
    keys: tuple[bytes, ...] = (OURS,), revisions: tuple[int, int] = (0, 99)
) -> Mapping[str, ImageFacts]:
    return {one.name: ImageFacts(content(b"x"), revisions, keys) for one in MANIFEST.images}


def code(action: Callable[[], object]) -> str:
    with pytest.raises((BoardError, BundleMismatch)) as raised:
        action()
    return raised.value.code


def test_a_report_that_is_right_is_read() -> None:
    assert report().mac == "7c:df:a1:00:00:01"
    assert report(mac=None, secure_download=True).mac is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"mac": "7C:DF:A1:00:00:01"}, id="mac in upper case"),
        pytest.param({"chip": "ESP32-S3"}, id="chip as people write it"),
        pytest.param({"crypt_count": "0"}, id="number as text"),
        pytest.param({"digests": ["00"]}, id="short digest"),
        pytest.param({"secure_boot": 1}, id="number for a flag"),
        pytest.param({"more": 1}, id="unknown field"),
        pytest.param({"description": "\x1b[2J"}, id="escape sequence"),
    ],
)
def test_a_report_that_is_wrong_is_the_workers_fault(changes: dict[str, object]) -> None:
    with pytest.raises(LineError) as raised:
        report(**changes)
    assert raised.value.code == "worker_junk"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_any_other_json_is_the_workers_fault(value: object) -> None:
    with pytest.raises(LineError, match="worker_junk"):
        chip.parse_report(value)


@given(st.sampled_from(sorted(REPORT.keys() - {"digests"})), JSON)
def test_any_field_is_read_as_it_is_or_the_workers_fault(field: str, value: object) -> None:
    with contextlib.suppress(LineError):
        assert getattr(report(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Stage.OPEN),
        ({"secure_boot": True, "digests": [OURS.hex()]}, Stage.OPEN),
        ({"key_burned": True}, Stage.LOCKING),
        ({"key_burned": True, "crypt_count": 3}, Stage.LOCKING),
        ({"key_burned": True, "crypt_count": 1}, Stage.LOCKED),
        ({"key_burned": True, "crypt_count": 7}, Stage.LOCKED),
        ({"secure_download": True, "mac": None}, Stage.LOCKED),
    ],
)
def test_stages(changes: dict[str, object], expected: Stage) -> None:
    assert chip.stage(report(**changes)) is expected


@pytest.mark.parametrize(
    ("changes", "closed"),
    [
        ({}, False),
        ({"crypt_count": 1}, False),  # development mode: the host may turn it even again
        ({"crypt_count": 1, "crypt_count_fixed": True}, True),
        ({"crypt_count": 1, "secure_download": True, "mac": None}, True),
        ({"crypt_count": 7}, True),
        ({"crypt_count": 7, "chip": "esp32"}, False),  # three of seven bits
        ({"crypt_count": 0x7F, "chip": "esp32"}, True),
        ({"crypt_count": 3, "crypt_count_fixed": True}, False),
    ],
)
def test_flash_encryption_is_a_lock_only_where_nobody_opens_it_again(
    changes: dict[str, object], closed: bool
) -> None:
    assert chip.locks(report(**changes))["flash_encryption"] is closed


def test_a_bundle_that_is_right_passes() -> None:
    chip.check_bundle(BUNDLE, Demands(BUNDLE.digest, {"app": "1.4.0", "modem": "9"}, ("secure_boot",)))


@pytest.mark.parametrize(
    ("bundle", "demanded", "expected"),
    [
        pytest.param(BUNDLE, Demands(b"\x06" * 32, {}, ()), "bundle_differs", id="another bundle"),
        pytest.param(BUNDLE, Demands(None, {"app": "1.4.1"}, ()), "bundle_too_old", id="order's minimum"),
        pytest.param(BUNDLE, Demands(None, {"app": "x"}, ()), "bundle_too_old", id="minimum is no version"),
        pytest.param(
            replace(BUNDLE, manifest=replace(MANIFEST, minimum_versions={"app": "1.5.0"})),
            NOTHING,
            "bundle_too_old",
            id="own minimum",
        ),
        pytest.param(
            replace(BUNDLE, manifest=replace(MANIFEST, secure_boot=None)),
            Demands(None, {}, ("secure_boot",)),
            "bundle_unlocked",
            id="no secure boot",
        ),
    ],
)
def test_bundles_that_are_wrong_for_an_order(bundle: Bundle, demanded: Demands, expected: str) -> None:
    assert code(lambda: chip.check_bundle(bundle, demanded)) == expected


@pytest.mark.parametrize(
    "burns",
    [
        pytest.param((Burn("BLOCK_KEY0", 1, False),), id="key block"),
        pytest.param((Burn("BLOCK1", 1, False),), id="esp32 key block"),
        pytest.param((Burn("KEY_PURPOSE_0", 4, False),), id="key purpose"),
        pytest.param((Burn("SECURE_BOOT_EN", 1, False),), id="secure boot"),
        pytest.param((Burn("ABS_DONE_0", 1, False),), id="secure boot v1"),
        pytest.param((Burn("WR_DIS", 1, True),), id="write protection"),
        pytest.param((Burn("SPI_BOOT_CRYPT_CNT", 7, False),), id="encryption before first boot"),
        pytest.param((Burn("DIS_DIRECT_BOOT", 0, False),), id="zero"),
        pytest.param((Burn("DIS_DIRECT_BOOT", 1, False),) * 2, id="twice"),
        pytest.param((Burn("ENABLE_SECURITY_DOWNLOAD", 1, False),), id="closing too early"),
        pytest.param(
            (Burn("ENABLE_SECURITY_DOWNLOAD", 1, True), Burn("DIS_DIRECT_BOOT", 1, True)),
            id="closing not last",
        ),
    ],
)
def test_burns_that_are_refused(burns: tuple[Burn, ...]) -> None:
    bundle = replace(BUNDLE, manifest=replace(MANIFEST, burns=burns))
    assert code(lambda: chip.check_bundle(bundle, NOTHING)) == "burn_refused"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"digests": [OURS.hex()]},
        {"digests": [OURS.hex()], "secure_boot": True},
        {"mac": None, "secure_download": True, "secure_boot": True, "revision": 0},
    ],
)
def test_chips_that_a_bundle_is_for(changes: dict[str, object]) -> None:
    chip.check_chip(report(**changes), MANIFEST, facts())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"chip": "esp32c3"}, "bundle_other_chip", id="another chip"),
        pytest.param({"secure_boot_v1": True}, "chip_sealed", id="secure boot v1"),
        pytest.param({"digests": [OTHER.hex()]}, "secure_boot_key_differs", id="other key"),
        pytest.param(
            {"digests": [OURS.hex(), OTHER.hex()]}, "secure_boot_key_differs", id="other key beside"
        ),
        pytest.param({"secure_boot": True}, "secure_boot_key_differs", id="secure boot without a key"),
        pytest.param({"digests": ["01" * 16 + "00" * 16]}, "secure_boot_key_torn", id="half of our key"),
        pytest.param({"revision": 100}, "chip_revision", id="too new for the images"),
    ],
)
def test_chips_that_a_bundle_is_not_for(changes: dict[str, object], expected: str) -> None:
    assert code(lambda: chip.check_chip(report(**changes), MANIFEST, facts())) == expected


def test_a_spare_key_is_one_that_the_bundles_bootloader_is_signed_with() -> None:
    both = report(digests=[OURS.hex(), OTHER.hex()])
    chip.check_chip(both, MANIFEST, facts((OURS, OTHER)))
    assert code(lambda: chip.check_chip(both, MANIFEST, facts((OURS,)))) == "secure_boot_key_differs"
    alone = report(digests=[OTHER.hex()])
    assert code(lambda: chip.check_chip(alone, MANIFEST, facts((OURS, OTHER)))) == "secure_boot_key_differs"


def test_an_old_esp32_has_no_secure_boot_v2() -> None:
    manifest = replace(MANIFEST, chip="esp32")
    chip.check_chip(report(chip="esp32", revision=300), manifest, facts(revisions=(0, 999)))
    old = report(chip="esp32", revision=299)
    assert code(lambda: chip.check_chip(old, manifest, facts(revisions=(0, 999)))) == "chip_revision"


def test_a_chip_with_secure_boot_takes_signed_images_alone() -> None:
    locked = report(secure_boot=True, digests=[OURS.hex()])
    chip.check_chip(locked, MANIFEST, facts((OTHER, OURS)))
    assert code(lambda: chip.check_chip(locked, MANIFEST, facts((OTHER,)))) == "image_unsigned"


@pytest.mark.parametrize("size", [None, (4 << 20) - 1])
def test_flash_that_is_too_small_or_unknown(size: int | None) -> None:
    chip.check_flash_size(4 << 20, MANIFEST)
    assert code(lambda: chip.check_flash_size(size, MANIFEST)) == "flash_too_small"


def test_an_image_beyond_the_flash() -> None:
    manifest = replace(MANIFEST, images=(*MANIFEST.images, image(Role.DATA, size=(4 << 20) + 1)))
    assert code(lambda: chip.check_flash_size(4 << 20, manifest)) == "flash_too_small"


@pytest.mark.parametrize("installed", [None, "1.3.9", "1.4.0", "1.4.0-rc1", "hello-world"])
def test_installed_versions_that_are_replaced(installed: str | None) -> None:
    chip.check_installed(installed, MANIFEST)


def test_a_newer_application_is_not_replaced() -> None:
    assert code(lambda: chip.check_installed("1.4.1", MANIFEST)) == "firmware_newer"


def board(sealed: bool, firmware: Mapping[str, FirmwareComponent]) -> BoardIdentity:
    return BoardIdentity("sensor", "x", firmware, {}, (), (), KeyState.DONE, None, None, sealed, 1024)


def test_what_boards_report_in_each_layout() -> None:
    first = chip.components(MANIFEST, final=False)
    last = chip.components(MANIFEST, final=True)
    assert set(first) == {"boot", "app", "manufacturing"}
    assert set(last) == {"boot", "app"}
    assert (first["boot"].version, last["boot"].version) == ("3", "4")


def test_without_a_secure_bootloader_the_ordinary_one_stays() -> None:
    images = tuple(one for one in MANIFEST.images if one.role is not Role.SECURE_BOOTLOADER)
    assert chip.components(replace(MANIFEST, images=images), final=True)["boot"].version == "3"


def test_a_locked_board_with_this_very_firmware_goes_on() -> None:
    chip.check_locked(board(True, chip.components(MANIFEST, final=True)), MANIFEST)


@pytest.mark.parametrize("change", ["version", "digest", "missing", "more"])
def test_a_locked_board_with_other_firmware_is_refused(change: str) -> None:
    firmware = dict(chip.components(MANIFEST, final=True))
    match change:
        case "version":
            firmware["app"] = replace(firmware["app"], version="1.4.1")
        case "digest":
            firmware["app"] = replace(firmware["app"], digest=bytes(32))
        case "missing":
            del firmware["boot"]
        case "more":
            firmware["modem"] = firmware["app"]
    assert code(lambda: chip.check_locked(board(True, firmware), MANIFEST)) == "chip_sealed"
    assert (
        code(lambda: chip.check_components(board(True, firmware), MANIFEST, final=True)) == "firmware_differs"
    )


def test_a_locked_chip_whose_firmware_is_silent_or_denies_it() -> None:
    assert code(lambda: chip.check_locked(None, MANIFEST)) == "chip_sealed"
    denies = board(False, chip.components(MANIFEST, final=True))
    assert code(lambda: chip.check_locked(denies, MANIFEST)) == "chip_sealed"
