"""Images: genuine ones are read as they were made; every byte that is wrong is found."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.esp_image import ImageError, is_rsa, parse_image, signing_key_digest
from boards.esp32.images import FAMILIES, app_image, bootloader_image
from harness.bundle_samples import secure_boot_key, with_signature_sector

APP = app_image("esp32s3", "sensor", "1.4.0-rc.1", {}, size=6_000)
CHECKSUM_AT = len(APP) - 33


def with_digest(image: bytes) -> bytes:
    """The image with its last 32 bytes made right again."""
    return image[:-32] + hashlib.sha256(image[:-32]).digest()


def changed(data: bytes, position: int, value: bytes) -> bytes:
    return data[:position] + value + data[position + len(value) :]


@pytest.mark.parametrize("chip", FAMILIES)
def test_an_application_says_who_it_is(chip: str) -> None:
    data = app_image(chip, "sensor", "1.4.0", {}, size=6_000)
    image = parse_image(data)
    assert image.chip_id == FAMILIES[chip].chip_id
    assert image.app is not None
    assert (image.app.project, image.app.version) == ("sensor", "1.4.0")
    assert image.digest == data[-32:]
    assert (image.bootloader_version, image.signing_keys) == (None, ())
    assert (image.minimum_revision, image.maximum_revision) == (0, 0xFFFF)


@pytest.mark.parametrize(("size", "expected"), [(0x00, 1 << 20), (0x70, 128 << 20), (0x80, None)])
def test_an_image_says_for_which_flash_it_was_built(size: int, expected: int | None) -> None:
    data = with_digest(changed(APP, 3, bytes([size])))
    assert parse_image(data).flash_size == expected


@pytest.mark.parametrize("chip", FAMILIES)
def test_a_bootloader_says_its_version(chip: str) -> None:
    image = parse_image(bootloader_image(chip, 7, {}, size=4_000))
    assert (image.bootloader_version, image.app) == (7, None)


def test_a_signed_image_names_the_key() -> None:
    signed = with_signature_sector(APP, secure_boot_key())
    image = parse_image(signed)
    assert image.signing_keys == (signing_key_digest(secure_boot_key().encode()),)
    assert image.digest == APP[-32:]


def test_ff_may_follow_an_image() -> None:
    assert parse_image(APP + b"\xff" * 10_000) == parse_image(APP)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"", "does not begin", id="nothing"),
        pytest.param(APP[:23], "does not begin", id="half-a-header"),
        pytest.param(APP[:28], "ends before segment 0", id="half-a-segments-header"),
        pytest.param(changed(APP, 0, b"\xea"), "does not begin", id="magic"),
        pytest.param(changed(APP, 1, b"\x00"), "0 segments", id="no-segment"),
        pytest.param(changed(APP, 1, b"\x11"), "17 segments", id="too-many-segments"),
        pytest.param(changed(APP, 1, b"\x03"), "segment 2", id="a-segment-more"),
        pytest.param(changed(APP, 1, b"\x01"), "checksum|ends before", id="a-segment-fewer"),
        pytest.param(changed(APP, 23, b"\x00"), "no SHA-256", id="no-digest"),
        pytest.param(changed(APP, 28, b"\x01"), "segment 0", id="length-of-no-words"),
        pytest.param(changed(APP, 30, b"\xff\xff"), "segment 0", id="length-beyond-the-end"),
        pytest.param(with_digest(changed(APP, CHECKSUM_AT, b"\x00\x00")), "checksum", id="checksum"),
        pytest.param(changed(APP, 100, b"\xaa"), "checksum", id="a-byte-of-code"),
        pytest.param(changed(APP, 10, b"\xaa"), "appended SHA-256", id="a-byte-of-the-header"),
        pytest.param(APP[:-1] + bytes([APP[-1] ^ 1]), "appended SHA-256", id="a-byte-of-the-digest"),
        pytest.param(APP[:-1], "ends before its digest", id="cut-off"),
        pytest.param(APP + b"\x00", "neither FF", id="a-byte-behind"),
        pytest.param(APP + b"\xff" * 10_000 + b"\xe7", "signature sector", id="a-sector-elsewhere"),
    ],
)
def test_wrong_images_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        parse_image(data)


@pytest.mark.parametrize(
    ("position", "value", "text"),
    [
        pytest.param(0, b"\xe8", "signature sector", id="magic"),
        pytest.param(1, b"\x04", "damaged", id="version"),
        pytest.param(40, b"\x00\x00", "damaged", id="key"),
        pytest.param(1_216, b"\xe7", "damaged", id="a-second-block"),
    ],
)
def test_wrong_signature_sectors_are_refused(position: int, value: bytes, text: str) -> None:
    signed = with_signature_sector(APP, secure_boot_key())
    with pytest.raises(ImageError, match=text):
        parse_image(changed(signed, len(signed) - 4_096 + position, value))


def test_a_signature_block_of_another_version_is_refused() -> None:
    signed = with_signature_sector(APP, secure_boot_key())
    block = len(signed) - 4_096
    newer = changed(signed, block + 1, b"\x04")
    crc = zlib.crc32(newer[block : block + 1_196]).to_bytes(4, "little")
    with pytest.raises(ImageError, match="of version 4"):
        parse_image(changed(newer, block + 1_196, crc))


def test_a_signature_sector_that_ends_early_is_refused() -> None:
    with pytest.raises(ImageError, match="signature sector"):
        parse_image(with_signature_sector(APP, secure_boot_key())[:-1])


def test_a_version_that_is_no_text_is_refused() -> None:
    position = APP.index(b"1.4.0-rc.1")
    altered = bytearray(changed(APP, position, b"\x80"))
    altered[CHECKSUM_AT] ^= 0x80 ^ ord("1")
    with pytest.raises(ImageError, match="printable"):
        parse_image(with_digest(bytes(altered)))


def pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [
        pytest.param((1 << 3071) + 2, 65537, id="even-modulus"),
        pytest.param((1 << 3071) + 1, (1 << 32) + 1, id="exponent-beyond-32-bits"),
    ],
)
def test_rsa_keys_that_a_chip_could_not_use_are_refused(modulus: int, exponent: int) -> None:
    assert signing_key_digest(pem(rsa.RSAPublicNumbers(65537, (1 << 3071) + 1).public_key()))
    with pytest.raises(ImageError, match="no RSA key that a chip could use"):
        signing_key_digest(pem(rsa.RSAPublicNumbers(exponent, modulus).public_key()))


def test_keys_of_secure_boot_are_told_apart() -> None:
    assert is_rsa(secure_boot_key().encode())
    assert not is_rsa(pem(ec.generate_private_key(ec.SECP256R1()).public_key()))


@pytest.mark.parametrize("kind", ["rsa2048", "p384", "ed25519", "text"])
def test_other_keys_are_refused(kind: str) -> None:
    keys = {
        "rsa2048": pem(rsa.generate_private_key(65537, 2048).public_key()),
        "p384": pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
        "ed25519": pem(ed25519.Ed25519PrivateKey.generate().public_key()),
        "text": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    }
    with pytest.raises(ImageError, match="secure boot key"):
        signing_key_digest(keys[kind])


@given(st.binary(max_size=200))
def test_any_bytes_are_an_image_or_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_image(data)


SIGNED = with_signature_sector(APP, secure_boot_key())


@settings(max_examples=300)
@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_byte_of_a_signed_image_can_be_changed(position: int, difference: int) -> None:
    """A signature's bytes are under the block's CRC, and those behind the blocks are not looked at."""
    altered = changed(SIGNED, position, bytes([SIGNED[position] ^ difference]))
    if position < len(SIGNED) - 4_096 + 1_200:
        with pytest.raises(ImageError):
            parse_image(altered)
    else:
        try:
            assert parse_image(altered).digest == APP[-32:]
        except ImageError:
            assert position < len(SIGNED) - 4_096 + 3 * 1_216
