"""COSE_Sign1 and COSE_Mac0 (RFC 9052 §4.2, §6.2), read so strictly that what is accepted has one encoding.

A message is tagged, its protected header is `{1: alg}` and nothing else, so `crit` and every parameter that
could change the meaning are refused; its unprotected header is empty or holds a key id alone. The tag says
whether a public key or a secret is needed and the algorithm must be of that kind: no message is ever checked
with a key of another kind than it was made for. Every byte is fixed by the values read here, and all values
but `kid` are covered by the signature or MAC: a method that lets a `kid` through compares it.

One freedom is left: with (r, s) also (r, n - s) is a signature of the same message. Hardware does not
normalise s, RFC 9053 §2.1 does not ask for it, and nothing here takes evidence bytes for unique.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cbor2
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.core.evidence.cbor_items import CborItemError, Item, Key, Tagged, read_item

_SIGN1_TAG = 18
_MAC0_TAG = 17
_KID = 4  # header parameter (RFC 9052 §3.1)
_MAX_DEPTH = 4  # tag, array, map, its value


class CoseError(ValueError):
    """Not a message of the accepted form, or its signature does not hold."""


class SignatureAlgorithm(Enum):
    """ECDSA (RFC 9053 §2.1). There any curve goes with any hash; here each has its one curve."""

    ES256 = -7
    ES384 = -35
    ES512 = -36

    @property
    def hash(self) -> hashes.HashAlgorithm:
        """What the curve's signature is over."""
        return {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}[self.name]

    @property
    def curve(self) -> str:
        """Name of the only curve that is accepted."""
        return {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}[self.name]

    @property
    def number_bytes(self) -> int:
        """Size of r and of s: that of the curve's field."""
        return {"ES256": 32, "ES384": 48, "ES512": 66}[self.name]


class MacAlgorithm(Enum):
    """HMAC (RFC 9053 §3.1) at full length. HMAC 256/64 is left out: eight bytes are few."""

    HMAC_256_256 = 5
    HMAC_384_384 = 6
    HMAC_512_512 = 7

    @property
    def hash_name(self) -> str:
        """As `MacQuestion.hash`."""
        return {5: "sha256", 6: "sha384", 7: "sha512"}[self.value]

    @property
    def tag_bytes(self) -> int:
        """Size of the tag."""
        return {5: 32, 6: 48, 7: 64}[self.value]


@dataclass(frozen=True, slots=True)
class Sign1:
    """A COSE_Sign1 of the accepted form. Its signature is not verified yet: `verify_sign1`."""

    algorithm: SignatureAlgorithm
    protected: bytes  # as it stands in the message
    kid: bytes | None  # not covered by the signature
    payload: bytes | None  # None: nil
    signature: bytes  # r and s


@dataclass(frozen=True, slots=True)
class Mac0:
    """A COSE_Mac0 of the accepted form. Its tag is not verified: only the key holder can."""

    algorithm: MacAlgorithm
    protected: bytes
    kid: bytes | None  # not covered by the tag
    payload: bytes | None
    tag: bytes


# The one encoding of `{1: alg}` -> alg.
_SIGN1_PROTECTED = {cbor2.dumps({1: algorithm.value}): algorithm for algorithm in SignatureAlgorithm}
_MAC0_PROTECTED = {cbor2.dumps({1: algorithm.value}): algorithm for algorithm in MacAlgorithm}


def read_message(data: bytes) -> Sign1 | Mac0:
    """Reads the message that fills `data`.

    Raises:
        CoseError: not of the accepted form.
    """
    try:
        item = read_item(data, shortest=True, max_depth=_MAX_DEPTH)
    except CborItemError as error:
        raise CoseError(f"COSE: {error}") from error
    match item:
        case Tagged(
            number=number, item=[bytes(protected), dict(unprotected), bytes() | None as payload, bytes(proof)]
        ):
            kid = _kid(unprotected)
        case _:
            raise CoseError("not a tagged array of two headers, payload and signature or tag")
    if number == _SIGN1_TAG and protected in _SIGN1_PROTECTED:
        algorithm = _SIGN1_PROTECTED[protected]
        if len(proof) != 2 * algorithm.number_bytes:
            raise CoseError("the signature is not of its algorithm's size")
        return Sign1(algorithm, protected, kid, payload, proof)
    if number == _MAC0_TAG and protected in _MAC0_PROTECTED:
        mac_algorithm = _MAC0_PROTECTED[protected]
        # A shorter tag would be a prefix to guess byte by byte.
        if len(proof) != mac_algorithm.tag_bytes:
            raise CoseError("the tag is not of its algorithm's size")
        return Mac0(mac_algorithm, protected, kid, payload, proof)
    raise CoseError("not COSE_Sign1 or COSE_Mac0 with an algorithm of its own and nothing else protected")


def _kid(unprotected: dict[Key, Item]) -> bytes | None:
    match list(unprotected.items()):
        case []:
            return None
        case [(int(label), bytes(kid))] if label == _KID:
            return kid
        case _:
            raise CoseError("the unprotected header holds more than a key id")


def verify_sign1(message: Sign1, spki: bytes, *, external_aad: bytes = b"") -> None:
    """Verifies the signature over `sig_structure`.

    Args:
        message: as read.
        spki: SubjectPublicKeyInfo of the key that must have signed, DER.
        external_aad: what else was signed (RFC 9052 §4.3).

    Raises:
        CoseError: the key is not on the algorithm's curve, or the signature is not this key's.
    """
    try:
        key = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CoseError("the key is not readable") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != message.algorithm.curve:
        raise CoseError("the key is not on the algorithm's curve")
    size = message.algorithm.number_bytes
    r = int.from_bytes(message.signature[:size], "big")
    s = int.from_bytes(message.signature[size:], "big")
    try:
        # That r and s lie in 1 to n - 1 is a step of the verification itself (FIPS 186-5 §6.4.2).
        key.verify(
            encode_dss_signature(r, s), sig_structure(message, external_aad), ec.ECDSA(message.algorithm.hash)
        )
    except InvalidSignature as error:
        raise CoseError("the signature does not verify") from error


def sig_structure(message: Sign1, external_aad: bytes = b"") -> bytes:
    """`["Signature1", protected, external_aad, payload]` (RFC 9052 §4.4).

    A nil payload stands there as nil. The RFC would have the detached bytes there; the nRF91 modem signs nil.
    """
    return cbor2.dumps(["Signature1", message.protected, external_aad, message.payload], canonical=True)


def mac_structure(message: Mac0, external_aad: bytes = b"") -> bytes:
    """`["MAC0", protected, external_aad, payload]` (RFC 9052 §6.3)."""
    return cbor2.dumps(["MAC0", message.protected, external_aad, message.payload], canonical=True)
