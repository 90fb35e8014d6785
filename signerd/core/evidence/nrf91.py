"""Method `nrf91`: the modem made the key (`AT%KEYGEN`), and is here now (`AT%ATTESTTOKEN`).

Evidence is `[keygen, attesttoken]`, deterministic CBOR, two texts as the modem prints them without quotes:
base64url, a dot, base64url, unpadded and in the one canonical form. Behind each dot stands a COSE_Sign1 by
the modem's identity key (ES256), which an administrator imported with the device UUID:

    keygen       CSR . COSE over 55799([9, UUID, cbor(sec_tag), SHA-256(CSR), nonce of the modem's own])
    attesttoken  55799([1, UUID, device type, firmware UUID, nonce]) . COSE with a nil payload

It is guaranteed that both are of the device whose UUID is the session's chip id, that the first speaks of
exactly the CSR of this request, and that the nonce of the second is the first 16 bytes of
SHA-256(transcript). Message type 8, which `AT%KEYGEN` prints for a bare public key, is refused: it digests
the key and not the request, so nothing in it is of this CSR.

What the signature covers beside the payload differs between modems. Accepted are two contexts:

- `external_aad` is the bytes that stand before the dot, decoded. So does an nRF9160; in its `attesttoken`
  nil stands in the payload's place, where RFC 9052 §4.4 wants a byte string.
- `external_aad` is empty, as RFC 9052 §4.3 has it where an application gives none. The message of
  `attesttoken` is then the detached payload (§4.1). Nil under an empty `external_aad` would be a signature of
  nothing, and is refused.

No two of these four are the same bytes: nil is no byte string, and a byte string under an empty
`external_aad` is a message whose first item says which of the two it is.

A (UUID, CSR) pair counts once. The method is pure and cannot count, and need not: the store keeps one record
for a public key over all history (`one_record_a_key`), so that the same CSR leads to the same certificate
of the same chip, and to a refusal once that was revoked or replaced.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from uuid import UUID

from signerd.core import strict_cbor
from signerd.core.anchors import AnchorKind
from signerd.core.evidence.cose import CoseError, Sign1, SignatureAlgorithm, read_message, verify_sign1
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    Entered,
    EvidenceError,
    IdentityKey,
    Origin,
    Proved,
    Request,
    Traits,
    Trust,
)
from signerd.core.evidence.rules import EvidenceRules, Nrf91Rules, describe_measured
from signerd.core.names import Level
from signerd.core.strict_cbor import CborError

_SELF_DESCRIBED = b"\xd9\xd9\xf7"  # tag 55799 (RFC 8949 §3.4.6)
_IDENTITY_KEY = b"\x21"  # kid: CBOR -2. Others are the vendor's own keys
_UUID_BYTES = 16
_NONCE_BYTES = 16
_DIGEST_BYTES = 32
_MAX_UINT32 = 2**32 - 1
_MIN_INT32 = -(2**31)  # a sec_tag over 2^31 is printed as a negative number


@dataclass(frozen=True, slots=True)
class Keygen:
    """What `AT%KEYGEN` says."""

    uuid: bytes
    csr: bytes  # DER, as the modem made it


@dataclass(frozen=True, slots=True)
class AttestToken:
    """What `AT%ATTESTTOKEN` says."""

    uuid: bytes
    firmware: bytes  # UUID of the modem firmware
    nonce: bytes


def _describe(rules: EvidenceRules) -> str:
    measured = rules.nrf91.measurements
    return f"{describe_measured(measured) if measured else 'any modem firmware'}; keys imported by chip"


class Nrf91:
    """nRF91 modems with imported identity keys."""

    name = "nrf91"
    traits = Traits(
        origin=lambda _rules: Origin.COMPANY,
        entered=frozenset({Entered.IMPORTED}),
        anchors=frozenset({AnchorKind.KEY, AnchorKind.IMPORTED}),
        describe=_describe,
        shortfall="it shows no firmware, or firmware that the product does not accept",
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved:
        """`key`, or `chip` where the product names firmware and this modem runs another."""
        identity = trust.identity
        if identity is None:
            raise EvidenceError("no identity key was imported for this chip")
        keygen_text, token_text = read_evidence(evidence)
        keygen = verify_keygen(keygen_text, identity.spki)
        token = verify_attesttoken(token_text, identity.spki)
        if not keygen.uuid == token.uuid == identity.key_id:
            raise EvidenceError("the device UUID is not the imported one")
        if str(UUID(bytes=identity.key_id)) != request.chip_id:
            raise EvidenceError("the device UUID is not the chip id")
        if keygen.csr != request.csr:
            raise EvidenceError("keygen is of another CSR")
        if token.nonce != hashlib.sha256(request.transcript).digest()[:_NONCE_BYTES]:
            raise EvidenceError("the nonce is not of this transcript")
        return _proved(token.firmware, trust.rules.nrf91, identity)


def _proved(firmware: bytes, rules: Nrf91Rules, identity: IdentityKey) -> Proved:
    if not rules.measurements:
        return Proved(Level.KEY, {}, identity.spki, identity.anchors)
    measured = {one.component: one.version for one in rules.measurements if one.digest == firmware}
    return Proved(Level.KEY if measured else Level.CHIP, measured, identity.spki, identity.anchors)


def verify_keygen(text: str, spki: bytes) -> Keygen:
    """Reads and verifies what `AT%KEYGEN=<sec_tag>,2,0` printed.

    Args:
        text: without quotes.
        spki: the identity key's SubjectPublicKeyInfo, DER.

    Raises:
        EvidenceError: another form or message type, another key's signature, or another CSR's digest.
    """
    keygen, message = read_keygen(text)
    _verify(spki, (message, keygen.csr), (message, b""))
    return keygen


def read_keygen(text: str) -> tuple[Keygen, Sign1]:
    """What `AT%KEYGEN=<sec_tag>,2,0` printed, and the message whose signature is not verified yet. Raises
    EvidenceError."""
    csr, message = _split(text)
    if message.payload is None:
        raise EvidenceError("keygen has no payload")
    match _message(message.payload):
        case [9, bytes(uuid), bytes(sec_tag), bytes(digest), bytes(nonce)]:
            pass
        case [8, *_]:
            raise EvidenceError("keygen is of a bare public key, not of a CSR")
        case _:
            raise EvidenceError("keygen is not the message of a CSR")
    if (len(uuid), len(digest), len(nonce)) != (_UUID_BYTES, _DIGEST_BYTES, _NONCE_BYTES):
        raise EvidenceError("an item of keygen's message is not of its size")
    _check_sec_tag(sec_tag)
    if digest != hashlib.sha256(csr).digest():
        raise EvidenceError("keygen's digest is not that of its CSR")
    return Keygen(uuid, csr), message


def verify_attesttoken(text: str, spki: bytes) -> AttestToken:
    """Reads and verifies what `AT%ATTESTTOKEN="<nonce>"` printed.

    Args:
        text: without quotes.
        spki: the identity key's SubjectPublicKeyInfo, DER.

    Raises:
        EvidenceError: another form or message type, or another key's signature.
    """
    token, body, message = read_attesttoken(text)
    _verify(spki, (message, body), (replace(message, payload=body), b""))
    return token


def read_attesttoken(text: str) -> tuple[AttestToken, bytes, Sign1]:
    """What `AT%ATTESTTOKEN` printed, the bytes before its dot, and the message, not verified yet. Raises
    EvidenceError."""
    body, message = _split(text)
    if message.payload is not None:
        raise EvidenceError("the attestation token's payload is not detached")
    match _message(body):
        case [1, bytes(uuid), int(device_type), bytes(firmware), bytes(nonce)]:
            pass
        case _:
            raise EvidenceError("the attestation token is not a device identity message")
    # The vendor adds device types: any number.
    if type(device_type) is not int or not 0 <= device_type <= _MAX_UINT32:
        raise EvidenceError("the device type is not a number")
    if (len(uuid), len(firmware), len(nonce)) != (_UUID_BYTES, _UUID_BYTES, _NONCE_BYTES):
        raise EvidenceError("an item of the attestation token is not of its size")
    return AttestToken(uuid, firmware, nonce), body, message


def read_evidence(evidence: bytes) -> tuple[str, str]:
    """The two texts. Raises EvidenceError for another form."""
    try:
        item = strict_cbor.decode(evidence, max_bytes=MAX_EVIDENCE_BYTES)
    except CborError as error:
        raise EvidenceError(f"evidence: {error}") from error
    match item:
        case [str(keygen), str(attesttoken)]:
            return keygen, attesttoken
        case _:
            raise EvidenceError("the evidence is not two texts")


def _split(text: str) -> tuple[bytes, Sign1]:
    """The bytes before the dot, and the message behind it."""
    parts = text.split(".")
    if len(parts) != 2:
        raise EvidenceError("the text is not two parts with a dot between")
    try:
        message = read_message(_decode(parts[1]))
    except CoseError as error:
        raise EvidenceError(str(error)) from error
    if not isinstance(message, Sign1) or message.algorithm is not SignatureAlgorithm.ES256:
        raise EvidenceError("not an ES256 signature")
    # The signature does not cover it: another value would be a second form of the same evidence.
    if message.kid != _IDENTITY_KEY:
        raise EvidenceError("the key id is not that of the identity key")
    return _decode(parts[0]), message


def _decode(text: str) -> bytes:
    """Base64url (RFC 4648 §5) without padding, in its canonical form alone (§3.5)."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except ValueError as error:
        raise EvidenceError("a part is not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii"):
        raise EvidenceError("a part is not in base64url's canonical form, or is padded")
    return data


