"""What TPM2_Certify gives, read to the last byte (TPM 2.0 Library, revision 1.59, Part 2: Structures).

`parse_attest` reads a TPMS_ATTEST, `parse_signature` a TPMT_SIGNATURE, `parse_public` the TPMT_PUBLIC of a
signing key. Only what evidence may hold is read: an attest that the TPM itself made over one loaded object,
RSA and ECC keys that sign and nothing else, signatures and names with SHA-256, SHA-384 or SHA-512. Whatever
else the bytes are, they are refused with `EvidenceError`; nothing is skipped, and nothing may follow.

Numbers are big-endian (Part 2, 4.1 and Part 1, "Octet ordering"). A TPM2B is a length of 16 bits and as many
bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.core.evidence.method import EvidenceError

_GENERATED = 0xFF544347  # 6.2 TPM_GENERATED_VALUE
_ATTEST_CERTIFY = 0x8017  # 6.9 TPM_ST_ATTEST_CERTIFY

# 6.3 TPM_ALG_ID. SHA-1 (0x0004) is not among the hashes, nor is anything that only some TPMs have.
_RSA, _ECC, _NULL = 0x0001, 0x0023, 0x0010
_RSASSA, _RSAPSS, _ECDSA = 0x0014, 0x0016, 0x0018
_HASHES: dict[int, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    0x000B: hashes.SHA256,
    0x000C: hashes.SHA384,
    0x000D: hashes.SHA512,
}
# 6.4 TPM_ECC_CURVE: those that signerd certifies.
_CURVES: dict[int, ec.EllipticCurve] = {0x0003: ec.SECP256R1(), 0x0004: ec.SECP384R1()}

_MAX_DATA_BYTES = 66  # 10.4.3 TPM2B_DATA: sizeof(TPMT_HA) with the largest hash, 2 + 64
_MAX_RSA_BYTES = 512  # 11.2.4.5 TPM2B_PUBLIC_KEY_RSA, of the largest key here: 4096 bits
_MAX_SCALAR_BYTES = 66  # 11.2.5.1 TPM2B_ECC_PARAMETER, of the largest curve of the standard: P-521
_RSA_BITS = (2048, 3072, 4096)
_EXPONENT = 65537
_CLOCK_BYTES = 8 + 4 + 4  # 10.11.1 TPMS_CLOCK_INFO without `safe`: clock, resetCount, restartCount
_FIRMWARE_BYTES = 8

Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
Scheme = Literal["ecdsa", "rsassa", "rsapss"]
_SCHEMES: dict[int, Scheme] = {_ECDSA: "ecdsa", _RSASSA: "rsassa", _RSAPSS: "rsapss"}
_SCHEMES_OF_TYPE = {_RSA: (_RSASSA, _RSAPSS), _ECC: (_ECDSA,)}


class Attribute(IntFlag):
    """TPMA_OBJECT (8.3.2). Bits that are not here are reserved and must be clear."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18
    X509_SIGN = 1 << 19


_KNOWN_ATTRIBUTES = sum(Attribute)


@dataclass(frozen=True, slots=True)
class Attest:
    """TPMS_ATTEST of TPM2_Certify (10.12.12, with TPMS_CERTIFY_INFO, 10.12.3).

    Names are `nameAlg ‖ digest` (10.5.3). Clock, counters and firmware version are read, and say nothing
    here.
    """

    qualified_signer: bytes
    extra_data: bytes
    name: bytes
    qualified_name: bytes


@dataclass(frozen=True, slots=True)
class Public:
    """TPMT_PUBLIC (12.2.4) of a key that signs."""

    name: bytes  # nameAlg ‖ H(the structure), Part 1, "Names"
    attributes: Attribute
    spki: bytes  # the same key as SubjectPublicKeyInfo, DER


@dataclass(frozen=True, slots=True)
class Signature:
    """TPMT_SIGNATURE (11.3.4). `value` is an Ecdsa-Sig-Value in DER, or the RSA signature's bytes."""

    scheme: Scheme
    hash: Hash
    value: bytes


