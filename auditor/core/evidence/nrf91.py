"""Method `nrf91`: `[keygen, attesttoken]`, two texts as an nRF91 modem prints them (docs/formats.md).

    keygen       CSR . COSE_Sign1 over 55799([9, UUID, cbor(sec_tag), SHA-256(CSR), a nonce of the modem's])
    attesttoken  55799([1, UUID, device type, firmware UUID, nonce]) . COSE_Sign1

Each half is unpadded base64url. Modems sign in two ways: with the bytes before the dot as external_aad, where
`attesttoken` then has nil instead of a payload; or as RFC 9052 §4.1 has it, without external_aad, the bytes
before the dot being the detached payload of `attesttoken`.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec

from auditor.core import cbor, cose
from auditor.core.anchors import imported
from auditor.core.books import Basis
from auditor.core.counting import identities
from auditor.core.evidence.appraisal import MAX_EVIDENCE, AppraisalInputs, AttestationResult, false
from auditor.core.evidence.attestation_key import load_key
from auditor.errors import Malformed

_UUID, _NONCE = 16, 16  # bytes
_IDENTITY_KEY = {4: b"\x21"}  # kid (RFC 9052 §3.1)


def check(inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
    """Level `key`; `chip` where the product lists modem firmware, and this is another.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    key = load_key(inputs.attester)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise false("a modem's identity key is of P-256")
    try:
        keygen, token = _texts(evidence)
        request, born = _born(keygen, key)
        device, firmware = _here(token, key, sha256(inputs.transcript).digest()[:_NONCE])
    except Malformed as error:
        raise false(f"nrf91: {error}") from error
    if request != inputs.csr:
        raise false("nrf91: the modem made another CSR")
    named = str(uuid.UUID(bytes=device))
    if born != device or named != inputs.chip_id:
        raise false("nrf91: another device", inputs.chip_id, named)
    accepted = inputs.rules.measurements["nrf91"]
    meant = {(item.component, item.version) for item in accepted if item.digest == firmware}
    level = "key" if not accepted or len(meant) == 1 else "chip"
    return AttestationResult(
        Basis.SIGNATURE,
        level,
        dict(meant) if len(meant) == 1 else {},
        inputs.attester,
        imported=True,
        key_id=device,
        anchors=imported(inputs.attester, device),
        rests_on=identities("nrf91", inputs.product),
    )


def _texts(evidence: bytes) -> tuple[str, str]:
    match cbor.decode(evidence, maximum=MAX_EVIDENCE):
        case [str(keygen), str(token)]:
            return keygen, token
        case _:
            raise Malformed("not [keygen, attesttoken]")


def _born(keygen: str, key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """The CSR that the modem made, and the device's UUID."""
    request, message = _halves(keygen)
    if message.payload is None or not (message.is_signed_by(key, aad=request) or message.is_signed_by(key)):
        raise Malformed("the identity key did not sign what AT%KEYGEN printed")
    match _fields(message.payload):
        case [9, bytes(device), bytes(tag), bytes(digest), bytes(nonce)] if len(nonce) == _NONCE:
            _check_sec_tag(tag)
        case _:
            raise Malformed("not what AT%KEYGEN signs for a CSR")
    if digest != sha256(request).digest() or len(device) != _UUID:
        raise Malformed("AT%KEYGEN signed for another CSR")
    return request, device


def _here(token: str, key: ec.EllipticCurvePublicKey, nonce: bytes) -> tuple[bytes, bytes]:
    """The UUIDs of the device and of its firmware, in a token for this nonce."""
    body, message = _halves(token)
    signed = message.is_signed_by(key, aad=body, nil=True) or message.is_signed_by(key, payload=body)
    if message.payload is not None or not signed:
        raise Malformed("the identity key did not sign the attestation token")
    match _fields(body):
        case [1, bytes(device), int(kind), bytes(firmware), bytes(found)] if (
            type(kind) is int and 0 <= kind < 1 << 32 and len(firmware) == _UUID
        ):
            pass
        case _:
            raise Malformed("not an attestation token")
    if found != nonce or len(device) != _UUID:
        raise Malformed("the attestation token is for another session or request")
    return device, firmware


def _check_sec_tag(data: bytes) -> None:
    """A number of 32 bits, which the modem prints as a negative one from 2^31 on."""
    number = cbor.decode(data, maximum=MAX_EVIDENCE)
    if type(number) is not int or not -(1 << 31) <= number < 1 << 32:
        raise Malformed("a sec_tag that is none")


def _fields(data: bytes) -> Sequence[object]:
    match cose.decode(data):
        # RFC 8949 §3.4.6; `true` is 1 to Python, and no message type.
        case cose.Tagged(55799, [kind, *fields]) if type(kind) is int:
            return [kind, *fields]
        case _:
            raise Malformed("not a self-described array")


def _halves(text: str) -> tuple[bytes, cose.Message]:
    before, dot, after = text.partition(".")
    if not dot:
        raise Malformed("no dot")
    message = cose.read_message(_base64url(after), maximum=MAX_EVIDENCE)
    if message.unprotected != _IDENTITY_KEY:
        raise Malformed("not signed with the identity key")
    return _base64url(before), message


def _base64url(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise Malformed("not base64url") from error
    # One spelling alone: neither padding of its own nor bits that no byte needs.
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise Malformed("not unpadded base64url in its one form")
    return data
