"""What a station reads of a firmware bundle, each layer for itself: most mutations stop at the one before."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.core.bootloader_code import table_offsets
from agent.core.bundle import BundleError
from agent.core.bundle_build import build_bundle, parse_description
from agent.core.bundle_manifest import encode_manifest, parse_manifest
from agent.core.bundle_verify import read_unverified, verify_bundle
from agent.core.bundle_zip import pack, unpack
from agent.core.esp_image import ImageError, parse_image, signing_key_digest
from agent.core.partition_table import PartitionTableError, parse_partition_table
from harness.bundle_samples import Sample, pack_signed, sample, secure_boot_key, secure_sample

Runner = Callable[[bytes], None]
Seeds = Callable[[], list[bytes]]
_KEY = Ed25519PrivateKey.generate()
_DESCRIPTION = b"""
product = "sensor"
version = "1.4.0"
chip = "esp32c3"
flash_size = "4MB"
""" + b"".join(
    b'[[image]]\nrole = "%s"\nfile = "%s.bin"\n' % (role, role)
    for role in (b"bootloader", b"partition-table", b"manufacturing", b"application")
)


@cache
def _samples() -> tuple[Sample, ...]:
    return sample("esp32c3"), secure_sample("esp32")


def _answers(parse: Callable[[bytes], object], *errors: type[Exception]) -> Runner:
    def run(data: bytes) -> None:
        try:
            parse(data)
        except errors:
            return

    return run


def _verify(data: bytes) -> None:
    """Whatever the file, it is what its maker would write again."""
    try:
        entries = unpack(data)
    except BundleError:
        return
    if pack(entries) != data:
        raise AssertionError("two files of one content")
    try:
        read_unverified(data)
    except BundleError:
        return


def _signed_manifest(data: bytes) -> None:
    """A manifest that the company signed, whatever is in it, over genuine images."""
    for one in _samples():
        try:
            verify_bundle(pack_signed(data, one.files, _KEY), _KEY.public_key())
        except BundleError:
            continue


def _image_in_a_bundle(name: str) -> Runner:
    """An image of which the manifest says the truth, wherever it can be read."""

    def run(data: bytes) -> None:
        one = _samples()[0]
        try:
            parse_image(data)
        except ImageError:
            return
        changed = one.with_image(name, data)
        try:
            verify_bundle(changed.signed_unchecked(), one.key.public_key())
        except BundleError:
            return

    return run


def _build(data: bytes) -> None:
    """What a build left in place of a bootloader, before anything is known of it."""
    one = _samples()[0]
    try:
        build_bundle(parse_description(_DESCRIPTION), {**one.files, "bootloader": data}, None)
    except BundleError:
        return


def _bootloaders() -> list[bytes]:
    """Genuine ones, of both instruction sets."""
    folder = Path(__file__).parents[1] / "vectors" / "bootloaders"
    return [(folder / name).read_bytes() for name in ("esp32c3-idf-6.1.bin", "esp32s3-idf-5.1.bin")]


def _table_in_a_bundle(data: bytes) -> None:
    one = _samples()[0]
    changed = one.with_image("partition-table", data)
    try:
        verify_bundle(changed.signed_unchecked(), one.key.public_key())
    except BundleError:
        return


def _files(name: str) -> Seeds:
    return lambda: [one.files[name] for one in _samples()]


TARGETS: dict[str, tuple[Runner, Seeds]] = {
    "bundle": (_verify, lambda: [one.signed() for one in _samples()]),
    "bundle-manifest": (
        _answers(parse_manifest, BundleError),
        lambda: [encode_manifest(one.manifest) for one in _samples()],
    ),
    "bundle-contents": (
        _signed_manifest,
        lambda: [encode_manifest(one.manifest) for one in _samples()],
    ),
    "bundle-toml": (
        _answers(parse_description, BundleError),
        lambda: [b'product = "sensor"\n[[image]]\nrole = "application"\nfile = "app.bin"\n'],
    ),
    "bundle-build": (_build, _files("bootloader")),
    "esp-image": (_image_in_a_bundle("application"), _files("application")),
    "esp-bootloader": (_image_in_a_bundle("bootloader"), _files("bootloader")),
    "bootloader-code": (_answers(table_offsets), _bootloaders),
    "secure-boot-key": (
        _answers(signing_key_digest, ImageError),
        lambda: [secure_boot_key().encode()],
    ),
    "partition-table": (_answers(parse_partition_table, PartitionTableError), _files("partition-table")),
    "partition-table-in-bundle": (_table_in_a_bundle, _files("partition-table")),
}
