"""A board's CSR (PKCS#10, RFC 2986), as far as an auditor cares: whose key signed it, and what its evidence
is over.

Names and attributes are not decoded: nothing of them was granted, and boards' libraries write them in many
ways. What is read is the frame, the key, the signature, and whether a CA's certificate is asked for. The
AlgorithmIdentifier, which the signature does not cover, may have NULL parameters or none, with ECDSA too
(against RFC 5758 §3.2, as boards in the field write it).

Evidence may stand inside, in the attribute id-aa-attestation (docs/formats.md, "Evidence inside the CSR"). It
is then over the CertificationRequestInfo without that attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from auditor.core import cbor, der
from auditor.core.codes import Code
from auditor.errors import CheckFailed, Malformed

MAX_CSR = 8_192  # bytes
X509_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_NULL = b"\x05\x00"
_VERSION_1 = b"\x02\x01\x00"
_BOOLEANS = (b"\x01\x01\x00", b"\x01\x01\xff")
_HASHES = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
# 1.2.840.10045.4.3.{2,3,4} and 1.2.840.113549.1.1.{11,12,13}
_ECDSA = {bytes.fromhex(f"06082a8648ce3d04030{arc}"): digest for arc, digest in enumerate(_HASHES, 2)}
_RSA = {bytes.fromhex(f"06092a864886f70d01010{arc:x}"): digest for arc, digest in enumerate(_HASHES, 11)}
_EC_BITS = frozenset({256, 384})
_RSA_BITS = frozenset({2048, 3072, 4096})
# extensionRequest, 1.2.840.113549.1.9.14, and Windows' older 1.3.6.1.4.1.311.2.1.14
_EXTENSION_REQUESTS = frozenset(
    bytes.fromhex(each) for each in ("06092a864886f70d01090e", "060a2b06010401823702010e")
)
_BASIC_CONSTRAINTS, _KEY_USAGE = bytes.fromhex("0603551d13"), bytes.fromhex("0603551d0f")
_CONSTRAINTS = frozenset({bytes.fromhex("0603551d1e"), bytes.fromhex("0603551d24")})  # of names, policies
_ATTRIBUTES = 0xA0  # RFC 2986 §4.1: [0] IMPLICIT SET OF Attribute
_ATTESTATION = bytes.fromhex("060b2a864886f70d010910023b")  # id-aa-attestation, 1.2.840.113549.1.9.16.2.59
_TPM_CERTIFY = bytes.fromhex("06056781051401")  # tcg-attest-tpm-certify, 2.23.133.20.1
_CMW = bytes.fromhex("06082b06010505070123")  # id-pe-cmw, 1.3.6.1.5.5.7.1.35


@dataclass(frozen=True, slots=True)
class Inside:
    """Evidence that a CSR carries, in its method's own form."""

    method: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Csr:
    """A CSR whose signature holds. Only `check_csr` makes one."""

    der: bytes
    evidence_digest: bytes  # what the transcript holds of it
    inside: Inside | None


def check_csr(data: bytes, spki: bytes) -> Csr:
    """Checks that the CSR is signed by its own key, that this is the certified one (SPKI, DER), and that the
    CSR does not ask for a CA's certificate.

    Raises:
        CheckFailed: CSR.
    """
    if not 0 < len(data) <= MAX_CSR:
        raise CheckFailed(Code.CSR, "the CSR's size", expected=f"1 to {MAX_CSR}", found=str(len(data)))
    try:
        info, algorithm, signature = _three(data)
        key, attributes = _read(info)
        signed = _is_signed(info, algorithm, signature, key)
        rest, inside = _taken_out(info)
        for_a_ca = any(_asks_for_ca(values) for kind, values in attributes if kind in _EXTENSION_REQUESTS)
    except Malformed as error:
        raise CheckFailed(Code.CSR, f"the CSR: {error}") from error
    except X509_ERRORS as error:
        raise CheckFailed(Code.CSR, f"the CSR cannot be read: {type(error).__name__}") from error
    if key != spki:
        raise CheckFailed(Code.CSR, "the CSR is of another key than the certificate")
    if not signed:
        raise CheckFailed(Code.CSR, "the CSR's self-signature is wrong")
    if for_a_ca:
        raise CheckFailed(Code.CSR, "the CSR asks for what only a CA has")
    return Csr(data, sha256(data if inside is None else rest).digest(), inside)


def _three(data: bytes) -> tuple[bytes, bytes, bytes]:
    match der.members(data):
        case [info, algorithm, signature]:
            return info, algorithm, signature
        case _:
            raise Malformed("not three elements")


