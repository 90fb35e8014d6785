"""Step 3 of issuance: the CSR (PKCS#10, RFC 2986). Only its public key goes further.

Accepted is strict DER of version v1, signed with its own key by an algorithm of the list, whose attributes
ask for nothing that a leaf may not have. One deviation is accepted and no other: NULL parameters in an
ECDSA AlgorithmIdentifier, which Mbed TLS 2.28 and the nRF91 modem write against RFC 5758 §3.2. The CSR's
signature covers CertificationRequestInfo alone, so a copy without them still verifies; digests are always
taken over the bytes that the board sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from signerd.core import der
from signerd.core.csr_attestation import ID_AA_ATTESTATION, CsrAttestation, take_attestation
from signerd.core.key_policy import PublicKey, WeakKeyError, check_key
from signerd.core.names import KeyType
from signerd.errors import Code, Refused

MAX_CSR_BYTES = 8192

_SPKI = 2  # CertificationRequestInfo is version, subject, subjectPKInfo, attributes (RFC 2986 §4.1)
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")  # RFC 2985 §5.4.2
_ATTRIBUTES = frozenset({_EXTENSION_REQUEST, x509.ObjectIdentifier(ID_AA_ATTESTATION)})
_ALGORITHMS = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)
# What boards' libraries put into an extensionRequest by themselves. It is looked at and then ignored.
_TOLERATED_EXTENSIONS = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    }
)
# All that the cryptography package raises for bytes that it does not like.
_PARSER_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# ecdsa-with-SHA256, -SHA384, -SHA512 (1.2.840.10045.4.3.{2,3,4}): SEQUENCE { OID } and { OID, NULL }.
_ECDSA_OIDS = tuple(bytes.fromhex("06082a8648ce3d0403") + bytes((arc,)) for arc in (2, 3, 4))
_WITHOUT_NULL = {der.sequence(oid, b"\x05\x00"): der.sequence(oid) for oid in _ECDSA_OIDS}


@dataclass(frozen=True, slots=True)
class VerifiedCsr:
    """A CSR that passed. Only `check_csr` makes it."""

    der: bytes  # as received
    sha256: bytes  # of `der`
    evidence_digest: bytes  # what the transcript holds of the CSR: `sha256`, unless evidence is inside it
    spki: bytes  # SubjectPublicKeyInfo, DER, in its one canonical form
    spki_sha256: bytes
    key: PublicKey
    key_type: KeyType
    attestation: CsrAttestation | None = None  # evidence that came inside it


def check_csr(data: bytes, *, accepted: tuple[KeyType, ...]) -> VerifiedCsr:
    """Checks a CSR to the letter.

    Args:
        data: as the station sent it.
        accepted: key types of the product.

    Raises:
        Refused: `csr_rejected` for its form or signature, `key_rejected` for its key.
    """
    if not 0 < len(data) <= MAX_CSR_BYTES:
        raise Refused(Code.CSR_REJECTED, f"{len(data)} bytes, allowed are 1 to {MAX_CSR_BYTES}")
    try:
        request = x509.load_der_x509_csr(_normalised(data))
        _check_form(request)
        key, key_type = check_key(request.public_key(), accepted)
        signed = request.is_signature_valid
        info = der.split_signed(data)[0]
        rest, attestation = take_attestation(info)
    except WeakKeyError as error:
        raise Refused(Code.KEY_REJECTED, str(error)) from error
    except _PARSER_ERRORS as error:
        raise Refused(Code.CSR_REJECTED, f"{type(error).__name__}: {error}") from error
    if not signed:
        raise Refused(Code.CSR_REJECTED, "the self-signature is wrong")
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # One key must have one digest: a compressed point or odd parameters would give it a second.
    if der.elements(der.content(info, der.SEQUENCE))[_SPKI] != spki:
        raise Refused(Code.KEY_REJECTED, "the SubjectPublicKeyInfo is not in its canonical form")
    digest = hashlib.sha256(data).digest()
    return VerifiedCsr(
        der=data,
        sha256=digest,
        evidence_digest=hashlib.sha256(rest).digest() if attestation else digest,
        spki=spki,
        spki_sha256=hashlib.sha256(spki).digest(),
        key=key,
        key_type=key_type,
        attestation=attestation,
    )


def _normalised(data: bytes) -> bytes:
    """The CSR, without NULL parameters in an ECDSA AlgorithmIdentifier.

    Raises:
        DerError: not the outer structure of a CSR.
    """
    info, algorithm, signature = der.split_signed(data)
    if algorithm in _WITHOUT_NULL:
        return der.sequence(info, _WITHOUT_NULL[algorithm], signature)
    return data


def _check_form(request: x509.CertificateSigningRequest) -> None:
    if request.signature_algorithm_oid not in _ALGORITHMS:
        raise ValueError("signature algorithm is not on the list")
    for attribute in request.attributes:
        if attribute.oid not in _ATTRIBUTES:
            raise ValueError(f"attribute {attribute.oid.dotted_string} is not allowed")
    for extension in request.extensions:
        if extension.oid not in _TOLERATED_EXTENSIONS:
            raise ValueError(f"extension {extension.oid.dotted_string} is not allowed")
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise ValueError("it asks for a CA certificate")
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign):
            raise ValueError("it asks for a CA's key usage")
