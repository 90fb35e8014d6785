"""Descriptions: what they leave out is taken from the images; what they cannot mean is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.drivers.esp32 import plan
from agent.core.bundle import BundleError, Burn, Manifest, Role
from agent.core.bundle_build import build_bundle, parse_description
from agent.core.bundle_verify import read_unverified
from agent.core.partition_table import parse_partition_table
from boards.esp32.images import app_image, bootloader_image
from boards.esp32.partitions import Partition, default_partitions, parse_otadata, partition_table
from harness.bundle_samples import sample, secure_boot_key, secure_sample, with_signature_sector

HEAD = """
product = "sensor"
version = "1.4.0"
chip = "esp32s3"
flash_size = "4MB"
"""
ROLES = ("bootloader", "secure-bootloader", "partition-table", "manufacturing", "application")
FIRMWARE = "".join(f'[[image]]\nrole = "{role}"\nfile = "{role}.bin"\n' for role in ROLES)
DATA = '[[image]]\nrole = "data"\nname = "data"\nfile = "fs.bin"\npartition = "storage"\n'
REST = """
[minimum_versions]
app = "1.2.0"
[secure_boot]
public_key = "secure-boot.pub.pem"
[[burn]]
name = "DIS_USB_JTAG"
value = 1
when = "seal"
"""
WHOLE = HEAD + FIRMWARE + DATA + REST
FILES = {name: secure_sample().files[name] for name in (*ROLES, "data")}


def build(text: str, files: dict[str, bytes] | None = None, pem: bytes | None = None) -> bytes:
    key = secure_boot_key().encode() if pem is None else pem
    description = parse_description(text.encode())
    return build_bundle(description, files or FILES, key if description.public_key else None)


def test_a_description_makes_the_bundle_that_its_images_are() -> None:
    manifest = read_unverified(build(WHOLE)).manifest
    expected = secure_sample().manifest
    assert sorted(manifest.images, key=lambda image: image.name) == sorted(
        expected.images, key=lambda image: image.name
    )
    assert (manifest.product, manifest.version, manifest.chip) == ("sensor", "1.4.0", "esp32s3")
    assert manifest.flash_size == 4 << 20
    assert manifest.secure_boot == expected.secure_boot
    assert manifest.minimum_versions == {"app": "1.2.0"}
    assert manifest.burns == (Burn("DIS_USB_JTAG", 1, after_first_boot=False),)


def test_a_description_names_files() -> None:
    description = parse_description(WHOLE.encode())
    assert description.files["application"] == "application.bin"
    assert description.public_key == "secure-boot.pub.pem"


def test_an_image_may_be_reported_by_another_name_or_not() -> None:
    renamed = WHOLE.replace('"application.bin"', '"application.bin"\ncomponent = "main"').replace(
        'app = "1.2.0"', 'main = "1.2.0"'
    )
    silent = WHOLE.replace('"manufacturing.bin"', '"manufacturing.bin"\nreported = false')
    image = read_unverified(build(renamed)).manifest.image(Role.APPLICATION)
    assert image is not None
    assert image.component == "main"
    image = read_unverified(build(silent)).manifest.image(Role.MANUFACTURING)
    assert image is not None
    assert image.component is None


PLAIN_ROLES = FIRMWARE.replace('[[image]]\nrole = "secure-bootloader"\nfile = "secure-bootloader.bin"\n', "")


def built_with(
    table: Sequence[Partition],
    head: str = HEAD,
    boot_bytes: int = 4_000,
    table_offset: int = 0x8000,
    tells: bool = True,
) -> Manifest:
    files = {name: FILES[name] for name in ROLES if name != "secure-bootloader"}
    files["partition-table"] = partition_table(table)
    files["bootloader"] = bootloader_image(
        "esp32s3", 3, {}, size=boot_bytes, table_offset=table_offset, tells=tells
    )
    return read_unverified(build(head + PLAIN_ROLES, files)).manifest


NVS = Partition("nvs", 1, 2, 0xB000, 0x4000)
DEFAULT = {part.name: part for part in default_partitions()}
ELSEWHERE = (NVS, *(DEFAULT[name] for name in ("otadata", "nvs_keys", "factory", "ota_0")))


@pytest.mark.parametrize(
    ("said", "tells"),
    [("", True), ("partition_table_offset = 0xA000\n", True), ("partition_table_offset = 0xA000\n", False)],
    ids=["by the bootloader", "by both", "by the description"],
)
def test_a_table_goes_where_both_builds_have_it(said: str, tells: bool) -> None:
    manifest = built_with(ELSEWHERE, HEAD + said, boot_bytes=0x9800, table_offset=0xA000, tells=tells)
    table = manifest.image(Role.PARTITION_TABLE)
    assert table is not None
    assert table.offset == 0xA000


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "begins at 0xb000, so it was perhaps not built for 0x8000: say partition_table_offset"),
        ("partition_table_offset = 0xB000\n", "lies over"),
        ("partition_table_offset = 0xA800\n", "multiple of 4096"),
        (
            "partition_table_offset = 0x9000\n",
            "ends at 0xa000, .* CONFIG_PARTITION_TABLE_OFFSET=0xa000 or beyond, and say it",
        ),
    ],
    ids=["not said", "over a partition", "half a sector", "in the bootloader"],
)
def test_a_table_at_a_wrong_place_is_refused(said: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        built_with(ELSEWHERE, HEAD + said, boot_bytes=0x9800, tells=False)


def test_a_bootloader_that_looks_elsewhere_is_refused() -> None:
    with pytest.raises(BundleError, match=r"partition table at 0x9000, .* puts it at 0xa000"):
        built_with(ELSEWHERE, HEAD + "partition_table_offset = 0xA000\n", table_offset=0x9000)
    with pytest.raises(BundleError, match=r"partition table at 0x9000, .* puts it at 0xb000"):
        built_with(ELSEWHERE, HEAD + "partition_table_offset = 0xB000\n", table_offset=0x9000)
    with pytest.raises(BundleError, match="partition nvs lies over"):
        built_with(ELSEWHERE, table_offset=0xB000)


def test_two_bootloaders_that_look_at_different_places_are_refused() -> None:
    files = FILES | {"secure-bootloader": bootloader_image("esp32s3", 4, {}, table_offset=0x9000)}
    with pytest.raises(BundleError, match="bootloader at 0x8000, secure-bootloader at 0x9000: build both"):
        build(WHOLE, files)


def test_a_signed_bootloader_of_a_p4_needs_its_table_further_behind() -> None:
    """28 KiB and a signature sector from 0x2000 on: esp-idf issue 19102."""
    head = HEAD.replace("esp32s3", "esp32p4")

    def build_for(place: int) -> bytes:
        table = default_partitions(table_offset=place)
        boot = bootloader_image("esp32p4", 3, {}, size=0x6E00, table_offset=place)
        files = {
            "bootloader": with_signature_sector(boot, secure_boot_key()),
            "partition-table": partition_table(table),
            "manufacturing": firmware("manufacturing"),
            "application": firmware("application"),
        }
        return build(head + PLAIN_ROLES + '[secure_boot]\npublic_key = "secure-boot.pub.pem"\n', files)

    def firmware(name: str) -> bytes:
        return with_signature_sector(
            app_image("esp32p4", f"sensor-{name}", "1.0.0", {}, size=6_000), secure_boot_key()
        )

    with pytest.raises(BundleError) as refused:
        build_for(0x8000)
    assert str(refused.value) == (
        "bootloader: it ends at 0xa000, and the partition table stands at 0x8000: build both bootloaders "
        "and applications with CONFIG_PARTITION_TABLE_OFFSET=0xa000 or beyond, and say it as "
        "partition_table_offset"
    )
    table = read_unverified(build_for(0x10000)).manifest.image(Role.PARTITION_TABLE)
    assert table is not None
    assert table.offset == 0x10000


def test_a_layout_without_factory_starts_the_manufacturing_firmware_out_of_ota_1() -> None:
    ota_0, ota_1 = (
        replace(DEFAULT["factory"], name="ota_0", subtype=0x10),
        replace(DEFAULT["ota_0"], name="ota_1", subtype=0x11),
    )
    table = (DEFAULT["nvs"], DEFAULT["otadata"], ota_0, ota_1)
    manifest = built_with(table)
    places = [manifest.image(role) for role in (Role.APPLICATION, Role.MANUFACTURING)]
    assert [place and place.offset for place in places] == [ota_0.offset, ota_1.offset]
    contents = {image.name: plan.content(b"x" * image.size) for image in manifest.images}
    read = parse_partition_table(partition_table(table))
    layouts = (plan.manufacturing(manifest, contents, read), plan.final(manifest, contents, read, mend=False))
    written = [next(target.data for target in layout if target.name == "otadata") for layout in layouts]
    assert [parse_otadata(data or b"") for data in written] == [2, 1]  # ota_1, then ota_0


def test_data_may_stand_at_an_offset() -> None:
    text = WHOLE.replace('partition = "storage"', "offset = 0x310000")
    image = read_unverified(build(text)).manifest.image(Role.DATA)
    assert image is not None
    assert image.offset == 0x310000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "product: it is missing; version: ", id="nothing"),
        pytest.param("product =", "is not TOML", id="no-toml"),
        pytest.param("x" * 70_000, "larger", id="large"),
        pytest.param(WHOLE + "more = 1\n", "burn.0.more", id="unknown-key"),
        pytest.param(WHOLE.replace('"4MB"', '"4M"'), "flash_size", id="flash-size"),
        pytest.param(WHOLE.replace('"bootloader"', '"boot"'), "image.0.role", id="role"),
        pytest.param(WHOLE + DATA, "two are called data", id="name-twice"),
        pytest.param(WHOLE.replace('partition = "storage"', ""), "either partition or offset", id="no-place"),
        pytest.param(
            WHOLE.replace('"application.bin"', '"application.bin"\noffset = 0'),
            "its place",
            id="place-of-app",
        ),
    ],
)
def test_descriptions_of_another_form_are_refused(text: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        parse_description(text.encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(WHOLE.replace("esp32s3", "esp99"), "chip esp99 is not known", id="chip"),
        pytest.param(WHOLE.replace('"1.4.0"', '"x"'), "the bundle: not a firmware", id="version"),
        pytest.param(WHOLE.replace('"storage"', '"fs"'), "no partition called fs", id="partition"),
        pytest.param(WHOLE.replace('"1.2.0"', '"1.5"'), "older than minimum", id="minimum"),
        pytest.param(
            WHOLE.replace('"fs.bin"', '"fs.bin"\ncomponent = "fs"'), "data: no firmware", id="data-component"
        ),
        pytest.param(WHOLE.replace('"DIS_USB_JTAG"', '"a"'), r"burns\.0\.name", id="burn"),
        pytest.param(
            WHOLE.replace('[[image]]\nrole = "partition-table"\nfile = "partition-table.bin"\n', ""),
            "role partition-table",
            id="no-table",
        ),
    ],
)
def test_bundles_that_cannot_be_are_not_made(text: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        build(text)


def test_wrong_images_are_named() -> None:
    with pytest.raises(BundleError, match="application: it is not signed"):
        build(WHOLE, FILES | {"application": sample().files["application"]})
    with pytest.raises(BundleError, match="manufacturing: no ESP image"):
        build(WHOLE, FILES | {"manufacturing": b"?" + FILES["manufacturing"][1:]})
    with pytest.raises(BundleError, match="partition-table: "):
        build(WHOLE, FILES | {"partition-table": b"?"})
    with pytest.raises(BundleError, match=r"secure_boot\.public_key"):
        build(WHOLE, pem=b"key")


@given(st.text(max_size=200))
def test_any_text_is_a_description_or_refused(text: str) -> None:
    with pytest.raises(BundleError):
        parse_description(text.encode())
