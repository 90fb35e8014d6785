"""The stamp: what the board says of itself at the end (docs/formats.md, "Stamp")."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from signerd.core import strict_cbor
from signerd.core.evidence.claims import Claims, claims_from_items
from signerd.core.key_policy import PublicKey
from signerd.core.strict_cbor import CborError

MAX_STAMP_BYTES = 4096
MAX_SIGNATURE_BYTES = 512
_LABEL = "birthmark-stamp-v1"
_DIGEST_BYTES = 32


class StampError(ValueError):
    """The stamp is not one, or does not agree with what was issued."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp, read. Digests are SHA-256, 32 bytes."""

    challenge: bytes
    chip_id: str
    serial_number: str
    certificate_sha256: bytes
    settings_sha256: bytes
    claims: Claims
    pop_commitment: bytes | None


@dataclass(frozen=True, slots=True)
class IssuedBoard:
    """What was issued, and what the stamp must therefore say."""

    challenge: bytes
    chip_id: str
    serial_number: str
    certificate_der: bytes
    settings: bytes


def parse_stamp(data: bytes) -> Stamp:
    """Reads a stamp.

    Raises:
        StampError: not a stamp.
    """
    try:
        item: Any = strict_cbor.decode(data, max_bytes=MAX_STAMP_BYTES)
        match item:
            case [
                str(label), bytes(challenge), str(chip_id), str(serial), bytes(certificate), bytes(settings),
                firmware, security_state, pop,
            ] if label == _LABEL:  # fmt: skip
                claims = claims_from_items(firmware, security_state)
            case _:
                raise StampError("not an array of the stamp's form")
    except CborError as error:
        raise StampError(str(error)) from error
    if pop is not None and type(pop) is not bytes:
        raise StampError("the commitment is neither bytes nor null")
    digests = [challenge, certificate, settings] + ([pop] if pop is not None else [])
    if any(len(digest) != _DIGEST_BYTES for digest in digests):
        raise StampError("a challenge or digest is not of 32 bytes")
    return Stamp(challenge, chip_id, serial, certificate, settings, claims, pop)


def check_signature(key: PublicKey, stamp: bytes, signature: bytes) -> None:
    """Checks the signature with the certified key.

    Raises:
        StampError: it is not this key's over these bytes.
    """
    if not 0 < len(signature) <= MAX_SIGNATURE_BYTES:
        raise StampError("the signature's size is out of bounds")
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            digest = hashes.SHA384() if key.key_size == 384 else hashes.SHA256()
            key.verify(signature, stamp, ec.ECDSA(digest))
        else:
            key.verify(signature, stamp, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise StampError("the signature is not the certified key's") from error


def check_agrees(stamp: Stamp, issued: IssuedBoard) -> None:
    """Checks each field against what was issued.

    Raises:
        StampError: the first field that differs.
    """
    expected = {
        "challenge": (stamp.challenge, issued.challenge),
        "chip id": (stamp.chip_id, issued.chip_id),
        "serial number": (stamp.serial_number, issued.serial_number),
        "certificate": (stamp.certificate_sha256, hashlib.sha256(issued.certificate_der).digest()),
        "settings": (stamp.settings_sha256, hashlib.sha256(issued.settings).digest()),
    }
    for field, (said, known) in expected.items():
        if said != known:
            raise StampError(f"the {field} is not the one that was issued")
