"""The chain that certifies an attestation key (RFC 5280 §6.1).

A chain is one given path, leaf first, without the root. Each certificate is signed by the next, the last by
a root of the product; nothing is searched for, and nothing is to spare: no key stands in it twice, and no
root's does. What a certificate says that is not known here, and binds, is not passed over; a root's neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, SignatureAlgorithmOID

from auditor.core.certificate import load_certificate
from auditor.core.clock import IN_FLIGHT, SKEW
from auditor.core.csr import X509_ERRORS
from auditor.core.evidence.appraisal import false
from auditor.core.evidence.attestation_key import AttestationKey, allowed, spki_of
from auditor.core.forms import time_text
from auditor.errors import Malformed

MAX_CHAIN = 6
_MAX_SERIAL = 1 << 160  # 20 octets, RFC 5280 §4.1.2.2
_KNOWN_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
# Constraints on what follows in the path: not processed here, so not passed over either.
_CONSTRAINTS = frozenset({ExtensionOID.NAME_CONSTRAINTS, ExtensionOID.POLICY_CONSTRAINTS})
_SIGNATURES = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ED25519,
    }
)
_ATTRIBUTES = {"serialNumber": NameOID.SERIAL_NUMBER, "CN": NameOID.COMMON_NAME}

_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)


def check_chain(
    chain: Sequence[bytes],
    roots: Sequence[x509.Certificate],
    moment: datetime,
    *,
    purposes: Collection[x509.ObjectIdentifier],
    issuing: Collection[x509.ObjectIdentifier] = (),
    critical: Collection[x509.ObjectIdentifier] = (),
) -> list[x509.Certificate]:
    """Verifies a path to one of the roots, as it stood at `moment`; returns its certificates, leaf first.

    Args:
        chain: DER, leaf first.
        roots: the product's.
        moment: at which all were valid, the root too.
        purposes: of which an extendedKeyUsage has one, or any, where a certificate below the root has it.
        issuing: what that of a CA may have instead.
        critical: extensions that the method reads itself, in all but the root.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise false("the chain's length", f"1 to {MAX_CHAIN}", str(len(chain)))
    path = [_load(chain[0]), *(_load_ca(encoded) for encoded in chain[1:])]
    for certificate in path:
        _check_form(certificate)
        _check_extensions(certificate, critical)
    _check_nothing_to_spare(path, roots)
    root = _root_above(path[-1], roots, is_leaf=len(path) == 1)
    _check_extensions(root, ())
    _check_leaf(path[0])
    _check_purpose(path[0], purposes)
    for certificate in path[1:]:
        _check_purpose(certificate, {*purposes, *issuing})
    issuers = [*path[1:], root]
    for below, issuer in enumerate(issuers):
        _check_ca(issuer, below)
    # The root's signature over the last was found above.
    for depth, (certificate, issuer) in enumerate(zip(path[:-1], issuers, strict=False)):
        if not (_issued if depth == 0 else _issued_before)(certificate, issuer):
            raise false("a certificate of the chain is not signed by the next")
    for certificate in (*path, root):
        _check_time(certificate, moment)
    return path


def key_of(certificate: x509.Certificate) -> AttestationKey:
    """The certified key. Raises CheckFailed EVIDENCE_FALSE."""
    try:
        return allowed(certificate.public_key())
    except X509_ERRORS as error:
        raise false("a certified key cannot be read") from error


