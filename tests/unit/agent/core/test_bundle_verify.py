"""Bundles: what is whole and signed is read; with one thing changed it is refused, with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core.bundle import BundleError, Burn, Role, SecureBoot
from agent.core.bundle_checks import CHIPS
from agent.core.bundle_manifest import encode_manifest
from agent.core.bundle_verify import make_bundle, read_unverified, sign_bundle, verify_bundle
from agent.core.bundle_zip import pack, unpack
from agent.core.esp_image import signing_key_digest
from boards.esp32.images import FAMILIES, app_image, bootloader_image
from boards.esp32.partitions import Partition, default_partitions, partition_table
from harness.bundle_samples import (
    Sample,
    describe,
    pack_signed,
    sample,
    secure_boot_key,
    secure_sample,
    with_signature_sector,
)
from harness.rsa_keys import constant_rsa_key

VECTORS = Path(__file__).parents[3] / "vectors"
PLAIN, SECURE = sample(), secure_sample()
OTHER_KEY = Ed25519PrivateKey.generate()
SEAL_BURN = Burn("DIS_USB_JTAG", 1, after_first_boot=False)
CLOSING_BURN = Burn("ENABLE_SECURITY_DOWNLOAD", 1, after_first_boot=True)


def verify(changed: Sample) -> None:
    verify_bundle(changed.signed_unchecked(), changed.key.public_key())


def manifest(base: Sample, **changes: object) -> Sample:
    return replace(base, manifest=replace(base.manifest, **changes))  # type: ignore[arg-type]


def without(base: Sample, name: str) -> Sample:
    kept = tuple(image for image in base.manifest.images if image.name != name)
    files = {image.name: base.files[image.name] for image in kept}
    return replace(base, manifest=replace(base.manifest, images=kept), files=files)


def with_another(base: Sample, role: Role, offset: int, content: bytes, name: str) -> Sample:
    images = (*base.manifest.images, describe(role, offset, content, name))
    return replace(base, manifest=replace(base.manifest, images=images), files={**base.files, name: content})


def moved(base: Sample, name: str, offset: int) -> Sample:
    return base.with_entry(name, offset=offset)


def with_table(base: Sample, *partitions: Partition) -> Sample:
    return base.with_image("partition-table", partition_table(partitions))


@pytest.mark.parametrize("chip", CHIPS)
def test_what_was_signed_is_read(chip: str) -> None:
    signed = secure_sample(chip)
    bundle, images = verify_bundle(signed.signed(), signed.key.public_key())
    assert bundle.manifest == signed.manifest
    assert images == signed.files
    assert bundle.digest == hashlib.sha256(encode_manifest(signed.manifest)).digest()
    assert CHIPS[chip].bootloader_offset == FAMILIES[chip].bootloader_offset


def test_burns_and_minimum_versions_are_read() -> None:
    changed = manifest(PLAIN, burns=(SEAL_BURN, CLOSING_BURN), minimum_versions={"app": "1.4.0", "boot": "3"})
    bundle, _ = verify_bundle(changed.signed(), changed.key.public_key())
    assert bundle.manifest.burns == (SEAL_BURN, CLOSING_BURN)
    assert bundle.manifest.minimum_versions == {"app": "1.4.0", "boot": "3"}


def test_the_final_firmware_is_the_application_and_its_bootloader() -> None:
    assert {name: image.role for name, image in SECURE.manifest.final_firmware().items()} == {
        "boot": Role.SECURE_BOOTLOADER,
        "app": Role.APPLICATION,
    }
    assert PLAIN.manifest.final_firmware()["boot"].role is Role.BOOTLOADER


def test_a_signature_changes_nothing_else() -> None:
    unsigned, signed = read_unverified(PLAIN.unsigned()), read_unverified(PLAIN.signed())
    assert (unsigned.signed, signed.signed) == (False, True)
    assert unsigned.digest == signed.digest
    again = sign_bundle(sign_bundle(PLAIN.unsigned(), OTHER_KEY), PLAIN.key)
    assert again == PLAIN.signed()


def test_an_unsigned_bundle_is_refused() -> None:
    with pytest.raises(BundleError, match="not signed: "):
        verify_bundle(PLAIN.unsigned(), PLAIN.key.public_key())


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63)], ids=["empty", "zeros", "short"])
def test_a_signature_that_is_none_is_refused(signature: bytes) -> None:
    entries = unpack(PLAIN.signed())
    with pytest.raises(BundleError, match="not signed with the expected key"):
        verify_bundle(pack(entries | {"manifest.sig": signature}), PLAIN.key.public_key())


def test_another_companys_signature_is_refused() -> None:
    with pytest.raises(BundleError, match="not signed with the expected key"):
        verify_bundle(PLAIN.signed(), OTHER_KEY.public_key())


def test_a_signature_over_the_manifest_alone_is_refused() -> None:
    """Without the label a signature made for something else could stand here."""
    entries = unpack(PLAIN.signed())
    entries["manifest.sig"] = PLAIN.key.sign(entries["manifest.json"])
    with pytest.raises(BundleError, match="not signed with the expected key"):
        verify_bundle(pack(entries), PLAIN.key.public_key())


def test_an_image_of_another_bundle_is_refused() -> None:
    other = app_image("esp32s3", "sensor", "1.4.1", {}, size=9_000)
    with pytest.raises(BundleError, match="application: the file is not the one"):
        verify(replace(PLAIN, files={**PLAIN.files, "application": other}))


def test_a_bundle_without_manifest_is_refused() -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        read_unverified(pack({"images/data.bin": b""}))


def test_images_in_another_order_are_refused() -> None:
    reversed_files = dict(reversed(list(PLAIN.files.items())))
    with pytest.raises(BundleError, match="in its order"):
        verify(replace(PLAIN, files=reversed_files))


APPLICATION_OFFSET = next(one.offset for one in PLAIN.manifest.images if one.name == "application")
DEFAULT = default_partitions()
STORAGE = Partition("storage", 1, 0x82, 0x300000, 0x40000)
UNSIGNED_APP = app_image("esp32s3", "sensor", "1.4.0", {}, size=9_000)
P256 = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)


def all_but(label: str) -> list[Partition]:
    return [part for part in (*DEFAULT, STORAGE) if part.name != label]


def built_for(name: str, megabytes: int) -> Sample:
    """The bootloader's header says another size of flash."""
    image = bytearray(PLAIN.files[name])
    image[3] = (megabytes.bit_length() - 1) << 4
    return PLAIN.with_image(name, bytes(image[:-32]) + hashlib.sha256(image[:-32]).digest())


