"""Firmware bundles for tests: images as ESP-IDF makes them, a manifest around them, the company's key."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from agent.core.bundle import Image, Manifest, Role, SecureBoot
from agent.core.bundle_checks import FIRMWARE, image_version
from agent.core.bundle_manifest import encode_manifest
from agent.core.bundle_verify import make_bundle, sign_bundle
from agent.core.bundle_zip import pack
from agent.core.esp_image import parse_image, signing_key_digest
from boards.esp32 import images, partitions
from harness.rsa_keys import constant_rsa_key

COMPONENTS = {
    Role.BOOTLOADER: "boot",
    Role.SECURE_BOOTLOADER: "boot",
    Role.MANUFACTURING: "manufacturing",
    Role.APPLICATION: "app",
}
_LABEL = b"birthmark-bundle-v1\x00"


@dataclass(frozen=True, slots=True)
class Sample:
    """A manifest and its images, to be changed and packed."""

    manifest: Manifest
    files: Mapping[str, bytes]
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def with_image(self, name: str, content: bytes) -> Sample:
        """Another file under that name, of which the manifest says the truth."""
        entries = tuple(
            describe(entry.role, entry.offset, content, name) if entry.name == name else entry
            for entry in self.manifest.images
        )
        return replace(
            self, manifest=replace(self.manifest, images=entries), files={**self.files, name: content}
        )

    def with_entry(self, name: str, **changes: object) -> Sample:
        """The manifest says something else of that image."""
        entries = tuple(
            replace(entry, **changes) if entry.name == name else entry  # type: ignore[arg-type]
            for entry in self.manifest.images
        )
        return replace(self, manifest=replace(self.manifest, images=entries))

    def unsigned(self) -> bytes:
        return make_bundle(self.manifest, self.files)

    def signed(self) -> bytes:
        return sign_bundle(self.unsigned(), self.key)

    def signed_unchecked(self) -> bytes:
        """What a company signs that does not look."""
        return pack_signed(encode_manifest(self.manifest), self.files, self.key)


def pack_signed(manifest: bytes, files: Mapping[str, bytes], key: Ed25519PrivateKey) -> bytes:
    """A bundle of any manifest bytes, signed."""
    entries = {"manifest.json": manifest, "manifest.sig": key.sign(_LABEL + manifest)}
    return pack(entries | {f"images/{name}.bin": content for name, content in files.items()})


def describe(role: Role, offset: int, content: bytes, name: str | None = None) -> Image:
    """What a manifest truly says of an image."""
    version, digest, component = None, None, None
    if role in FIRMWARE:
        parsed = parse_image(content)
        version = image_version(parsed, role)
        digest, component = parsed.digest, COMPONENTS[role]
    sha256 = hashlib.sha256(content).digest()
    return Image(name or role.value, role, offset, len(content), sha256, component, version, digest)


def sample(chip: str = "esp32s3", *, version: str = "1.4.0") -> Sample:
    """A bundle without secure boot; its application is of that version."""
    table = (*partitions.default_partitions(), partitions.Partition("storage", 1, 0x82, 0x300000, 0x40000))
    factory = next(part.offset for part in table if part.name == "factory")
    ota_0 = next(part.offset for part in table if part.name == "ota_0")
    firmware = images.app_image(chip, "sensor-manufacturing", "1.0.0", {}, size=6_000)
    application = images.app_image(chip, "sensor", version, {}, size=9_000)
    boot = images.FAMILIES[chip].bootloader_offset
    entries = (
        (Role.BOOTLOADER, boot, images.bootloader_image(chip, 3, {}, size=4_000)),
        (Role.PARTITION_TABLE, 0x8000, partitions.partition_table(table)),
        (Role.MANUFACTURING, factory, firmware),
        (Role.APPLICATION, ota_0, application),
        (Role.DATA, 0x300000, b"a file system" * 100),
    )
    manifest = Manifest(
        product="sensor",
        version="1.4.0",
        chip=chip,
        flash_size=4 * 1024 * 1024,
        images=tuple(describe(*entry) for entry in entries),
        minimum_versions={"app": "1.2.0"},
        secure_boot=None,
        burns=(),
    )
    return Sample(manifest, {role.value: content for role, _, content in entries})


@cache
def secure_boot_key() -> str:
    """An RSA 3072 public key, PEM. What is "signed" with it here has its key and no valid signature."""
    key = constant_rsa_key(3072).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def with_signature_sector(image: bytes, public_key_pem: str) -> bytes:
    """The image with a sector that names the key. Its signature is none: espsecure alone would see that."""
    key = load_pem_public_key(public_key_pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    numbers = key.public_numbers()
    n = numbers.n
    padded = image + b"\xff" * (-len(image) % 4096)
    block = struct.pack("<BBxx", 0xE7, 2) + hashlib.sha256(padded).digest()
    block += n.to_bytes(384, "little") + struct.pack("<I", numbers.e)
    block += (pow(2, 6144, n)).to_bytes(384, "little") + struct.pack("<I", -pow(n, -1, 2**32) % 2**32)
    block += bytes(384)
    block += struct.pack("<I", zlib.crc32(block)) + bytes(16)
    return padded + block.ljust(4096, b"\xff")


def secure_sample(chip: str = "esp32s3") -> Sample:
    """A bundle with secure boot, every firmware naming the key."""
    plain = sample(chip)
    pem = secure_boot_key()
    secure = images.bootloader_image(chip, 4, {}, size=4_000)
    entries = {**plain.files, Role.SECURE_BOOTLOADER.value: secure}
    files = {
        name: with_signature_sector(content, pem) if Role(name) in FIRMWARE else content
        for name, content in entries.items()
    }
    offsets = {entry.name: entry.offset for entry in plain.manifest.images}
    offsets[Role.SECURE_BOOTLOADER.value] = offsets[Role.BOOTLOADER.value]
    described = tuple(describe(Role(name), offsets[name], content) for name, content in files.items())
    secure_boot = SecureBoot(signing_key_digest(pem.encode()), pem)
    return Sample(replace(plain.manifest, images=described, secure_boot=secure_boot), files)