def extension_of(certificate: x509.Certificate, kind: type[_ExtensionT]) -> _ExtensionT | None:
    """The certificate's extension of this kind, if it has one."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_chip(leaf: x509.Certificate, attribute: str, chip_id: str) -> None:
    """Exactly one attribute of this kind stands in the subject, and names this chip. Raises CheckFailed."""
    named = [str(item.value) for item in leaf.subject.get_attributes_for_oid(_ATTRIBUTES[attribute])]
    if named != [chip_id]:
        raise false("the certificate is another chip's", chip_id, ", ".join(named) or "no name")


def _load(encoded: bytes) -> x509.Certificate:
    try:
        certificate = load_certificate(encoded)
        again = certificate.public_bytes(Encoding.DER)
    except (Malformed, *X509_ERRORS) as error:
        raise false(f"in the chain: {error}") from error
    if again != encoded:  # what is not DER is not one encoding of one certificate
        raise false("in the chain: a certificate is not DER")
    return certificate


# CAs stand above many chips: the same few would be read, and their signatures verified, for each.
_load_ca = lru_cache(maxsize=256)(_load)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Name and signature (RFC 5280 §6.1.3 a)."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *X509_ERRORS):
        return False
    return True


_issued_before = lru_cache(maxsize=256)(_issued)


def _check_form(certificate: x509.Certificate) -> None:
    """Version, serial number, and a signature algorithm that is still safe."""
    if certificate.version is not x509.Version.v3 or not 0 < certificate.serial_number < _MAX_SERIAL:
        raise false("a certificate of the chain is not of X.509 v3, or has no serial number of its form")
    if certificate.signature_algorithm_oid not in _SIGNATURES:
        raise false("a certificate of the chain is signed by an algorithm that is not allowed")


def _check_extensions(certificate: x509.Certificate, critical: Collection[x509.ObjectIdentifier]) -> None:
    oids = {extension.oid for extension in certificate.extensions}
    unknown = {extension.oid for extension in certificate.extensions if extension.critical} - _KNOWN_CRITICAL
    if unknown.difference(critical) or oids & _CONSTRAINTS:
        raise false("a certificate of the chain, or its root, has constraints that are not known here")


def _check_nothing_to_spare(path: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> None:
    keys = [spki_of(key_of(certificate)) for certificate in path]
    if len(set(keys)) != len(keys):
        raise false("a key stands twice in the chain")
    if not {spki_of(key_of(root)) for root in roots}.isdisjoint(keys):
        raise false("the chain has the key of a root of the product, which it leaves out")


def _root_above(
    last: x509.Certificate, roots: Sequence[x509.Certificate], *, is_leaf: bool
) -> x509.Certificate:
    issued = _issued if is_leaf else _issued_before
    for root in roots:
        if issued(last, root):
            return root
    raise false("the chain does not end at a root of the product")


def _check_ca(certificate: x509.Certificate, below: int) -> None:
    """A CA, which may have `below` CAs under it (RFC 5280 §4.2.1.9)."""
    constraints = extension_of(certificate, x509.BasicConstraints)
    usage = extension_of(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise false("an issuer in the chain is not a CA")
    if constraints.path_length is not None and constraints.path_length < below:
        raise false("the chain is longer than an issuer allows")


def _check_leaf(leaf: x509.Certificate) -> None:
    """A key that signs, and not certificates (RFC 5280 §4.2.1.3 and §4.2.1.9)."""
    constraints = extension_of(leaf, x509.BasicConstraints)
    usage = extension_of(leaf, x509.KeyUsage)
    signs = usage is None or (usage.digital_signature and not usage.key_cert_sign)
    if (constraints is not None and constraints.ca) or not signs:
        raise false("the attestation key's certificate is not for signing what a chip says")


def _check_purpose(certificate: x509.Certificate, purposes: Collection[x509.ObjectIdentifier]) -> None:
    usage = extension_of(certificate, x509.ExtendedKeyUsage)
    if usage is not None and {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, *purposes}.isdisjoint(usage):
        found = ", ".join(each.dotted_string for each in usage)
        raise false("a certificate of the chain is for another purpose", found=found)


def _check_time(certificate: x509.Certificate, moment: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begin - moment > SKEW or moment - end > IN_FLIGHT:
        window = f"{time_text(begin)} to {time_text(end)}"
        raise false("a certificate of the chain was not valid then", window, time_text(moment))
