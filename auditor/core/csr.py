"""A board's CSR (PKCS#10, RFC 2986), as far as an auditor cares: whose key signed it, and what its evidence
is over.

One deviation is tolerated, which boards in the field show: NULL parameters in an ECDSA AlgorithmIdentifier
(against RFC 5758 §3.2). The signature does not cover that field.

Evidence may stand inside, in the attribute id-aa-attestation (docs/formats.md, "Evidence inside the CSR"). It
is then over the CertificationRequestInfo without that attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.core import cbor, der
from auditor.core.findings import Code
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
_ECDSA = bytes.fromhex("06082a8648ce3d0403")  # OID 1.2.840.10045.4.3.x, but its last byte
_NULL = b"\x05\x00"
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
    """Checks that the CSR is signed by its own key, and that this is the certified one (SPKI, DER).

    Raises:
        CheckFailed: CSR.
    """
    if not 0 < len(data) <= MAX_CSR:
        raise CheckFailed(Code.CSR, "the CSR's size", expected=f"1 to {MAX_CSR}", found=str(len(data)))
    try:
        info, algorithm, signature = _three(data)
        request = x509.load_der_x509_csr(
            der.element(der.SEQUENCE, info + _without_null(algorithm) + signature)
        )
        key = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signed = request.is_signature_valid
        rest, inside = _taken_out(info)
    except Malformed as error:
        raise CheckFailed(Code.CSR, f"the CSR: {error}") from error
    except X509_ERRORS as error:
        raise CheckFailed(Code.CSR, f"the CSR cannot be read: {type(error).__name__}") from error
    if key != spki:
        raise CheckFailed(Code.CSR, "the CSR is of another key than the certificate")
    if not signed:
        raise CheckFailed(Code.CSR, "the CSR's self-signature is wrong")
    return Csr(data, sha256(data if inside is None else rest).digest(), inside)


def _three(data: bytes) -> tuple[bytes, bytes, bytes]:
    match der.members(data):
        case [info, algorithm, signature]:
            return info, algorithm, signature
        case _:
            raise Malformed("not three elements")


def _without_null(algorithm: bytes) -> bytes:
    """An ECDSA AlgorithmIdentifier without NULL parameters; any other as it is."""
    body = der.content(algorithm, der.SEQUENCE)
    if len(body) == 12 and body.startswith(_ECDSA) and body.endswith(_NULL):
        return der.element(der.SEQUENCE, body[:-2])
    return algorithm


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
        raise Malformed("id-aa-attestation stands twice")
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
