"""The few TPM 2.0 structures that certify a key (TPM 2.0 Library, Part 2: Structures), big-endian, whole.

TPMS_ATTEST of TPM2_Certify (10.12), TPMT_SIGNATURE (11.3.4) and TPMT_PUBLIC (12.2.4) of RSA and ECC keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from auditor.errors import Malformed

SHA256, SHA384, SHA512 = 0x000B, 0x000C, 0x000D  # TPM_ALG_ID (Part 2, 6.3)
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
_RSA, _ECC, _NULL = 0x0001, 0x0023, 0x0010
_ECDAA, _RSAES = 0x001A, 0x0015
_GENERATED = 0xFF544347  # TPM_GENERATED_VALUE (6.2)
_ST_ATTEST_CERTIFY = 0x8017  # (6.9)
_CLOCK_INFO, _FIRMWARE_VERSION = 17, 8  # bytes of TPMS_CLOCK_INFO (10.11.1) and of firmwareVersion
_CURVES: dict[int, type[ec.EllipticCurve]] = {
    0x0003: ec.SECP256R1,
    0x0004: ec.SECP384R1,
    0x0005: ec.SECP521R1,
}
_DEFAULT_EXPONENT = 65_537  # where exponent is 0 (12.2.3.5)


@dataclass(frozen=True, slots=True)
class Certified:
    """What a TPMS_ATTEST of TPM2_Certify says."""

    extra_data: bytes
    name: bytes  # of the certified object


@dataclass(frozen=True, slots=True)
class Signature:
    """A TPMT_SIGNATURE. `parts`: of RSA the signature, of ECDSA r and s."""

    scheme: int
    hash: int
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Public:
    """A TPMT_PUBLIC."""

    name_hash: int
    attributes: int  # TPMA_OBJECT (8.3)
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def read_attest(data: bytes) -> Certified:
    """Raises Malformed."""
    reader = _Reader(data)
    if reader.number(4) != _GENERATED or reader.number(2) != _ST_ATTEST_CERTIFY:
        raise Malformed("not what a TPM says of TPM2_Certify")
    reader.sized()  # qualifiedSigner
    extra_data = reader.sized()
    reader.take(_CLOCK_INFO + _FIRMWARE_VERSION)
    name = reader.sized()
    reader.sized()  # qualifiedName
    reader.end()
    return Certified(extra_data, name)


def read_signature(data: bytes) -> Signature:
    """Raises Malformed."""
    reader = _Reader(data)
    scheme, digest = reader.number(2), reader.number(2)
    if scheme not in {RSASSA, RSAPSS, ECDSA}:
        raise Malformed("a signature scheme that is not allowed")
    parts = (reader.sized(), reader.sized()) if scheme == ECDSA else (reader.sized(),)
    reader.end()
    return Signature(scheme, digest, parts)


def read_public(data: bytes) -> Public:
    """Raises Malformed."""
    reader = _Reader(data)
    kind, name_hash, attributes = reader.number(2), reader.number(2), reader.number(4)
    reader.sized()  # authPolicy
    if kind not in {_RSA, _ECC}:
        raise Malformed("neither an RSA nor an ECC key")
    if reader.number(2) != _NULL:  # symmetric: of storage keys alone
        raise Malformed("a key that protects others")
    _scheme(reader)
    key = _rsa(reader) if kind == _RSA else _ecc(reader)
    reader.end()
    return Public(name_hash, attributes, key)


def _scheme(reader: _Reader) -> None:
    """TPMT_RSA_SCHEME or TPMT_ECC_SCHEME: what the key must sign with, or null (12.2.3.5 and 6)."""
    scheme = reader.number(2)
    if scheme not in {_NULL, _RSAES}:
        reader.number(2)  # its hash
    if scheme == _ECDAA:
        reader.number(2)  # its count


def _rsa(reader: _Reader) -> rsa.RSAPublicKey:
    bits, exponent, modulus = reader.number(2), reader.number(4), reader.sized()
    number = int.from_bytes(modulus, "big")
    if number.bit_length() != bits:
        raise Malformed("a modulus of another size than it says")
    try:
        return rsa.RSAPublicNumbers(exponent or _DEFAULT_EXPONENT, number).public_key()
    except ValueError as error:
        raise Malformed("not an RSA key") from error


def _ecc(reader: _Reader) -> ec.EllipticCurvePublicKey:
    curve = _CURVES.get(reader.number(2))
    if reader.number(2) != _NULL:
        reader.number(2)  # the key derivation's hash
    x, y = (int.from_bytes(reader.sized(), "big") for _ in range(2))
    if curve is None:
        raise Malformed("a curve that is not allowed")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except ValueError as error:
        raise Malformed("not a point of the curve") from error


class _Reader:
    """Takes a structure apart from the front."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def take(self, size: int) -> bytes:
        if len(self._rest) < size:
            raise Malformed("a TPM structure is cut")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """A TPM2B: two bytes of size, then so many."""
        return self.take(self.number(2))

    def end(self) -> None:
        if self._rest:
            raise Malformed("bytes follow a TPM structure")
