"""Verifies bundles, and makes them: the company's signature, then the manifest, then every image.

    bundle, images = verify_bundle(data, key)

The signature is Ed25519 over `birthmark-bundle-v1`, a zero byte, and the manifest's bytes; the manifest holds
the SHA-256 of every image. `verify_bundle` reads nothing from a manifest before its signature was verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent.core.bundle import Bundle, BundleError, Manifest
from agent.core.bundle_checks import check_contents
from agent.core.bundle_manifest import encode_manifest, parse_manifest
from agent.core.bundle_zip import pack, unpack

_MANIFEST, _SIGNATURE = "manifest.json", "manifest.sig"
_LABEL = b"birthmark-bundle-v1\x00"


@dataclass(frozen=True, slots=True)
class UnverifiedBundle:
    """A bundle in good form that nobody vouches for: to be looked at or signed, never to be flashed."""

    manifest: Manifest
    digest: bytes  # SHA-256 of the manifest's bytes
    images: Mapping[str, bytes]
    signed: bool  # it has a signature; whose is not known


def verify_bundle(data: bytes, key: Ed25519PublicKey) -> tuple[Bundle, Mapping[str, bytes]]:
    """The bundle and its images by name, if the key signed it and all of it is fit to be flashed.

    Raises:
        BundleError: for all other bytes.
    """
    entries = unpack(data)
    # 1. Signed by the company.
    signature = entries.get(_SIGNATURE)
    if signature is None:
        raise BundleError("it is not signed: birthmark-agent bundle sign")
    manifest = entries.get(_MANIFEST, b"")
    try:
        key.verify(signature, _LABEL + manifest)
    except InvalidSignature as error:
        raise BundleError("it is not signed with the expected key, or was altered") from error
    # 2. The manifest, 3. the images.
    read = _read(entries)
    return Bundle(read.manifest, read.digest), read.images


def read_unverified(data: bytes) -> UnverifiedBundle:
    """As `verify_bundle`, but for the signature, which may be missing.

    Raises:
        BundleError: the bytes are in no bundle's form, or not fit to be flashed.
    """
    return _read(unpack(data))


def make_bundle(manifest: Manifest, images: Mapping[str, bytes]) -> bytes:
    """The unsigned bundle.

    Raises:
        BundleError: its contents are not fit to be flashed.
    """
    data = pack({_MANIFEST: encode_manifest(manifest)} | _files(images))
    read_unverified(data)  # what is written is what will be read
    return data


def sign_bundle(data: bytes, key: Ed25519PrivateKey) -> bytes:
    """The bundle, signed; a signature that it had is replaced.

    Raises:
        BundleError: the bytes are in no bundle's form, or not fit to be flashed.
    """
    entries = unpack(data)
    read = _read(entries)
    signature = key.sign(_LABEL + entries[_MANIFEST])
    return pack({_MANIFEST: entries[_MANIFEST], _SIGNATURE: signature} | _files(read.images))


def _files(images: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"images/{name}.bin": content for name, content in images.items()}


def _read(entries: dict[str, bytes]) -> UnverifiedBundle:
    content = entries.get(_MANIFEST)
    if content is None:
        raise BundleError("it has no manifest.json")
    manifest = parse_manifest(content)
    signed = [_SIGNATURE] if _SIGNATURE in entries else []
    if list(entries)[: 1 + len(signed)] != [_MANIFEST, *signed]:
        raise BundleError("manifest.json and manifest.sig do not stand at its beginning")
    images = {
        name.removeprefix("images/").removesuffix(".bin"): entry
        for name, entry in entries.items()
        if name not in {_MANIFEST, _SIGNATURE}
    }
    check_contents(manifest, images)
    return UnverifiedBundle(manifest, hashlib.sha256(content).digest(), images, bool(signed))
