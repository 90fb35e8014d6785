"""Attestation keys that no vendor certifies, one chip a line of JSON (docs/formats.md, "Identity keys").

Guarantees that a `ChipIdentity` that passed `check_identity` has a key of a type and quality that its method
takes, in its one encoding, and a key id of the method's form. Nothing here raises anything but
`IdentityError`, whatever the bytes.

    {"chip_id": "gw-0001", "key_id": "01a4…", "public_key": "-----BEGIN PUBLIC KEY-----\\n…"}
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_public_key,
)

from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.tpm_structures import Attribute, parse_public
from signerd.core.key_policy import WeakKeyError, check_key, check_point
from signerd.core.names import is_chip_id

MAX_LINE = 4096  # bytes: PEM of an RSA key of 4096 bits takes 800, key id and chip id 200
MAX_SPKI = 1024  # bytes: RSA of 4096 bits takes 550
_MEMBERS = {"chip_id", "key_id", "public_key"}
_TPM_MEMBER = "tpm_public"
_HEX = re.compile(r"[0-9A-Fa-f]+")
# All that the cryptography package raises for key bytes that it does not like.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
_UEID_BYTES, _UEID_RAND = 33, 0x01  # RFC 9783 §4.2.1: an instance id is a UEID of type RAND
_UUID_BYTES = 16
# Name of a TPM object: its nameAlg, then the digest (TPM 2.0 Library, part 1, "Names").
_TPM_NAMES = {34: b"\x00\x0b", 50: b"\x00\x0c"}  # SHA-256, SHA-384
# Without `restricted` it would sign a forged statement of its TPM (TPM 2.0 Library, part 2, 8.3.3).
_ATTESTATION_KEY = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.RESTRICTED
    | Attribute.SIGN
)
_PSA_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)  # ES256, ES384, ES512
_A_PRIVATE_KEY = (
    "a private key. The list takes public keys alone: write `openssl pkey -in KEY -pubout`, and take the chip"
    " out of use, since its key was where it must not be"
)


class IdentityError(ValueError):
    """A line, or what it says, is not an identity that can be imported. The text shows no key."""


@dataclass(frozen=True, slots=True)
class ChipIdentity:
    """A chip and its attestation key."""

    chip_id: str
    key_id: bytes
    spki: bytes  # SubjectPublicKeyInfo, DER
    tpm_public: bytes = b""  # TPMT_PUBLIC of the same key; tpm2 alone, and only while it is imported


def parse_line(line: bytes) -> ChipIdentity:
    """Reads one line of a list.

    Raises:
        IdentityError: it is too long, no JSON of exactly the three members, or holds no public key.
    """
    if len(line) > MAX_LINE:
        raise IdentityError(f"longer than {MAX_LINE} bytes")
    values = _members(line)
    if not is_chip_id(values["chip_id"]):
        raise IdentityError("chip_id is not 1 to 64 of [A-Za-z0-9._:-]")
    for name in values.keys() & {"key_id", _TPM_MEMBER}:
        if not _HEX.fullmatch(values[name]) or len(values[name]) % 2:
            raise IdentityError(f"{name} is not hexadecimal: two digits a byte, nothing between")
    return ChipIdentity(
        values["chip_id"],
        bytes.fromhex(values["key_id"]),
        _spki(values["public_key"]),
        bytes.fromhex(values.get(_TPM_MEMBER, "")),
    )


def check_identity(identity: ChipIdentity, method: str) -> None:
    """Looks at an identity as its method needs it. Expensive for RSA keys, whose quality is looked at.

    Raises:
        IdentityError: chip id, key id or key are not of the method's form, or the key is weak.
    """
    form = _FORMS.get(method)
    if form is None:
        raise IdentityError(f"method {method} uses no imported keys")
    if not is_chip_id(identity.chip_id):
        raise IdentityError("chip_id is not 1 to 64 of [A-Za-z0-9._:-]")
    if identity.tpm_public and method != "tpm2":
        raise IdentityError(f"{_TPM_MEMBER} belongs to method tpm2")
    if len(identity.spki) > MAX_SPKI:
        raise IdentityError(f"the public key has more than {MAX_SPKI} bytes")
    try:
        key = load_der_public_key(identity.spki)
        canonical = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE as error:
        raise IdentityError("the public key is no SubjectPublicKeyInfo") from error
    # One key must have one encoding: a compressed point or odd parameters would give it a second.
    if canonical != identity.spki:
        raise IdentityError("the public key is not in its canonical form")
    try:
        form(identity, key)
    except WeakKeyError as error:
        raise IdentityError(f"the public key: {error}") from error


def _psa_token(identity: ChipIdentity, key: object) -> None:
    if len(identity.key_id) != _UEID_BYTES or identity.key_id[0] != _UEID_RAND:
        raise IdentityError(f"key_id is not an instance id: {_UEID_BYTES} bytes, the first of them 01")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _PSA_CURVES):
        raise IdentityError("the public key is not of P-256, P-384 or P-521")
    check_point(key)


def _nrf91(identity: ChipIdentity, key: object) -> None:
    if len(identity.key_id) != _UUID_BYTES:
        raise IdentityError(f"key_id is not a device UUID: {_UUID_BYTES} bytes")
    uuid = str(UUID(bytes=identity.key_id))
    if identity.chip_id != uuid:
        raise IdentityError(f"chip_id is not the text of the device UUID, which is {uuid}")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the public key is not of P-256")
    check_point(key)


def _tpm2(identity: ChipIdentity, key: object) -> None:
    """An attestation key that signs what its own TPM says, and nothing else that begins so."""
    algorithm = _TPM_NAMES.get(len(identity.key_id))
    if algorithm is None or not identity.key_id.startswith(algorithm):
        raise IdentityError(
            "key_id is not the name of a TPM key: 000b and a SHA-256, or 000c and a SHA-384 digest"
        )
    check_key(key)
    if not identity.tpm_public:
        raise IdentityError(f"{_TPM_MEMBER} is missing: TPMT_PUBLIC of the key, as tpm2_readpublic shows it")
    try:
        public = parse_public(identity.tpm_public)
    except EvidenceError as error:
        raise IdentityError(f"{_TPM_MEMBER}: {error}") from error
    if public.name != identity.key_id or public.spki != identity.spki:
        raise IdentityError(f"{_TPM_MEMBER} is of another key than key_id or public_key")
    missing = _ATTESTATION_KEY & ~public.attributes
    if missing or Attribute.DECRYPT in public.attributes:
        lacks = missing.name or "sign without decrypt"
        raise IdentityError(f"the key is no attestation key of its TPM: it lacks {lacks}")


_FORMS: dict[str, Callable[[ChipIdentity, object], None]] = {
    "psa-token": _psa_token,
    "nrf91": _nrf91,
    "tpm2": _tpm2,
}


def _members(line: bytes) -> dict[str, str]:
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_object)
    except IdentityError:
        raise
    except UnicodeDecodeError as error:
        raise IdentityError("not UTF-8: the list is text, an object of JSON a line") from error
    except (ValueError, RecursionError) as error:  # not JSON, nested without end
        raise IdentityError("not a line of JSON: the list has one object a line, and no header") from error
    if isinstance(value, dict) and (type(form := value.pop("v", 1)) is not int or form != 1):
        raise IdentityError(f"of form {form!r:.32}, and this signerd reads form 1: update it")
    if not isinstance(value, dict) or value.keys() - {_TPM_MEMBER} != _MEMBERS:
        members = ", ".join(sorted(_MEMBERS))
        raise IdentityError(f"not an object with exactly the members {members}, and {_TPM_MEMBER} for tpm2")
    if not all(isinstance(text, str) for text in value.values()):
        raise IdentityError("a member is not text")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise IdentityError("a member appears twice")
    return value


def _spki(text: str) -> bytes:
    if "PRIVATE KEY" in text:
        raise IdentityError(_A_PRIVATE_KEY)
    if "BEGIN CERTIFICATE" in text:
        raise IdentityError(
            "a certificate. The list takes public keys: `openssl x509 -in CERT -noout -pubkey`"
        )
    data = None if "-----BEGIN" in text else _base64(text)
    try:
        key = load_pem_public_key(text.encode()) if data is None else load_der_public_key(data)
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE as error:
        raise IdentityError("public_key is neither PEM nor base64 of a SubjectPublicKeyInfo") from error


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise IdentityError("public_key is neither PEM nor base64") from error
    try:
        load_der_private_key(data, password=None)
    except _UNREADABLE:
        return data
    raise IdentityError(_A_PRIVATE_KEY)
