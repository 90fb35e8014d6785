"""Attestation keys: what they sign with, and the chain that certifies them (RFC 5280 §6.1).

A chain is one given path, leaf first, without the root. Each certificate is signed by the next, the last by
a root of the product; nothing is searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtensionOID, NameOID

from auditor.core.certificate import load_certificate
from auditor.core.clock import IN_FLIGHT, SKEW
from auditor.core.csr import X509_ERRORS
from auditor.core.evidence.asked import false
from auditor.core.forms import time_text
from auditor.errors import Malformed

MAX_CHAIN = 6
_RSA_SIZES = range(2048, 4097)  # bits
TCB_INFO = x509.ObjectIdentifier("2.23.133.5.4.1")
MULTI_TCB_INFO = x509.ObjectIdentifier("2.23.133.5.4.5")
_KNOWN_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
        TCB_INFO,
        MULTI_TCB_INFO,
    }
)
# Constraints on what follows in the path: not processed here, so not passed over either.
_CONSTRAINTS = frozenset({ExtensionOID.NAME_CONSTRAINTS, ExtensionOID.POLICY_CONSTRAINTS})
_SAFE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_ATTRIBUTES = {"serialNumber": NameOID.SERIAL_NUMBER, "CN": NameOID.COMMON_NAME}

_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)

AttestationKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def load_key(spki: bytes) -> AttestationKey:
    """An attestation key from its SubjectPublicKeyInfo. Raises CheckFailed EVIDENCE_FALSE."""
    try:
        key = load_der_public_key(spki)
    except X509_ERRORS as error:
        raise false("the attestation key cannot be read") from error
    return _allowed(key)


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


def check_chain(
    chain: Sequence[bytes], roots: Sequence[x509.Certificate], moment: datetime
) -> list[x509.Certificate]:
    """Verifies a path to one of the roots, as it stood at `moment`; returns its certificates, leaf first.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise false("the chain's length", f"1 to {MAX_CHAIN}", str(len(chain)))
    path = [_load(encoded) for encoded in chain]
    if any(certificate in roots for certificate in path):
        raise false("the chain holds a root of the product, which it leaves out")
    if not all(
        _issued(certificate, issuer) if depth == 0 else _issued_before(certificate, issuer)
        for depth, (certificate, issuer) in enumerate(pairwise(path))
    ):
        raise false("a certificate of the chain is not signed by the next")
    last = _issued if len(path) == 1 else _issued_before
    root = next((root for root in roots if last(path[-1], root)), None)
    if root is None:
        raise false("the chain does not end at a root of the product")
    for below, issuer in enumerate([*path[1:], root]):
        _check_ca(issuer, below)
    for certificate in (*path, root):
        _check_extensions(certificate)
        _check_time(certificate, moment)
    _check_leaf(path[0])
    return path


def key_of(leaf: x509.Certificate) -> AttestationKey:
    """The certified key. Raises CheckFailed EVIDENCE_FALSE."""
    try:
        return _allowed(leaf.public_key())
    except X509_ERRORS as error:
        raise false("the certified attestation key cannot be read") from error


def check_chip(leaf: x509.Certificate, attribute: str, chip_id: str) -> None:
    """Exactly one attribute of this kind stands in the subject, and names this chip. Raises CheckFailed."""
    named = [str(item.value) for item in leaf.subject.get_attributes_for_oid(_ATTRIBUTES[attribute])]
    if named != [chip_id]:
        raise false("the certificate is another chip's", chip_id, ", ".join(named) or "no name")


def _load(encoded: bytes) -> x509.Certificate:
    try:
        return load_certificate(encoded)
    except Malformed as error:
        raise false(f"in the chain: {error}") from error


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Name and signature (RFC 5280 §6.1.3 a), by an algorithm that is still safe."""
    try:
        digest = certificate.signature_hash_algorithm
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *X509_ERRORS):
        return False
    return digest is None or isinstance(digest, _SAFE_HASHES)  # None: Ed25519 brings its own


# CAs stand above many chips: the same few signatures would be verified for each.
_issued_before = lru_cache(maxsize=256)(_issued)


def _check_ca(certificate: x509.Certificate, below: int) -> None:
    """A CA, which may have `below` CAs under it (RFC 5280 §4.2.1.9)."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise false("an issuer in the chain is not a CA")
    if constraints.path_length is not None and constraints.path_length < below:
        raise false("the chain is longer than an issuer allows")


def _check_leaf(leaf: x509.Certificate) -> None:
    constraints = _extension(leaf, x509.BasicConstraints)
    usage = _extension(leaf, x509.KeyUsage)
    if (constraints is not None and constraints.ca) or (usage is not None and not usage.digital_signature):
        raise false("the attestation key's certificate is not for signing what a chip says")


def _check_extensions(certificate: x509.Certificate) -> None:
    oids = {extension.oid for extension in certificate.extensions}
    unknown = {extension.oid for extension in certificate.extensions if extension.critical} - _KNOWN_CRITICAL
    if unknown or oids & _CONSTRAINTS:
        raise false("a certificate of the chain has constraints that are not known here")


def _check_time(certificate: x509.Certificate, moment: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begin - moment > SKEW or moment - end > IN_FLIGHT:
        window = f"{time_text(begin)} to {time_text(end)}"
        raise false("a certificate of the chain was not valid then", window, time_text(moment))


def _allowed(key: object) -> AttestationKey:
    match key:
        case ed25519.Ed25519PublicKey():
            return key
        case rsa.RSAPublicKey() if key.key_size in _RSA_SIZES:
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case _:
            raise false("an attestation key of a type that is not allowed")


def _extension(certificate: x509.Certificate, kind: type[_ExtensionT]) -> _ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
