"""Checks a board's stamp before it is sent: signature, form, and each field against what was issued.

signerd makes the same checks and is the one that counts. The station makes them first because it stands
beside the board and can say precisely what is wrong with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from agent.core import strict_cbor
from agent.core.certificate import CheckedCertificate
from agent.core.log_keys import LogKey
from agent.core.receipt import ReceiptError, UncosignedError, require, verify_receipt
from agent.core.strict_cbor import CborError
from agent.errors import BadAnswer, BoardError, NotCosigned

MAX_STAMP_BYTES = 4_096
MAX_SIGNATURE_BYTES = 512
_LABEL = "birthmark-stamp-v1"
_MAX_COMPONENTS = 16
_COMPONENT = re.compile(r"[A-Za-z0-9._-]{1,32}")
_VERSION_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Expected:
    """What the stamp must say."""

    challenge: bytes
    chip_id: str
    required_locks: tuple[str, ...]
    certificate: CheckedCertificate
    firmware: Mapping[str, tuple[str, bytes]] | None = None  # version and digest by component; None: any


@dataclass(frozen=True, slots=True)
class CheckedStamp:
    """A stamp that agrees with what was issued."""

    stamp: bytes
    signature: bytes
    commitment: (
        bytes | None
    )  # to the board's proof-of-possession code, 32 bytes; None: it says that it has none


def check_stamp(stamp: bytes, signature: bytes, expected: Expected) -> CheckedStamp:
    """Checks the stamp (docs/formats.md, "Stamp") and its signature.

    Raises:
        BoardError: `stamp_malformed`, `stamp_signature`, `stamp_differs` (the detail names the field),
            `firmware_differs` or `stamp_locks_open` (the detail names the locks).
    """
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise BoardError("stamp_malformed", f"its signature is longer than {MAX_SIGNATURE_BYTES} bytes")
    try:
        items = strict_cbor.decode(stamp, max_bytes=MAX_STAMP_BYTES)
    except CborError as error:
        raise BoardError("stamp_malformed", f"the stamp is not deterministic CBOR: {error}") from error
    if not isinstance(items, list) or len(items) != 9 or items[0] != _LABEL:
        raise BoardError("stamp_malformed", f"the stamp is not an array of nine that begins with {_LABEL}")
    _verify_signature(stamp, signature, expected.certificate)
    _, challenge, chip_id, serial, certificate, settings, firmware, locks, commitment = items
    issued = expected.certificate
    for field, found, wanted in (
        ("challenge", challenge, expected.challenge),
        ("chip id", chip_id, expected.chip_id),
        ("serial number", serial, issued.serial_number),
        ("certificate", certificate, issued.certificate_sha256),
        ("settings", settings, issued.settings_sha256),
    ):
        if found != wanted:
            raise BoardError("stamp_differs", f"the board's {field} is not what was issued to it")
    if not _is_firmware(firmware) or not _is_locks(locks) or not _is_commitment(commitment):
        raise BoardError("stamp_malformed", "firmware, locks or commitment are not of their form")
    if expected.firmware is not None:
        require_firmware({name: (item[0], item[1]) for name, item in firmware.items()}, expected.firmware)
    still_open = [lock for lock in expected.required_locks if locks.get(lock) is not True]
    if still_open:
        raise BoardError("stamp_locks_open", f"open: {', '.join(still_open)}")
    return CheckedStamp(stamp, signature, commitment)


def require_firmware(
    said: Mapping[str, tuple[str, bytes]], expected: Mapping[str, tuple[str, bytes]]
) -> None:
    """Raises BoardError `firmware_differs` unless the board says exactly this firmware."""
    wrong = sorted(name for name in said.keys() | expected.keys() if said.get(name) != expected.get(name))
    if wrong:
        raise BoardError(
            "firmware_differs",
            f"the board runs other firmware than the bundle's: {', '.join(wrong)}",
            remedy="Present the board again. If it fails again, put it aside.",
        )


def check_stamp_receipt(
    *, stamp: bytes, certificate_sha256: bytes, index: int, entry: bytes, proof: bytes, log_key: LogKey
) -> None:
    """Checks that the ledger holds this stamp of this certificate.

    Raises:
        BadAnswer: the receipt does not prove it.
        NotCosigned: too few witnesses have cosigned it.
    """
    expected = {
        "type": "stamped",
        "stamp_sha256": hashlib.sha256(stamp).hexdigest(),
        "certificate_sha256": certificate_sha256.hex(),
    }
    try:
        require(entry, expected)
        verify_receipt(proof, entry, index, log_key)
    except UncosignedError as error:
        raise NotCosigned(str(error)) from error
    except ReceiptError as error:
        raise BadAnswer(str(error)) from error


def _verify_signature(stamp: bytes, signature: bytes, issued: CheckedCertificate) -> None:
    key = issued.certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            digest = hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256()
            key.verify(signature, stamp, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, stamp, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise BoardError("stamp_signature", "the certified key is of a type that signs no stamps")
    except InvalidSignature as error:
        raise BoardError("stamp_signature", "the stamp is not signed with the certified key") from error


def _is_firmware(item: object) -> bool:
    return (
        isinstance(item, dict)
        and len(item) <= _MAX_COMPONENTS
        and all(_COMPONENT.fullmatch(name) is not None for name in item)
        and all(_is_component(value) for value in item.values())
    )


def _is_component(item: object) -> bool:
    if not isinstance(item, list) or len(item) != 2:
        return False
    version, digest = item
    return (
        isinstance(version, str)
        and 0 < len(version) <= _VERSION_CHARACTERS
        and isinstance(digest, bytes)
        and len(digest) == 32
    )


def _is_locks(item: object) -> bool:
    return (
        isinstance(item, dict)
        and len(item) <= _MAX_COMPONENTS
        and all(_COMPONENT.fullmatch(name) is not None and type(on) is bool for name, on in item.items())
    )


def _is_commitment(item: object) -> bool:
    return item is None or (isinstance(item, bytes) and len(item) == 32)
