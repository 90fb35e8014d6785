"""The sub-CA's certification request, signed by its key in the token.

`cryptography` signs with any `EllipticCurvePrivateKey`; this one hands the bytes to the token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
)


class _TokenKey(ec.EllipticCurvePrivateKey):
    """An EC key whose private part stays in the token."""

    def __init__(self, public: ec.EllipticCurvePublicKey, sign: Callable[[bytes], bytes]) -> None:
        self._public = public
        self._sign = sign

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        if isinstance(signature_algorithm.algorithm, utils.Prehashed):
            raise TypeError("the token's key takes the message, not its digest")
        return self._sign(bytes(data))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def exchange(
        self,
        algorithm: ec.ECDH,  # noqa: ARG002 # the base class names it, as the four below
        peer_public_key: ec.EllipticCurvePublicKey,  # noqa: ARG002
    ) -> NoReturn:
        raise TypeError("a CA key signs and does nothing else")

    def private_numbers(self) -> NoReturn:
        raise TypeError("the private key is in the token")

    def private_bytes(
        self,
        encoding: Encoding,  # noqa: ARG002
        format: PrivateFormat,  # noqa: A002, ARG002
        encryption_algorithm: KeySerializationEncryption,  # noqa: ARG002
    ) -> NoReturn:
        raise TypeError("the private key is in the token")

    def __copy__(self) -> _TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _TokenKey:
        return self


def make_request(
    common_name: str, public: ec.EllipticCurvePublicKey, sign: Callable[[bytes], bytes]
) -> bytes:
    """PKCS#10 (RFC 2986), DER. `sign` returns DER signature values with the hash of the key's curve."""
    hash_ = hashes.SHA384() if isinstance(public.curve, ec.SECP384R1) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    )
    request = builder.sign(_TokenKey(public, sign), hash_)
    return request.public_bytes(Encoding.DER)