def damaged(name: str) -> Sample:
    """The image has another byte, and the manifest its SHA-256."""
    content = PLAIN.files[name][:200] + b"\x00\x01" + PLAIN.files[name][202:]
    changed = PLAIN.with_entry(name, sha256=hashlib.sha256(content).digest())
    return replace(changed, files={**PLAIN.files, name: content})


REFUSED: dict[str, tuple[Callable[[], Sample], str]] = {
    "chip-unknown": (lambda: manifest(PLAIN, chip="esp8266"), "chip esp8266 is not known"),
    "chip-another": (lambda: manifest(PLAIN, chip="esp32c3"), "bootloader: an image for esp32s3"),
    "flash-no-power-of-two": (lambda: manifest(PLAIN, flash_size=5 << 20), "power of two"),
    "flash-too-small": (lambda: manifest(PLAIN, flash_size=512 << 10), "power of two"),
    "flash-smaller-than-partitions": (lambda: manifest(PLAIN, flash_size=2 << 20), "beyond the flash"),
    "version": (lambda: manifest(PLAIN, version="new"), "the bundle: not a firmware version"),
    "role-twice": (
        lambda: with_another(PLAIN, Role.APPLICATION, 0x340000, UNSIGNED_APP, "second"),
        "two images have the role application",
    ),
    "name-twice": (
        lambda: manifest(
            PLAIN, images=(*PLAIN.manifest.images, replace(PLAIN.manifest.images[-1], offset=0x310000))
        ),
        "in its order",
    ),
    "no-bootloader": (lambda: without(PLAIN, "bootloader"), "no image has the role bootloader"),
    "no-partition-table": (lambda: without(PLAIN, "partition-table"), "role partition-table"),
    "no-manufacturing": (lambda: without(PLAIN, "manufacturing"), "role manufacturing"),
    "no-application": (lambda: without(PLAIN, "application"), "role application"),
    "not-aligned": (lambda: moved(PLAIN, "application", APPLICATION_OFFSET + 0x800), "multiple of 0x1000"),
    "beyond-flash": (lambda: moved(PLAIN, "data", 0x3FF000 + 0x1000), "beyond the flash"),
    "overlap": (lambda: moved(PLAIN, "data", APPLICATION_OFFSET + 0x1000), "lie over each other"),
    "bootloader-elsewhere": (lambda: moved(PLAIN, "bootloader", 0x1000), "belongs at 0x0"),
    "table-elsewhere": (lambda: moved(PLAIN, "partition-table", 0x9000), "code looks for the partition"),
    "table-over-a-partition": (
        lambda: moved(
            PLAIN.with_image("bootloader", bootloader_image("esp32s3", 3, {}, size=4_000, tells=False)),
            "partition-table",
            0x9000,
        ),
        "lies over what stands before it",
    ),
    "bootloader-that-looks-elsewhere": (
        lambda: PLAIN.with_image(
            "bootloader", bootloader_image("esp32s3", 3, {}, size=4_000, table_offset=0x9000)
        ),
        "bootloader: its code looks for the partition table at 0x9000",
    ),
    "bootloader-over-the-table": (
        lambda: PLAIN.with_image("bootloader", bootloader_image("esp32s3", 3, {}, size=0x8000)),
        "bootloader: it ends at 0x9000, and the partition table stands at 0x8000",
    ),
    "manufacturing-elsewhere": (lambda: moved(PLAIN, "manufacturing", 0x30000), "begin with partition"),
    "application-elsewhere": (
        lambda: moved(PLAIN, "application", APPLICATION_OFFSET + 0x10000),
        "begin with partition ota_0",
    ),
    "application-too-large": (
        lambda: with_table(PLAIN, *all_but("ota_0"), Partition("ota_0", 0, 0x10, APPLICATION_OFFSET, 0x1000)),
        "fit into it",
    ),
    "data-in-no-partition": (lambda: moved(PLAIN, "data", 0x3C0000), "not lie within one partition"),
    "data-in-nvs": (lambda: moved(PLAIN, "data", 0x9000), "not for data"),
    "data-in-otadata": (lambda: moved(PLAIN, "data", 0xF000), "not for data"),
    "data-in-an-app": (
        lambda: moved(PLAIN, "data", APPLICATION_OFFSET + 0x100000),
        "not for data",
    ),
    "table-without-otadata": (lambda: with_table(PLAIN, *all_but("otadata")), "no data/ota"),
    "table-without-factory": (lambda: with_table(PLAIN, *all_but("factory")), "no app/factory"),
    "table-without-ota_0": (lambda: with_table(PLAIN, *all_but("ota_0")), "no app/ota_0"),
    "table-beyond-flash": (
        lambda: with_table(PLAIN, *DEFAULT, STORAGE, Partition("more", 1, 0x82, 0x3FF000, 0x2000)),
        "a partition ends beyond",
    ),
    "bootloader-for-smaller-flash": (lambda: built_for("bootloader", 2), "built for a flash of 2 MB"),
    "bootloader-for-larger-flash": (lambda: built_for("bootloader", 8), "built for a flash of 8 MB"),
    "bootloader-for-no-flash": (lambda: built_for("bootloader", 256), "built for a flash of an unknown size"),
    "application-damaged": (lambda: damaged("application"), "application: its checksum is wrong"),
    "table-damaged": (
        lambda: PLAIN.with_image("partition-table", PLAIN.files["partition-table"][:-1] + b"\x00"),
        "partition-table: bytes follow",
    ),
    "application-is-a-bootloader": (
        lambda: PLAIN.with_image("application", bootloader_image("esp32s3", 3, {}, size=4_000)),
        "no application descriptor",
    ),
    "bootloader-is-an-application": (
        lambda: PLAIN.with_image("bootloader", app_image("esp32s3", "x", "3", {}, size=4_000)),
        "not a bootloader",
    ),
    "application-for-another-chip": (
        lambda: PLAIN.with_image("application", app_image("esp32", "sensor", "1.4.0", {}, size=9_000)),
        "application: an image for esp32",
    ),
    "version-not-the-images": (
        lambda: PLAIN.with_entry("application", version="1.5.0"),
        "application: the image says another version",
    ),
    "digest-not-the-images": (
        lambda: PLAIN.with_entry("application", digest=bytes(32)),
        "application: the image has another digest",
    ),
    "no-digest": (lambda: PLAIN.with_entry("application", digest=None), "another digest"),
    "version-of-no-form": (
        lambda: PLAIN.with_image("application", app_image("esp32s3", "sensor", "v1.4-dirty", {}, size=9_000)),
        "application: not a firmware version",
    ),
    "older-than-minimum": (
        lambda: PLAIN.with_image("application", app_image("esp32s3", "sensor", "1.1.9", {}, size=9_000)),
        "older than minimum_versions",
    ),
    "older-bootloader-than-minimum": (
        lambda: manifest(PLAIN, minimum_versions={"boot": "4"}),
        "bootloader: it is older",
    ),
    "minimum-of-nothing": (lambda: manifest(PLAIN, minimum_versions={"modem": "1"}), "reported as modem"),
    "minimum-of-no-form": (lambda: manifest(PLAIN, minimum_versions={"app": "one"}), "minimum_versions: not"),
    "component-twice": (lambda: PLAIN.with_entry("manufacturing", component="app"), "reported as app too"),
    "component-of-data": (lambda: PLAIN.with_entry("data", component="fs"), "data: no firmware reports"),
    "burn-twice": (lambda: manifest(PLAIN, burns=(SEAL_BURN, SEAL_BURN)), "appears twice"),
    "burn-of-a-key": (lambda: manifest(PLAIN, burns=(Burn("BLOCK_KEY0", 1, False),)), "keys are"),
    "burn-of-a-purpose": (lambda: manifest(PLAIN, burns=(Burn("KEY_PURPOSE_0", 4, False),)), "keys are"),
    "burn-at-seal-behind": (
        lambda: manifest(PLAIN, burns=(Burn("WDT_DELAY_SEL", 1, True), SEAL_BURN)),
        "stands after",
    ),
    "burn-that-closes-at-seal": (
        lambda: manifest(PLAIN, burns=(replace(CLOSING_BURN, after_first_boot=False),)),
        "must be the last",
    ),
    "burn-behind-the-closing-one": (
        lambda: manifest(PLAIN, burns=(CLOSING_BURN, Burn("WDT_DELAY_SEL", 1, True))),
        "must be the last",
    ),
    "secure-bootloader-without-key": (lambda: manifest(SECURE, secure_boot=None), "without secure_boot"),
    "key-digest-of-another": (
        lambda: manifest(SECURE, secure_boot=SecureBoot(bytes(32), secure_boot_key())),
        "not the digest of its public key",
    ),
    "key-is-none": (lambda: manifest(SECURE, secure_boot=SecureBoot(bytes(32), "key")), "not a public key"),
    "key-not-for-this-chip": (
        lambda: manifest(SECURE, secure_boot=SecureBoot(signing_key_digest(P256), P256.decode())),
        "RSA 3072 keys alone",
    ),
    "application-not-signed": (
        lambda: SECURE.with_image("application", UNSIGNED_APP),
        "application: it is not signed for secure boot",
    ),
    "bootloader-not-signed": (
        lambda: SECURE.with_image("bootloader", PLAIN.files["bootloader"]),
        "bootloader: it is not signed for secure boot",
    ),
    "secure-bootloader-not-signed": (
        lambda: SECURE.with_image("secure-bootloader", PLAIN.files["bootloader"]),
        "secure-bootloader: it is not signed for secure boot",
    ),
    "manufacturing-not-signed": (
        lambda: SECURE.with_image("manufacturing", PLAIN.files["manufacturing"]),
        "manufacturing: it is not signed for secure boot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_flashed_is_refused_although_it_is_signed(case: str) -> None:
    changed, text = REFUSED[case][0](), REFUSED[case][1]
    with pytest.raises(BundleError, match=text):
        verify(changed)
    with pytest.raises(BundleError, match=text):
        make_bundle(changed.manifest, changed.files)


def test_a_genuine_bootloader_of_esp_idf_is_taken_where_it_looks_for_the_table() -> None:
    genuine = VECTORS / "bootloaders" / "esp32s3-idf-6.1.bin"
    image = bytearray(genuine.read_bytes())
    image[3] = image[3] & 0xF | 2 << 4  # as built for 4 MB
    built = PLAIN.with_image("bootloader", bytes(image[:-32]) + hashlib.sha256(image[:-32]).digest())
    verify(built)
    with pytest.raises(BundleError, match="bootloader: its code looks for the partition table at 0x8000"):
        verify(moved(built, "partition-table", 0xA000))


def test_an_application_signed_with_another_key_is_refused() -> None:
    key = constant_rsa_key(3072, 1).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    changed = SECURE.with_image("application", with_signature_sector(UNSIGNED_APP, pem))
    with pytest.raises(BundleError, match="application: it is signed for secure boot v2 with another key"):
        verify(changed)


def test_a_bootloader_that_says_no_version_is_not_reported() -> None:
    """Bootloaders of older ESP-IDF have no descriptor."""
    old = bytearray(bootloader_image("esp32s3", 3, {}, size=4_000))
    old[32] ^= 0x50  # the descriptor's magic, which the checksum covers
    old[-33] ^= 0x50
    image = bytes(old[:-32]) + hashlib.sha256(old[:-32]).digest()
    unreported = PLAIN.with_image("bootloader", image).with_entry("bootloader", component=None)
    verify(unreported)
    with pytest.raises(BundleError, match="bootloader: it says no version"):
        verify(unreported.with_entry("bootloader", component="boot"))


def test_a_manifest_is_not_read_before_its_signature_was_verified() -> None:
    data = pack_signed(b"[" * 60_000, PLAIN.files, PLAIN.key)
    with pytest.raises(BundleError, match="expected key"):
        verify_bundle(data, OTHER_KEY.public_key())
    with pytest.raises(BundleError, match="not JSON"):
        verify_bundle(data, PLAIN.key.public_key())