def _read(info: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The key as it stands, and the attributes. Names are not read. Raises Malformed."""
    parts = der.members(info)
    if [part[0] for part in parts[:3]] != [der.INTEGER, der.SEQUENCE, der.SEQUENCE] or len(parts) > 4:
        raise Malformed("not version, subject, key and attributes")
    if parts[0] != _VERSION_1:
        raise Malformed("not of version 1")
    attributes = []
    for raw in der.members(parts[3], _ATTRIBUTES) if len(parts) == 4 else []:
        match der.members(raw):
            case [kind, values] if kind[0] == der.OBJECT_IDENTIFIER and values[0] == der.SET:
                attributes.append((kind, values))
            case _:
                raise Malformed("an attribute is not a type and its values")
    if len({kind for kind, _ in attributes}) != len(attributes):
        raise Malformed("an attribute appears twice")
    return parts[2], attributes


def _is_signed(info: bytes, algorithm: bytes, signature: bytes, key: bytes) -> bool:
    """By its own key, with an algorithm that goes with it. Raises Malformed or one of X509_ERRORS."""
    oid, *parameters = der.members(algorithm)
    if parameters not in ([], [_NULL]):
        raise Malformed("the signature's algorithm has parameters")
    bits = der.content(signature, der.BIT_STRING)
    if not bits.startswith(b"\x00"):
        raise Malformed("the signature is not of whole bytes")
    public = load_der_public_key(key)
    try:
        if isinstance(public, ec.EllipticCurvePublicKey) and oid in _ECDSA and public.key_size in _EC_BITS:
            public.verify(bits[1:], info, ec.ECDSA(_ECDSA[oid]))
        elif isinstance(public, rsa.RSAPublicKey) and oid in _RSA and public.key_size in _RSA_BITS:
            public.verify(bits[1:], info, padding.PKCS1v15(), _RSA[oid])
        else:
            raise Malformed("an algorithm or a key that is not allowed")
    except InvalidSignature:
        return False
    # One key has one encoding: a compressed point is another certificate's.
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key


def _asks_for_ca(values: bytes) -> bool:
    """True if an extensionRequest wants what only a CA has. Raises Malformed."""
    for value in der.members(values, der.SET):
        asked = [der.members(raw) for raw in der.members(value)]
        if any(len(parts) not in {2, 3} or parts[0][0] != der.OBJECT_IDENTIFIER for parts in asked):
            raise Malformed("an extension that is asked for is not of the form")
        if any(parts[1] not in _BOOLEANS for parts in asked if len(parts) == 3):
            raise Malformed("an extension is critical in no known way")
        found = {parts[0]: der.content(parts[-1], der.OCTET_STRING) for parts in asked}
        if len(found) != len(asked):
            raise Malformed("an extension is asked for twice")
        if not _CONSTRAINTS.isdisjoint(found) or _is_ca(found.get(_BASIC_CONSTRAINTS)):
            return True
        if _signs_certificates(found.get(_KEY_USAGE)):
            return True
    return False


def _is_ca(value: bytes | None) -> bool:
    parts = [] if value is None else der.members(value)
    kinds = [part[0] for part in parts]
    if kinds not in ([], [der.INTEGER], [der.BOOLEAN], [der.BOOLEAN, der.INTEGER]):
        raise Malformed("the basicConstraints that are asked for are not of the form")
    if kinds[:1] == [der.BOOLEAN] and parts[0] not in _BOOLEANS:
        raise Malformed("the basicConstraints that are asked for are neither true nor false")
    return parts[:1] == [_BOOLEANS[1]]


def _signs_certificates(value: bytes | None) -> bool:
    """keyCertSign or cRLSign, bits 5 and 6."""
    if value is None:
        return False
    bits = der.content(value, der.BIT_STRING)
    if not bits or bits[0] > 7:
        raise Malformed("the keyUsage that is asked for is not of the form")
    return any(byte & 0x06 for byte in bits[1:2])


def _taken_out(info: bytes) -> tuple[bytes, Inside | None]:
    """The CertificationRequestInfo without id-aa-attestation, and what that held. Raises Malformed."""
    parts = der.members(info)
    if not parts or parts[-1][0] != _ATTRIBUTES:
        return info, None
    attributes = der.members(parts[-1], _ATTRIBUTES)
    kinds = [next(iter(der.members(attribute)), b"") for attribute in attributes]
    if _ATTESTATION not in kinds:
        return info, None
    if kinds.count(_ATTESTATION) > 1:
        raise Malformed("id-aa-attestation appears twice")
    place = kinds.index(_ATTESTATION)
    match der.members(attributes[place]):
        case [_, values]:
            inside = _bundle(values)
        case _:
            raise Malformed("id-aa-attestation is not a type and its values")
    left = b"".join(attributes[:place] + attributes[place + 1 :])
    rest = der.element(der.SEQUENCE, b"".join([*parts[:-1], der.element(_ATTRIBUTES, left)]))
    return rest, inside


def _bundle(values: bytes) -> Inside:
    """One AttestationBundle of one statement, as its method's evidence. Raises Malformed."""
    match [der.members(bundle) for bundle in der.members(values, der.SET)]:
        case [[statements]]:
            certificates = []
        case [[statements, certs]]:
            certificates = der.members(certs)
        case _:
            raise Malformed("id-aa-attestation is not one bundle")
    match [der.members(statement) for statement in der.members(statements)]:
        case [[kind, statement]] if kind == _TPM_CERTIFY:
            structures = [der.content(item, der.OCTET_STRING) for item in der.members(statement)]
            return Inside("tpm2", cbor.encode([*structures, certificates]))
        case [[kind, statement]] if kind == _CMW and not certificates:
            match cbor.decode(der.content(statement, der.OCTET_STRING), maximum=MAX_CSR):
                case [_, bytes(token)] | [_, bytes(token), 4]:  # RFC 9999 §3.1: `ind` 4 is evidence
                    return Inside("psa-token", token)
    raise Malformed("id-aa-attestation holds no statement that a method reads")