def _message(data: bytes) -> list[object]:
    """The items of a message; the first is its type."""
    if not data.startswith(_SELF_DESCRIBED):
        raise EvidenceError("a message does not begin with tag 55799")
    try:
        item = strict_cbor.decode(data.removeprefix(_SELF_DESCRIBED), max_bytes=MAX_EVIDENCE_BYTES)
    except CborError as error:
        raise EvidenceError(f"message: {error}") from error
    # `true` is 1 to Python, and no type to CBOR.
    if not isinstance(item, list) or not item or type(item[0]) is not int:
        raise EvidenceError("a message is not an array that begins with its type")
    return item


def _check_sec_tag(data: bytes) -> None:
    try:
        sec_tag = strict_cbor.decode(data, max_bytes=MAX_EVIDENCE_BYTES)
    except CborError as error:
        raise EvidenceError(f"sec_tag: {error}") from error
    if type(sec_tag) is not int or not _MIN_INT32 <= sec_tag <= _MAX_UINT32:
        raise EvidenceError("the sec_tag is not a number of 32 bits")


def _verify(spki: bytes, *contexts: tuple[Sign1, bytes]) -> None:
    """One of the contexts, (message, external_aad), must hold."""
    failed: CoseError | None = None
    for message, external_aad in contexts:
        try:
            verify_sign1(message, spki, external_aad=external_aad)
        except CoseError as error:
            failed = error
        else:
            return
    raise EvidenceError(str(failed)) from failed
