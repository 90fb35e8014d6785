"""Images of the ESP32 family, read as the chip's loaders read them.

`parse_image` takes any bytes and answers with an image whose checksum and appended SHA-256 are right, or
raises `ImageError`. That SHA-256 is what `esp_partition_get_sha256` tells firmware, and firmware the station.

    header 24 bytes | (address, length, data) of each segment | padding, checksum: to 16 bytes | SHA-256 |
    FF to 4 KiB | signature sector

Of a signature sector the keys are told, and the signatures are not verified: espsecure does that, in a
process of its own (docs/adr/0014).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from functools import reduce
from operator import xor

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

# The structures of ESP-IDF: esp_image_header_t and esp_image_segment_header_t (esp_app_format.h),
# esp_app_desc_t (esp_app_desc.h), esp_bootloader_desc_t (esp_bootloader_desc.h), all little-endian.
_HEADER = struct.Struct("<BBBBI B3xHBHH4xB")
_SEGMENT = struct.Struct("<II")
_APP = struct.Struct("<II8x32s32s16s16s32s32s")
_APP_BYTES = 256  # with its reserved tail
_BOOTLOADER = struct.Struct("<B3xI32s24s16x")
_MAGIC = 0xE9
_APP_MAGIC = 0xABCD5432
_BOOTLOADER_MAGIC = 0x50
_MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS
_MAX_FLASH_SIZE = 7  # ESP_IMAGE_FLASH_SIZE_128MB
_CHECKSUM_SEED = 0xEF
_DIGEST_BYTES = 32
SECTOR = 0x1000  # bytes: what flash erases at once, and where a signature sector begins

# Secure boot v2: up to three blocks in the signature sector, each with a CRC-32 over its first 1,196 bytes.
_BLOCK_BYTES, _BLOCK_CRC_AT, _MAX_BLOCKS = 1_216, 1_196, 3
_BLOCK_MAGIC = 0xE7
_RSA_BLOCK, _ECDSA_BLOCK = 2, 3
_RSA_KEY, _ECDSA_KEY = slice(36, 812), slice(36, 101)  # the bytes whose digest goes into the eFuses
_ECDSA_SHA384 = 1
_ECDSA_KEY_SHA384 = slice(52, 149)
_CURVE_P256 = 2


class ImageError(ValueError):
    """The bytes are no image that this family starts, or no key of secure boot v2."""


@dataclass(frozen=True, slots=True)
class AppDescriptor:
    """esp_app_desc_t."""

    version: str
    project: str


@dataclass(frozen=True, slots=True)
class EspImage:
    """An image whose checksum and appended digest are right."""

    chip_id: int
    minimum_revision: int  # major × 100 + minor
    maximum_revision: int
    flash_size: int | None  # bytes, as a bootloader believes; None: a size that is not known
    digest: bytes  # SHA-256 that is appended to it, 32 bytes
    app: AppDescriptor | None
    bootloader_version: int | None  # of esp_bootloader_desc_t
    signing_keys: tuple[bytes, ...]  # digests of the keys in its signature blocks, as eFuses hold them


def parse_image(data: bytes) -> EspImage:
    """Reads an image with nothing behind it but FF and a signature sector.

    Raises:
        ImageError: for all other bytes; the text says what is wrong.
    """
    if len(data) < _HEADER.size or data[0] != _MAGIC:
        raise ImageError("no ESP image: it does not begin with E9")
    header = _HEADER.unpack_from(data)
    segments, chip_id, minimum, maximum, appended = header[1], header[6], header[8], header[9], header[10]
    flash_size = header[3] >> 4  # esp_image_flash_size_t: powers of two from 1 MB to 128 MB
    if not 0 < segments <= _MAX_SEGMENTS:
        raise ImageError(f"{segments} segments, allowed are 1 to {_MAX_SEGMENTS}")
    if appended != 1:
        raise ImageError("no SHA-256 is appended to it, and firmware reports that one")
    end, first_bytes, checksum = _segments(data, segments)
    end = (end + 1 + 15) & ~15  # the checksum is the last byte of a block of 16
    if len(data) < end + _DIGEST_BYTES:
        raise ImageError("it ends before its digest")
    if data[end - 1] != checksum:
        raise ImageError("its checksum is wrong")
    digest = data[end : end + _DIGEST_BYTES]
    if hashlib.sha256(memoryview(data)[:end]).digest() != digest:
        raise ImageError("its appended SHA-256 is wrong")
    return EspImage(
        chip_id,
        minimum,
        maximum,
        1 << (20 + flash_size) if flash_size <= _MAX_FLASH_SIZE else None,
        digest,
        _app(data, first_bytes),
        _bootloader(data, first_bytes),
        _signing_keys(data, end + _DIGEST_BYTES),
    )


def _segments(data: bytes, count: int) -> tuple[int, int, int]:
    """Where the last segment ends, how long the first one is, and the checksum of all of them."""
    position, first_bytes, checksum = _HEADER.size, 0, _CHECKSUM_SEED
    for number in range(count):
        if len(data) < position + _SEGMENT.size:
            raise ImageError(f"it ends before segment {number}")
        _, length = _SEGMENT.unpack_from(data, position)
        position += _SEGMENT.size
        if length % 4 or length > len(data) - position:
            raise ImageError(f"segment {number} is of {length} bytes: not of whole words, or beyond the end")
        checksum ^= _xor(data[position : position + length])
        first_bytes = first_bytes if number else length
        position += length
    return position, first_bytes, checksum


def _xor(data: bytes) -> int:
    """All bytes XORed, by halving a large integer: a loop over 16 MiB takes a second, this 65 ms."""
    width = 1 << max(len(data) - 1, 0).bit_length()
    value = int.from_bytes(data, "little")
    while width > 8:
        width //= 2
        value = (value >> (8 * width)) ^ (value & ((1 << (8 * width)) - 1))
    return reduce(xor, value.to_bytes(8, "little"))


# Both descriptors stand at the beginning of the first segment: esp_ota_get_partition_description and
# esp_ota_get_bootloader_description read them there.
_DESCRIPTOR = _HEADER.size + _SEGMENT.size


def _app(data: bytes, first_bytes: int) -> AppDescriptor | None:
    if first_bytes < _APP_BYTES:
        return None
    magic, _, version, project, *_ = _APP.unpack_from(data, _DESCRIPTOR)
    if magic != _APP_MAGIC:
        return None
    return AppDescriptor(_text(version, "version"), _text(project, "project name"))


def _bootloader(data: bytes, first_bytes: int) -> int | None:
    if first_bytes < _BOOTLOADER.size:
        return None
    magic, version, *_ = _BOOTLOADER.unpack_from(data, _DESCRIPTOR)
    return int(version) if magic == _BOOTLOADER_MAGIC else None


def _text(field: bytes, what: str) -> str:
    text, _, _ = field.partition(b"\0")
    if not text.isascii() or not text.decode("ascii").isprintable():
        raise ImageError(f"the {what} in its descriptor is not printable ASCII")
    return text.decode("ascii")


def _signing_keys(data: bytes, end: int) -> tuple[bytes, ...]:
    """Keys of the signature sector; the bootloader looks for it at the next 4 KiB after the digest."""
    sector = -(-end // SECTOR) * SECTOR
    filling, tail = data[end:sector], data[sector:]
    if filling.strip(b"\xff"):
        raise ImageError("bytes follow its digest that are neither FF nor a signature sector")
    if not tail.strip(b"\xff"):
        return ()
    if tail[0] != _BLOCK_MAGIC or len(tail) != SECTOR:
        raise ImageError("what follows it is no signature sector of 4,096 bytes at its end")
    keys = []
    for number in range(_MAX_BLOCKS):
        block = tail[number * _BLOCK_BYTES : (number + 1) * _BLOCK_BYTES]
        if not block.strip(b"\xff"):
            break
        keys.append(_signing_key(block))
    return tuple(keys)


def _signing_key(block: bytes) -> bytes:
    magic, version, scheme = block[0], block[1], block[2]
    (crc,) = struct.unpack_from("<I", block, _BLOCK_CRC_AT)
    if magic != _BLOCK_MAGIC or zlib.crc32(block[:_BLOCK_CRC_AT]) != crc:
        raise ImageError("a block of its signature sector is damaged")
    if version == _RSA_BLOCK:
        key = block[_RSA_KEY]
    elif version == _ECDSA_BLOCK:
        key = block[_ECDSA_KEY_SHA384 if scheme == _ECDSA_SHA384 else _ECDSA_KEY]
    else:
        raise ImageError(f"a block of its signature sector is of version {version}, known are 2 and 3")
    return hashlib.sha256(key).digest()


def signing_key_digest(public_key_pem: bytes) -> bytes:
    """The digest that eFuses hold of a secure boot v2 key: over its form in a signature block.

    Raises:
        ImageError: not a PEM public key, or neither RSA 3072 nor P-256.
    """
    try:
        key = load_pem_public_key(public_key_pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ImageError("the secure boot key is not a public key in PEM") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == 3_072:
        numbers = key.public_numbers()
        n, word = numbers.n, 1 << 32
        if n % 2 == 0 or numbers.e >= word:
            raise ImageError("the secure boot key is no RSA key that a chip could use")
        # What the chip's RSA unit needs for Montgomery multiplication: R² mod n, and −n⁻¹ mod 2³².
        packed = n.to_bytes(384, "little") + struct.pack("<I", numbers.e)
        packed += ((1 << 6_144) % n).to_bytes(384, "little") + struct.pack("<I", -pow(n, -1, word) % word)
        return hashlib.sha256(packed).digest()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        point = key.public_numbers()
        coordinates = point.x.to_bytes(32, "little") + point.y.to_bytes(32, "little")
        return hashlib.sha256(bytes([_CURVE_P256]) + coordinates).digest()
    raise ImageError("the secure boot key is neither RSA 3072 nor P-256")


def is_rsa(public_key_pem: bytes) -> bool:
    """True for an RSA key. Raises as `signing_key_digest` does for what is none of its keys."""
    signing_key_digest(public_key_pem)
    return isinstance(load_pem_public_key(public_key_pem), rsa.RSAPublicKey)
