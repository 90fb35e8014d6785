"""The sub-CA's certification request, signed by its key in the token.

`cryptography` signs with any `EllipticCurvePrivateKey` or `RSAPrivateKey`; these hand the bytes to the token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
)

from signerd.core.issuer_algorithm import IssuerKey, issuer_key


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


class _RsaTokenKey(rsa.RSAPrivateKey):
    """The same of an RSA key."""

    def __init__(self, public: rsa.RSAPublicKey, sign: Callable[[bytes], bytes]) -> None:
        self._public = public
        self._sign = sign

    def sign(
        self,
        data: bytes | bytearray | memoryview,
        padding: AsymmetricPadding,
        algorithm: utils.Prehashed | hashes.HashAlgorithm | utils.NoDigestInfo,
    ) -> bytes:
        if not isinstance(padding, PKCS1v15) or not isinstance(algorithm, hashes.SHA256):
            raise TypeError("the token's key signs by PKCS #1 v1.5 with SHA-256")
        return self._sign(bytes(data))

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def decrypt(
        self,
        ciphertext: bytes | bytearray | memoryview,  # noqa: ARG002
        padding: AsymmetricPadding,  # noqa: ARG002
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

    def __copy__(self) -> _RsaTokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _RsaTokenKey:
        return self


def make_request(common_name: str, public: IssuerKey, sign: Callable[[bytes], bytes]) -> bytes:
    """PKCS#10 (RFC 2986), DER. `sign` returns signature values of the key's algorithm."""
    _, algorithm = issuer_key(public)
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    )
    key = _RsaTokenKey(public, sign) if isinstance(public, rsa.RSAPublicKey) else _TokenKey(public, sign)
    return builder.sign(key, algorithm.hash).public_bytes(Encoding.DER)
