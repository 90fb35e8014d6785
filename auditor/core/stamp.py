"""Stamps: strict form, signature, and every field against what was issued (docs/formats.md, "Stamp")."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from auditor.core import cbor
from auditor.core.claims import Claims, read_claims
from auditor.core.codes import Code
from auditor.errors import CheckFailed, Malformed

MAX_STAMP = 4_096  # bytes

BoardKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp, read."""

    challenge: bytes
    chip_id: str
    serial_number: str
    certificate_sha256: bytes
    settings_sha256: bytes
    claims: Claims


def parse_stamp(data: bytes) -> Stamp:
    """Reads a stamp. Raises Malformed."""
    match cbor.decode(data, maximum=MAX_STAMP):
        case [
            "birthmark-stamp-v1",
            bytes(challenge), str(chip), str(serial), bytes(certificate), bytes(settings),
            firmware, locks, pop,
        ]:  # fmt: skip
            digests = [challenge, certificate, settings, *([] if pop is None else [pop])]
        case _:
            raise Malformed("not a stamp's array of nine items")
    if any(not isinstance(item, bytes) or len(item) != 32 for item in digests):
        raise Malformed("a digest of the stamp is not 32 bytes")
    return Stamp(challenge, chip, serial, certificate, settings, read_claims(firmware, locks))


def check_stamp(
    data: bytes,
    signature: bytes,
    *,
    key: BoardKey,
    chip_id: str,
    serial_number: str,
    certificate: bytes,
    settings: bytes,
) -> Stamp:
    """Verifies a stamp against the certified key and what was issued (certificate DER, settings CBOR).

    The challenge is that of the session in which the certificate was handed out, which may be a later one
    than the issuing session; only signerd knows it, so it is not compared.

    Raises:
        CheckFailed: STAMP_FORM, STAMP_SIGNATURE, STAMP_DIFFERS.
    """
    try:
        stamp = parse_stamp(data)
    except Malformed as error:
        raise CheckFailed(Code.STAMP_FORM, str(error)) from error
    if not _is_signed(key, data, signature):
        raise CheckFailed(Code.STAMP_SIGNATURE, "the stamp's signature is not the certified key's")
    for what, found, expected in (
        ("chip id", stamp.chip_id, chip_id),
        ("serial number", stamp.serial_number, serial_number),
        ("certificate digest", stamp.certificate_sha256.hex(), sha256(certificate).hexdigest()),
        ("settings digest", stamp.settings_sha256.hex(), sha256(settings).hexdigest()),
    ):
        if found != expected:
            raise CheckFailed(Code.STAMP_DIFFERS, f"{what} in the stamp", expected=expected, found=found)
    return stamp


def _is_signed(key: BoardKey, data: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            digest = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
            key.verify(signature, data, ec.ECDSA(digest))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True
