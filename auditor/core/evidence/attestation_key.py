"""Attestation keys: which are allowed, and what they sign with.

Allowed are P-256, P-384, P-521, Ed25519, and RSA of 2048 to 4096 bits with e = 65537. Whether anyone could
guess or compute the private half is not looked at (docs/auditing.md, "What an auditor cannot verify").
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from auditor.core.csr import X509_ERRORS
from auditor.core.evidence.appraisal import false

_RSA_SIZES = range(2048, 4097)  # bits
_RSA_EXPONENT = 65_537  # the one form that signerd accepts, too (FIPS 186-5 §A.1.1)
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}

AttestationKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def load_key(spki: bytes) -> AttestationKey:
    """An attestation key from its SubjectPublicKeyInfo. Raises CheckFailed EVIDENCE_FALSE."""
    try:
        key = load_der_public_key(spki)
    except X509_ERRORS as error:
        raise false("the attestation key cannot be read") from error
    return allowed(key)


def allowed(key: object) -> AttestationKey:
    """The key, if it is of a kind that attests. Raises CheckFailed EVIDENCE_FALSE."""
    match key:
        case ed25519.Ed25519PublicKey():
            return key
        case rsa.RSAPublicKey() if key.key_size in _RSA_SIZES and key.public_numbers().e == _RSA_EXPONENT:
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case _:
            raise false("an attestation key, or that of a CA above it, is of a kind that is not allowed")


def spki_of(key: AttestationKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_signature(key: AttestationKey, signature: bytes, data: bytes) -> None:
    """The key's type decides the algorithm, and nothing else does. Raises CheckFailed EVIDENCE_FALSE."""
    try:
        match key:
            case ed25519.Ed25519PublicKey():
                key.verify(signature, data)
            case rsa.RSAPublicKey():
                key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            case _:
                key.verify(signature, data, ec.ECDSA(_CURVES[key.curve.name]))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise false("the attestation key did not sign the transcript") from error