class _Reader:
    def __init__(self, data: bytes, structure: str) -> None:
        self._data = data
        self._at = 0
        self.structure = structure

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise self.error("is cut")
        self._at += count
        return part

    def uint(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def sized(self, least: int, most: int) -> bytes:
        """The content of a TPM2B of `least` to `most` bytes."""
        size = self.uint(2)
        if not least <= size <= most:
            raise self.error(f"has {size} bytes where {least} to {most} belong")
        return self.take(size)

    def end(self) -> None:
        if self._at != len(self._data):
            raise self.error("is followed by bytes")

    def hash(self) -> type[Hash]:
        algorithm = self.uint(2)
        if algorithm not in _HASHES:
            raise self.error(f"names the hash {algorithm:#06x}; accepted are SHA-256, SHA-384 and SHA-512")
        return _HASHES[algorithm]

    def name(self) -> bytes:
        """A TPM2B_NAME (10.5.3) that is the name of an object, not a handle."""
        size = self.uint(2)
        start = self._at
        used = self.hash()
        if size != 2 + used.digest_size:
            raise self.error("has a name that is not nameAlg and digest")
        self.take(used.digest_size)
        return self._data[start : self._at]

    def error(self, what: str) -> EvidenceError:
        return EvidenceError(f"{self.structure} {what}")


def parse_attest(data: bytes) -> Attest:
    """Reads a TPMS_ATTEST that TPM2_Certify made.

    Raises:
        EvidenceError: it is anything else: not begun by TPM_GENERATED_VALUE, of another command, cut,
            followed by bytes, or with a name under another hash.
    """
    reader = _Reader(data, "TPMS_ATTEST")
    if reader.uint(4) != _GENERATED:
        raise reader.error("does not begin with TPM_GENERATED_VALUE")
    if reader.uint(2) != _ATTEST_CERTIFY:
        raise reader.error("is not of TPM2_Certify")
    qualified_signer = reader.name()
    extra_data = reader.sized(0, _MAX_DATA_BYTES)
    reader.take(_CLOCK_BYTES)
    if reader.uint(1) > 1:  # 9.2 TPMI_YES_NO
        raise reader.error("has a clock that is neither safe nor not")
    reader.take(_FIRMWARE_BYTES)
    attest = Attest(qualified_signer, extra_data, reader.name(), reader.name())
    reader.end()
    return attest


def parse_public(data: bytes) -> Public:
    """Reads the TPMT_PUBLIC of an RSA or ECC key for signatures.

    Raises:
        EvidenceError: it is of another kind, or of a curve, size, scheme or hash that is not accepted; a
            reserved attribute is set; the point is not on its curve.
    """
    reader = _Reader(data, "TPMT_PUBLIC")
    kind = reader.uint(2)
    if kind not in _SCHEMES_OF_TYPE:
        raise reader.error("is neither of RSA nor of ECC")
    name_algorithm = data[2:4]
    name_hash = reader.hash()
    attributes = reader.uint(4)
    if attributes & ~_KNOWN_ATTRIBUTES:
        raise reader.error("has reserved attributes set")
    # 12.2.4: a policy is computed with nameAlg; no policy has no bytes.
    if len(reader.sized(0, name_hash.digest_size)) not in (0, name_hash.digest_size):
        raise reader.error("has a policy of another size than its hash gives")
    # 12.2.3.5 and 12.2.3.6: only a restricted decryption key has a symmetric algorithm.
    if reader.uint(2) != _NULL:
        raise reader.error("has a symmetric algorithm")
    _read_scheme(reader, kind)
    spki = _read_rsa(reader) if kind == _RSA else _read_ecc(reader)
    reader.end()
    digest = hashlib.new(name_hash.name, data).digest()
    return Public(name_algorithm + digest, Attribute(attributes), spki)


def _read_scheme(reader: _Reader, kind: int) -> None:
    """TPMT_RSA_SCHEME (11.2.4.2) or TPMT_ECC_SCHEME (11.2.5.6): none, or one that signs."""
    scheme = reader.uint(2)
    if scheme == _NULL:
        return
    if scheme not in _SCHEMES_OF_TYPE[kind]:
        raise reader.error(f"has the scheme {scheme:#06x}")
    reader.hash()


def _read_rsa(reader: _Reader) -> bytes:
    bits = reader.uint(2)
    if bits not in _RSA_BITS:
        raise reader.error(f"has an RSA key of {bits} bits")
    if reader.uint(4) not in (0, _EXPONENT):  # 12.2.3.5: zero stands for 2^16 + 1
        raise reader.error("has another RSA exponent than 65537")
    modulus = int.from_bytes(reader.sized(bits // 8, bits // 8), "big")
    if modulus.bit_length() != bits:
        raise reader.error("has a modulus that is shorter than it says")
    return _spki(reader, rsa.RSAPublicNumbers(_EXPONENT, modulus))


def _read_ecc(reader: _Reader) -> bytes:
    number = reader.uint(2)
    if number not in _CURVES:
        raise reader.error(f"is on the curve {number:#06x}; accepted are P-256 and P-384")
    curve = _CURVES[number]
    if reader.uint(2) != _NULL:
        raise reader.error("has a key derivation scheme")
    # TPMS_ECC_POINT (11.2.5.2). Older TPMs leave leading zeros out (Part 1, C.8).
    size = curve.key_size // 8
    x, y = (int.from_bytes(reader.sized(1, size), "big") for _ in range(2))
    return _spki(reader, ec.EllipticCurvePublicNumbers(x, y, curve))


def _spki(reader: _Reader, numbers: rsa.RSAPublicNumbers | ec.EllipticCurvePublicNumbers) -> bytes:
    try:
        return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise reader.error("holds no public key") from error


def parse_signature(data: bytes) -> Signature:
    """Reads a TPMT_SIGNATURE: ECDSA, RSASSA-PKCS1-v1_5 or RSASSA-PSS.

    Raises:
        EvidenceError: another scheme or hash (SHA-1 is one), cut, or followed by bytes.
    """
    reader = _Reader(data, "TPMT_SIGNATURE")
    algorithm = reader.uint(2)
    if algorithm not in _SCHEMES:
        raise reader.error(f"has the scheme {algorithm:#06x}")
    used = reader.hash()()
    if algorithm == _ECDSA:  # 11.3.2 TPMS_SIGNATURE_ECC
        r, s = (int.from_bytes(reader.sized(1, _MAX_SCALAR_BYTES), "big") for _ in range(2))
        value = encode_dss_signature(r, s)
    else:  # 11.3.1 TPMS_SIGNATURE_RSA
        value = reader.sized(1, _MAX_RSA_BYTES)
    reader.end()
    return Signature(_SCHEMES[algorithm], used, value)
