# SPDX-License-Identifier: GPL-2.0-or-later
"""Are images signed for secure boot v2 with the company's key? espsecure's answer.

Runs in the worker process alone, as all that imports esptool (docs/adr/0014).

A chip takes the key out of a signature block and compares its digest with the one in the eFuses; espsecure
takes the key that it is given. Hence both: the block is found by its key's digest, and espsecure verifies
this block, with the others blanked, against the company's key.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import espsecure
from esptool import FatalError

from agent.core.esp_image import SECTOR, ImageError, parse_image

_BLOCK_BYTES = 1_216  # espsecure.SIG_BLOCK_SIZE
_VERSION = "2"  # a text: with the number espsecure verifies nothing and says nothing


class SignatureRefusedError(Exception):
    """An image a chip with this key would not start."""

    def __init__(self, image: str, detail: str) -> None:
        super().__init__(f"{image}: {detail}" if image else detail)
        self.image = image  # empty: it is the key that is wrong
        self.detail = detail


def check(images: Sequence[tuple[str, Path]], public_key_pem: str, key_sha256: bytes) -> None:
    """Verifies that each image is signed with the key, and that the key is the one of the digest.

    Args:
        images: their names and files.
        public_key_pem: RSA 3072 or P-256.
        key_sha256: the digest as eFuses hold it, 32 bytes.

    Raises:
        SignatureRefusedError: one is not; or a file cannot be read.
    """
    try:
        digest = _key_digest(public_key_pem)
    except _ESPSECURE_RAISES as error:
        raise SignatureRefusedError("", f"espsecure does not take the secure boot key: {error}") from error
    if digest != key_sha256:
        raise SignatureRefusedError("", "the secure boot key has another digest than the bundle says")
    for name, path in images:
        _check_image(name, path, public_key_pem, key_sha256)


# What it raises for files that are not as it expects: it checks some things with assert and struct.
_ESPSECURE_RAISES = (FatalError, AssertionError, ValueError, TypeError, struct.error, OSError)


def _key_digest(public_key_pem: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        key, output = Path(folder, "key.pem"), Path(folder, "digest.bin")
        key.write_text(public_key_pem, encoding="ascii")
        with key.open("rb") as file:
            espsecure.digest_sbv2_public_key(file, str(output))
        return output.read_bytes()


def _check_image(name: str, path: Path, public_key_pem: str, key_sha256: bytes) -> None:
    try:
        content = path.read_bytes()
        keys = parse_image(content).signing_keys
    except OSError as error:
        raise SignatureRefusedError(name, f"cannot be read: {error.strerror}") from error
    except ImageError as error:
        raise SignatureRefusedError(name, str(error)) from error
    if not keys:
        raise SignatureRefusedError(name, "is not signed for secure boot v2")
    if key_sha256 not in keys:
        raise SignatureRefusedError(name, "is signed for secure boot v2 with another key")
    alone = _only_block(content, keys.index(key_sha256))
    key = io.BytesIO(public_key_pem.encode("ascii"))
    try:
        espsecure.verify_signature(_VERSION, False, None, key, io.BytesIO(alone))  # noqa: FBT003 (hsm)
    except _ESPSECURE_RAISES as error:
        raise SignatureRefusedError(name, f"its secure boot v2 signature is wrong: {error}") from error


def _only_block(content: bytes, number: int) -> bytes:
    """The image with that block in the signature sector, at its place, and no other."""
    begin = len(content) - SECTOR + number * _BLOCK_BYTES
    block = content[begin : begin + _BLOCK_BYTES]
    before = b"\xff" * (number * _BLOCK_BYTES)
    return content[:-SECTOR] + (before + block).ljust(SECTOR, b"\xff")
