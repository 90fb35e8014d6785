"""Certificates put together byte by byte (X.690, RFC 5280 §4.1), so that wrong ones can be made that no
library would sign.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
KeyType = Literal["p256", "p384", "p521", "ed25519", "rsa2048", "rsa4096", "rsa1024", "k256"]
Hash = Literal["sha1", "sha224", "sha256", "sha384", "sha512"]
Validity = Literal["always", "expired", "not-yet"]

_CURVES: dict[str, ec.EllipticCurve] = {
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "k256": ec.SECP256K1(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_ECDSA_OIDS = {
    "sha1": "1.2.840.10045.4.1",
    "sha224": "1.2.840.10045.4.3.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_RSA_OIDS = {
    "sha1": "1.2.840.113549.1.1.5",
    "sha224": "1.2.840.113549.1.1.14",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
# RFC 5280 §4.1.2.5: UTCTime up to 2049, GeneralizedTime from 2050 on.
_TIMES: dict[Validity, tuple[bytes, bytes]] = {
    "always": (b"200101000000Z", b"99991231235959Z"),
    "expired": (b"200101000000Z", b"200102000000Z"),
    "not-yet": (b"99981231235959Z", b"99991231235959Z"),
}
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")  # X.680 §41.4
_serials = count(1)


def tlv(tag: int, *content: bytes) -> bytes:
    """One DER element."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    octets = bytearray()
    for number in (40 * first + second, *rest):
        base128 = [number & 0x7F]
        while number := number >> 7:
            base128.insert(0, number & 0x7F | 0x80)
        octets += bytes(base128)
    return tlv(0x06, bytes(octets))


def integer(number: int, tag: int = 0x02) -> bytes:
    return tlv(tag, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = tlv(0x01, b"\xff") if critical else b""
    return tlv(0x30, oid(dotted), flag, tlv(0x04, value))


def basic_constraints(*, ca: bool, path_length: int | None = None) -> bytes:
    return _library(x509.BasicConstraints(ca, path_length), critical=True)


def key_usage(*names: str) -> bytes:
    """Of the names of RFC 5280 §4.2.1.3, in the spelling of the cryptography package."""
    known = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return _library(x509.KeyUsage(**{name: name in names for name in known}), critical=True)


def extended_key_usage(*dotted: str, critical: bool = False) -> bytes:
    return _library(
        x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in dotted]), critical=critical
    )


def _library(value: x509.ExtensionType, *, critical: bool) -> bytes:
    return extension(value.oid.dotted_string, value.public_bytes(), critical=critical)


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> bytes:
    """A Name: the maker, and these attributes. serialNumber is a PrintableString (RFC 5280, appendix A.1)."""
    name = [(NameOID.ORGANIZATION_NAME, "Example Silicon"), *attributes]
    return tlv(0x30, *(tlv(0x31, _attribute(kind, value)) for kind, value in name))


def _attribute(kind: x509.ObjectIdentifier, value: str) -> bytes:
    printable = kind == NameOID.SERIAL_NUMBER and _PRINTABLE.fullmatch(value)
    return tlv(0x30, oid(kind.dotted_string), tlv(0x13 if printable else 0x0C, value.encode()))


def common_name(text: str) -> bytes:
    return subject((NameOID.COMMON_NAME, text))


def make_key(key_type: KeyType) -> Key:
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if key_type.startswith("rsa"):
        return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa")))
    return ec.generate_private_key(_CURVES[key_type])


def spki_of(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: Key, message: bytes, digest: Hash) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(_HASHES[digest]))
    return key.sign(message, padding.PKCS1v15(), _HASHES[digest])


def _algorithm(key: Key, digest: Hash) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return tlv(0x30, oid("1.3.101.112"))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return tlv(0x30, oid(_ECDSA_OIDS[digest]))
    return tlv(0x30, oid(_RSA_OIDS[digest]), tlv(0x05))


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: what it signs with, and its own certificate."""

    name: bytes  # DER
    key: Key
    certificate: bytes = b""


def issue(
    issuer: Authority,
    name: bytes,
    public_key: bytes,
    extensions: Sequence[bytes],
    *,
    validity: Validity = "always",
    digest: Hash = "sha256",
    version: int | None = 2,
    serial: int | None = None,
    generalized: bool = False,
    times: bytes | None = None,
    algorithm: bytes | None = None,
) -> bytes:
    """A certificate, DER. `version` as it is written: 2 is v3, None is v1. `generalized`: all times are
    GeneralizedTime, which is wrong up to 2049. `times`: Validity, `algorithm`: AlgorithmIdentifier, DER, as
    they are instead.
    """
    algorithm = algorithm or _algorithm(issuer.key, digest)
    texts = [b"20" + text if generalized and len(text) == 13 else text for text in _TIMES[validity]]
    times = times or tlv(0x30, *(tlv(0x17 if len(text) == 13 else 0x18, text) for text in texts))
    tbs = tlv(
        0x30,
        tlv(0xA0, integer(version)) if version is not None else b"",
        integer(next(_serials) if serial is None else serial),
        algorithm,
        issuer.name,
        times,
        name,
        public_key,
        tlv(0xA3, tlv(0x30, *extensions)) if extensions else b"",
    )
    return seal(issuer.key, tbs, digest, algorithm=algorithm)


def seal(key: Key, tbs: bytes, digest: Hash = "sha256", *, algorithm: bytes | None = None) -> bytes:
    """A to-be-signed certificate, signed."""
    outside = algorithm or _algorithm(key, digest)
    return tlv(0x30, tbs, outside, tlv(0x03, b"\x00", sign(key, tbs, digest)))


def root_authority(text: str, key: Key, extensions: Sequence[bytes] | None = None) -> Authority:
    """A self-signed CA."""
    bare = Authority(common_name(text), key)
    if extensions is None:
        extensions = (basic_constraints(ca=True), key_usage("key_cert_sign", "crl_sign"))
    return Authority(bare.name, key, issue(bare, bare.name, spki_of(key), extensions))


def sub_authority(
    issuer: Authority, text: str, key: Key, *, path_length: int | None = None, digest: Hash = "sha256"
) -> Authority:
    """A CA below another one."""
    name = common_name(text)
    extensions = (basic_constraints(ca=True, path_length=path_length), key_usage("key_cert_sign"))
    return Authority(name, key, issue(issuer, name, spki_of(key), extensions, digest=digest))


def pem(der: bytes) -> str:
    """Also of what no library would read."""
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"
