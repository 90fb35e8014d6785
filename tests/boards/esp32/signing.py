"""Secure boot v2: signing by espsecure, and the check that ROM and bootloader make of it.

signed = SigningKey.make(folder).sign(app_image(…))
verify_signature(signed, trusted=[key_digest])
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Collection
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from boards.esp32.images import parse_image
from boards.esp32.partitions import SECTOR

# ets_secure_boot_signature_t: magic, version, image digest, n, e, R^-1, M', signature, CRC, padding
_BLOCK = struct.Struct("<BBH32s384sI384sI384sI16s")
_KEY = slice(36, 812)  # n, e, R^-1, M': what the digest in the eFuses is of
_MAGIC, _VERSION = 0xE7, 2
_BLOCKS = 3  # a signature sector holds up to so many
SIGNATURE_BYTES = 4096  # a sector


class SignatureError(Exception):
    """No signature block that counts; the message says why."""


def signature_blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The well-formed blocks behind the image that `data` begins with: (digest of the key, block).

    Raises:
        ImageError: no image.
    """
    start = -(-parse_image(data).length // SECTOR) * SECTOR
    blocks = []
    for number in range(_BLOCKS):
        block = data[start + number * _BLOCK.size : start + (number + 1) * _BLOCK.size]
        if len(block) < _BLOCK.size or block[0] != _MAGIC or block[1] != _VERSION:
            continue
        if zlib.crc32(block[:1196]) != _BLOCK.unpack(block)[9]:
            continue
        blocks.append((hashlib.sha256(block[_KEY]).digest(), block))
    return blocks


def verify_signature(data: bytes, trusted: Collection[bytes] | None) -> bytes:
    """Checks that a key of `trusted` signed the image that `data` begins with; returns that key's digest.

    Args:
        data: from the image's first byte to the end of its signature sector, or beyond.
        trusted: SHA-256 of keys, as they stand in the eFuses, 32 bytes each; None: any key.

    Raises:
        ImageError: no image.
        SignatureError: no such signature, or not of this image; the text is the ROM's.
    """
    start = -(-parse_image(data).length // SECTOR) * SECTOR
    blocks = signature_blocks(data)
    if not blocks:
        found = data[start] if len(data) > start else 0xFF
        raise SignatureError(
            f"No signature block magic byte found at signature sector (found 0x{found:x} not 0xe7). "
            "Image not V2 signed?"
        )
    digest = hashlib.sha256(data[:start]).digest()
    trustworthy = [(key, block) for key, block in blocks if trusted is None or key in trusted]
    for key, block in trustworthy:
        if _signs(block, digest):
            return key
    if trustworthy:
        raise SignatureError("Sig block 0 invalid: Image digest does not match")
    raise SignatureError("Signature block(0) key digest doesn't match any key digest in eFuse")


def _signs(block: bytes, digest: bytes) -> bool:
    _, _, _, said, modulus, exponent, _, _, signature, _, _ = _BLOCK.unpack(block)
    if said != digest:
        return False
    try:
        numbers = rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "little"))
        numbers.public_key().verify(
            signature[::-1],
            digest,
            padding.PSS(padding.MGF1(hashes.SHA256()), 32),
            utils.Prehashed(hashes.SHA256()),
        )
    except (InvalidSignature, ValueError):
        return False
    return True


class SigningKey:
    """A secure boot v2 key, RSA-3072. Making one takes about a second: share it within a test session."""

    def __init__(self, path: Path) -> None:
        self.path = path  # PEM
        self._signed: dict[bytes, bytes] = {}

    @classmethod
    def make(cls, folder: Path, name: str = "secure-boot") -> SigningKey:
        """Makes a key and keeps it as `<folder>/<name>.pem`."""
        key = rsa.generate_private_key(65537, 3072)
        path = folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return cls(path)

    @property
    def digest(self) -> bytes:
        """As it stands in the eFuses, 32 bytes."""
        key = serialization.load_pem_private_key(self.path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("not an RSA key")
        numbers = key.public_key().public_numbers()
        r_inverse = (1 << 3072 * 2) % numbers.n
        m_prime = -pow(numbers.n, -1, 1 << 32) % (1 << 32)
        return hashlib.sha256(
            numbers.n.to_bytes(384, "little")
            + struct.pack("<I", numbers.e)
            + r_inverse.to_bytes(384, "little")
            + struct.pack("<I", m_prime)
        ).digest()

    @property
    def public_pem(self) -> str:
        key = serialization.load_pem_private_key(self.path.read_bytes(), None)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def sign(self, image: bytes) -> bytes:
        """The image, padded to whole sectors, with its signature sector: `espsecure sign-data --version 2`.

        Raises:
            RuntimeError: espsecure refused.
        """
        name = hashlib.sha256(image).digest()
        if name not in self._signed:
            self._signed[name] = self._run_espsecure(image)
        return self._signed[name]

    def _run_espsecure(self, image: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            plain, signed = Path(folder, "image.bin"), Path(folder, "signed.bin")
            plain.write_bytes(image)
            keyfile = str(self.path.resolve())
            command = [
                "sign-data",
                "--version",
                "2",
                "--keyfile",
                keyfile,
                "--output",
                str(signed),
                str(plain),
            ]
            done = subprocess.run(
                [sys.executable, "-m", "espsecure", *command], cwd=folder, capture_output=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"espsecure sign-data: {done.stdout.decode()}{done.stderr.decode()}")
            return signed.read_bytes()
