"""COSE_Sign1 and COSE_Mac0 (RFC 9052), and the CBOR that attestation tokens are made of.

Tokens have integer keys, tags and maps in any order, so that `auditor.core.cbor` does not read them. Read is
CBOR (RFC 8949) of definite lengths without a key that appears twice: whatever two readers could take for two
things is refused. Lengths stand in their shortest form, and there are no floats, but for a token's claims:
RFC 9783 §5.1.1 asks for no form, they are signed as they stand, and claims that nobody reads may be anything.

    message = read_message(data)
    if not message.is_signed_by(key): …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from auditor.errors import Malformed

MAX_DEPTH = 8
_SIMPLE = {20: False, 21: True, 22: None}
_SIGN1, _MAC0 = 18, 17  # RFC 9052 §2
_ALGORITHM = 1  # RFC 9052 §3.1
# RFC 9053 §2.1: curve, hash, bytes of r and of s.
_ECDSA: dict[int, tuple[str, hashes.HashAlgorithm, int]] = {
    -7: ("secp256r1", hashes.SHA256(), 32),
    -35: ("secp384r1", hashes.SHA384(), 48),
    -36: ("secp521r1", hashes.SHA512(), 66),
}
_HMAC = {5: ("sha256", 32), 6: ("sha384", 48), 7: ("sha512", 64)}  # RFC 9053 §3.1: hash, bytes of the MAC


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag and what it is on."""

    tag: int
    value: Any


@dataclass(frozen=True, slots=True)
class Opaque:
    """A float, or a simple value without a meaning here."""

    argument: int


@dataclass(frozen=True, slots=True)
class Message:
    """A COSE_Sign1 or COSE_Mac0. Nothing in it is verified."""

    hash: str | None  # of a MAC's HMAC; None for a signature
    algorithm: int
    protected: bytes
    unprotected: Mapping[Any, Any]
    payload: bytes | None
    authenticator: bytes  # signature or MAC

    def is_signed_by(
        self,
        key: ec.EllipticCurvePublicKey,
        *,
        payload: bytes | None = None,
        aad: bytes = b"",
        nil: bool = False,
    ) -> bool:
        """True if the key made this signature over Sig_structure (RFC 9052 §4.4).

        Args:
            key: must be of the algorithm's curve.
            payload: where it is not inside (§4.1, detached).
            aad: externally supplied.
            nil: nil stands in the payload's place, against §4.4; so does an nRF9160.
        """
        curve, digest, size = _ECDSA.get(self.algorithm, ("", hashes.SHA256(), 0))
        if self.hash is not None or key.curve.name != curve or len(self.authenticator) != 2 * size:
            return False
        inside = payload if self.payload is None else self.payload
        if (inside is None) != nil:
            return False
        signed = cbor2.dumps(["Signature1", self.protected, aad, inside])
        r, s = (
            int.from_bytes(half, "big") for half in (self.authenticator[:size], self.authenticator[size:])
        )
        try:
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
        except InvalidSignature:
            return False
        return True


def read_message(data: bytes, *, maximum: int) -> Message:
    """Reads a tagged message whose algorithm stands in its protected header. Raises Malformed."""
    if len(data) > maximum:
        raise Malformed(f"a COSE message of {len(data)} bytes, allowed are {maximum}")
    match decode(data):
        case Tagged(
            tag, [bytes(protected), dict(unprotected), bytes() | None as payload, bytes(authenticator)]
        ):
            pass
        case _:
            raise Malformed("not a COSE message")
    header = decode(protected)
    if not isinstance(header, dict) or header.keys() != {_ALGORITHM} or _ALGORITHM in unprotected:
        raise Malformed("not a COSE header with the algorithm and nothing else")
    algorithm = header[_ALGORITHM]
    if type(algorithm) is not int:
        raise Malformed("an algorithm that is not a number")
    if tag == _SIGN1 and algorithm in _ECDSA:
        return Message(None, algorithm, protected, unprotected, payload, authenticator)
    if tag == _MAC0 and algorithm in _HMAC:
        digest, size = _HMAC[algorithm]
        if len(authenticator) == size:
            return Message(digest, algorithm, protected, unprotected, payload, authenticator)
    raise Malformed("neither COSE_Sign1 nor COSE_Mac0 of an algorithm that is allowed")


def decode(data: bytes, *, shortest: bool = True) -> Any:
    """One item that fills `data`. Raises Malformed."""
    value, end = _Reader(data, shortest=shortest).item(0, MAX_DEPTH)
    if end != len(data):
        raise Malformed("bytes follow the item")
    return value


def claims(data: bytes | None) -> Mapping[Any, Any]:
    """A map that fills `data`. Raises Malformed."""
    value = decode(data or b"", shortest=False)
    if not isinstance(value, dict):
        raise Malformed("not a map")
    return value


@dataclass(frozen=True, slots=True)
class _Reader:
    data: bytes
    shortest: bool

    def item(self, start: int, depth: int) -> tuple[Any, int]:  # noqa: PLR0911 (one for each major type)
        """The item that begins at `start`, and where it ends."""
        if depth == 0:
            raise Malformed("CBOR is nested too deep")
        major, argument, end = self._head(start)
        match major:
            case 0:
                return argument, end
            case 1:
                return -1 - argument, end
            case 2 | 3:
                return self._string(end, argument, text=major == 3)
            case 4:
                return self._items(end, argument, depth - 1)
            case 5:
                return self._map(end, argument, depth - 1)
            case 6:
                value, end = self.item(end, depth - 1)
                return Tagged(argument, value), end
            case _ if argument in _SIMPLE and end == start + 1:
                return _SIMPLE[argument], end
            case _ if not self.shortest:
                return Opaque(argument), end
            case _:
                raise Malformed("a float, or a simple value that is not used here")

    def _items(self, end: int, size: int, depth: int) -> tuple[list[Any], int]:
        found = []
        for _ in range(size):
            value, end = self.item(end, depth)
            found.append(value)
        return found, end

    def _map(self, end: int, size: int, depth: int) -> tuple[dict[Any, Any], int]:
        found: dict[Any, Any] = {}
        for _ in range(size):
            key, end = self.item(end, depth)
            if type(key) not in {int, str} or key in found:
                raise Malformed("a key appears twice, or is neither a number nor text")
            found[key], end = self.item(end, depth)
        return found, end

    def _string(self, start: int, size: int, *, text: bool) -> tuple[str | bytes, int]:
        value = self.data[start : start + size]
        if len(value) != size:
            raise Malformed("a string is cut")
        if not text:
            return value, start + size
        try:
            return value.decode("utf-8"), start + size
        except UnicodeDecodeError as error:
            raise Malformed("text is not UTF-8") from error

    def _head(self, start: int) -> tuple[int, int, int]:
        """Major type, argument, and where the content begins (RFC 8949 §3)."""
        if start >= len(self.data):
            raise Malformed("CBOR is cut")
        major, short = self.data[start] >> 5, self.data[start] & 0x1F
        if short < 24:
            return major, short, start + 1
        if short > 27:
            raise Malformed("an indefinite length")
        size = 1 << (short - 24)
        argument = self.data[start + 1 : start + 1 + size]
        if len(argument) != size:
            raise Malformed("CBOR is cut")
        value = int.from_bytes(argument, "big")
        if self.shortest and value < (24 if size == 1 else 1 << (4 * size)):
            raise Malformed("an argument is not in its shortest form")
        return major, value, start + 1 + size
