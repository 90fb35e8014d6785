"""The few TPM 2.0 structures that certify a key (TPM 2.0 Library, Part 2: Structures), big-endian, whole.

TPMS_ATTEST of TPM2_Certify (10.12), TPMT_SIGNATURE (11.3.4) and TPMT_PUBLIC (12.2.4) of RSA and ECC keys
that sign. Sizes, hashes, schemes and names have their form also where nothing here depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from auditor.errors import Malformed

SHA256, SHA384, SHA512 = 0x000B, 0x000C, 0x000D  # TPM_ALG_ID (Part 2, 6.3)
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
_RSA, _ECC, _NULL = 0x0001, 0x0023, 0x0010
_DIGESTS = {SHA256: 32, SHA384: 48, SHA512: 64}  # bytes
_SCHEMES = {_RSA: (RSASSA, RSAPSS), _ECC: (ECDSA,)}
_RSA_BITS = (2048, 3072, 4096)
_MAX_DATA = 66  # bytes: TPM2B_DATA (10.4.3)
_MAX_SIGNATURE, _MAX_SCALAR = 512, 66  # bytes: of RSA (11.2.4.5), of r and s (11.2.5.1)
_GENERATED = 0xFF544347  # TPM_GENERATED_VALUE (6.2)
_ST_ATTEST_CERTIFY = 0x8017  # (6.9)
_CLOCK_INFO, _FIRMWARE_VERSION = 17, 8  # bytes of TPMS_CLOCK_INFO (10.11.1) and of firmwareVersion
_CURVES: dict[int, type[ec.EllipticCurve]] = {
    0x0003: ec.SECP256R1,
    0x0004: ec.SECP384R1,
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
    reader.name()  # qualifiedSigner
    extra_data = reader.sized(0, _MAX_DATA)
    if reader.take(_CLOCK_INFO)[-1] > 1:
        raise Malformed("a clock that is neither safe nor not")
    reader.take(_FIRMWARE_VERSION)
    name, qualified = reader.name(), reader.name()
    reader.end()
    if name[:2] != qualified[:2]:  # Part 1, "Names": both by the object's own nameAlg
        raise Malformed("a name and a qualified name by two hashes")
    return Certified(extra_data, name)


def read_signature(data: bytes) -> Signature:
    """Raises Malformed."""
    reader = _Reader(data)
    scheme, digest = reader.number(2), reader.number(2)
    if scheme not in {RSASSA, RSAPSS, ECDSA}:
        raise Malformed("a signature scheme that is not allowed")
    if digest not in _DIGESTS:
        raise Malformed("a signature by a hash that is not allowed")
    count, most = (2, _MAX_SCALAR) if scheme == ECDSA else (1, _MAX_SIGNATURE)
    parts = tuple(reader.sized(1, most) for _ in range(count))
    reader.end()
    return Signature(scheme, digest, parts)


def read_public(data: bytes) -> Public:
    """Raises Malformed."""
    reader = _Reader(data)
    kind, name_hash, attributes = reader.number(2), reader.number(2), reader.number(4)
    if kind not in _SCHEMES or name_hash not in _DIGESTS:
        raise Malformed("neither an RSA nor an ECC key, or one named by a hash that is not allowed")
    if len(reader.sized(0, _DIGESTS[name_hash])) not in {0, _DIGESTS[name_hash]}:
        raise Malformed("a policy that is no digest")
    if reader.number(2) != _NULL:  # symmetric: of storage keys alone
        raise Malformed("a key that protects others")
    scheme = reader.number(2)
    if scheme != _NULL and (scheme not in _SCHEMES[kind] or reader.number(2) not in _DIGESTS):
        raise Malformed("a key for another scheme, or another hash")
    key = _rsa(reader) if kind == _RSA else _ecc(reader)
    reader.end()
    return Public(name_hash, attributes, key)


def _rsa(reader: _Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4)
    if bits not in _RSA_BITS or exponent not in {0, _DEFAULT_EXPONENT}:
        raise Malformed("an RSA key of a size or exponent that is not allowed")
    number = int.from_bytes(reader.sized(bits // 8, bits // 8), "big")
    if number.bit_length() != bits:
        raise Malformed("a modulus of another size than it says")
    try:
        return rsa.RSAPublicNumbers(_DEFAULT_EXPONENT, number).public_key()
    except ValueError as error:
        raise Malformed("not an RSA key") from error


def _ecc(reader: _Reader) -> ec.EllipticCurvePublicKey:
    curve = _CURVES.get(reader.number(2))
    if curve is None or reader.number(2) != _NULL:
        raise Malformed("a curve that is not allowed, or a key derivation")
    size = curve().key_size // 8  # older TPMs leave leading zeros out (Part 1, C.8)
    x, y = (int.from_bytes(reader.sized(1, size), "big") for _ in range(2))
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

    def sized(self, least: int, most: int) -> bytes:
        """A TPM2B: two bytes of size, then so many."""
        size = self.number(2)
        if not least <= size <= most:
            raise Malformed("a TPM structure with a part of another size than its kind has")
        return self.take(size)

    def name(self) -> bytes:
        """A TPM2B_NAME of an object: nameAlg and digest (10.5.3)."""
        name = self.sized(2, 2 + max(_DIGESTS.values()))
        if len(name) - 2 != _DIGESTS.get(int.from_bytes(name[:2], "big")):
            raise Malformed("a name that is not nameAlg and digest")
        return name

    def end(self) -> None:
        if self._rest:
            raise Malformed("bytes follow a TPM structure")
