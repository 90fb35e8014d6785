"""The chain that certifies an attestation key (RFC 5280 §6.1).

A chain is one given path, leaf first, without the root. Each certificate is signed by the next, the last by
a root of the product. No other path is searched for. A chain has no certificate to spare: no key stands in
it twice, and none is a root's.

An unknown critical extension is refused, in a root's certificate too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from auditor.core import der
from auditor.core.clock import IN_FLIGHT, SKEW
from auditor.core.csr import X509_ERRORS
from auditor.core.evidence.appraisal import false
from auditor.core.evidence.attestation_key import AttestationKey, load_key, spki_of
from auditor.core.evidence.certificate import (
    Certificate,
    basic_constraints,
    extended_key_usage,
    key_usage,
    read_certificate,
    same_name,
)
from auditor.core.forms import time_text
from auditor.errors import Malformed

MAX_CHAIN = 6
_SERIAL_BITS = 160  # 20 octets, RFC 5280 §4.1.2.2
_DIGITAL_SIGNATURE, _KEY_CERT_SIGN = 0, 5  # bits of keyUsage
_ANY_PURPOSE = "2.5.29.37.0"
# basicConstraints, keyUsage, extKeyUsage, subjectAltName, certificatePolicies
_KNOWN_CRITICAL = frozenset({"2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.32"})
# Constraints of names and of policies on what follows in the path: not processed here, so not passed over.
_CONSTRAINTS = frozenset({"2.5.29.30", "2.5.29.36"})
_HASHES = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
# ecdsa-with-SHA256, -384, -512; sha256WithRSAEncryption, -384, -512. Parameters are NULL or absent with both:
# what firmware certifies often has them the other way round. Ed25519 has none.
_ECDSA = {bytes.fromhex(f"06082a8648ce3d04030{arc}"): digest for arc, digest in enumerate(_HASHES, 2)}
_RSA = {bytes.fromhex(f"06092a864886f70d01010{arc:x}"): digest for arc, digest in enumerate(_HASHES, 11)}
_ED25519 = bytes.fromhex("300506032b6570")
_NULL = b"\x05\x00"


def check_chain(
    chain: Sequence[bytes],
    roots: Sequence[Certificate],
    moment: datetime,
    *,
    purposes: Collection[str] | None,
    issuing: Collection[str] = (),
    critical: Collection[str] = (),
) -> list[Certificate]:
    """Verifies a path to one of the roots, as it stood at `moment`; returns its certificates, leaf first.

    Args:
        chain: DER, leaf first.
        roots: the product's.
        moment: at which all were valid, the root too.
        purposes: of which an extendedKeyUsage has one, or any, where a certificate below the root has it;
            None: the leaf may be for anything.
        issuing: what that of a CA may have instead.
        critical: extensions that the method reads itself, in all but the root.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise false("the chain's length", f"1 to {MAX_CHAIN}", str(len(chain)))
    try:
        path = [read_certificate(chain[0]), *(_read_ca(encoded) for encoded in chain[1:])]
        root = _walked(path, roots, purposes, {*(purposes or ()), *issuing}, critical)
    except Malformed as error:
        raise false(f"in the chain: {error}") from error
    for certificate in (*path, root):
        _check_time(certificate, moment)
    return path


# CAs stand above many chips: the same few would be read, and their signatures verified, for each.
_read_ca = lru_cache(maxsize=256)(read_certificate)


def _walked(
    path: Sequence[Certificate],
    roots: Sequence[Certificate],
    purposes: Collection[str] | None,
    of_issuers: Collection[str],
    critical: Collection[str],
) -> Certificate:
    """The root that the path ends at; all but the times hold. Raises CheckFailed, Malformed."""
    for certificate in path:
        _check_form(certificate)
        _check_extensions(certificate, critical)
    _check_nothing_to_spare(path, roots)
    root = _root_above(path[-1], roots, is_leaf=len(path) == 1)
    _check_extensions(root, ())
    _check_leaf(path[0])
    if purposes is not None:
        _check_purpose(path[0], purposes)
    for certificate in path[1:]:
        _check_purpose(certificate, of_issuers)
    issuers = [*path[1:], root]
    _check_cas(issuers)
    # The root's signature over the last was found above.
    for depth, (certificate, issuer) in enumerate(zip(path[:-1], issuers, strict=False)):
        if not (_issued if depth == 0 else _issued_before)(certificate, issuer):
            raise false("a certificate of the chain is not signed by the next")
    return root


def key_of(certificate: Certificate) -> AttestationKey:
    """The certified key. Raises CheckFailed EVIDENCE_FALSE."""
    return load_key(certificate.spki)


def issuers_of(path: Sequence[Certificate], roots: Sequence[Certificate]) -> list[Certificate]:
    """Of each certificate of a verified path its issuer, the root last. Raises CheckFailed EVIDENCE_FALSE."""
    return [*path[1:], _root_above(path[-1], roots, is_leaf=len(path) == 1)]


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    """Name and signature (RFC 5280 §6.1.3 a)."""
    if not same_name(certificate.issuer, issuer.subject):
        return False
    oid, bare = _algorithm(certificate)
    signature, signed = certificate.signature, certificate.tbs
    try:
        match _key_of_ca(issuer):
            case ec.EllipticCurvePublicKey() as key if bare and oid in _ECDSA:
                key.verify(signature, signed, ec.ECDSA(_ECDSA[oid]))
            case rsa.RSAPublicKey() as key if bare and oid in _RSA:
                key.verify(signature, signed, padding.PKCS1v15(), _RSA[oid])
            case ed25519.Ed25519PublicKey() as key if certificate.algorithm == _ED25519:
                key.verify(signature, signed)
            case _:
                return False
    except (InvalidSignature, *X509_ERRORS):
        return False
    return True


def _algorithm(certificate: Certificate) -> tuple[bytes, bool]:
    """The OID element, and whether parameters are absent or NULL. Raises Malformed."""
    match der.members(certificate.algorithm):
        case [oid]:
            return oid, True
        case [oid, parameters]:
            return oid, parameters == _NULL
        case _:
            raise Malformed("a certificate's algorithm is not of the form")


_issued_before = lru_cache(maxsize=256)(_issued)
_key_of_ca = lru_cache(maxsize=256)(key_of)


def _check_form(certificate: Certificate) -> None:
    """Version, serial number, a signature algorithm that is still safe, and a key in its one form."""
    if certificate.version != 3 or certificate.serial.bit_length() > _SERIAL_BITS:
        raise false("a certificate of the chain is not of X.509 v3, or its serial number is too long")
    oid, bare = _algorithm(certificate)
    if certificate.algorithm != _ED25519 and not (bare and (oid in _ECDSA or oid in _RSA)):
        raise false("a certificate of the chain is signed by an algorithm that is not allowed")
    if spki_of(key_of(certificate)) != certificate.spki:
        raise false("a key in the chain is not in its one form")


def _check_extensions(certificate: Certificate, critical: Collection[str]) -> None:
    found = certificate.extensions
    unknown = {oid for oid, extension in found.items() if extension.critical} - _KNOWN_CRITICAL
    if unknown.difference(critical) or not _CONSTRAINTS.isdisjoint(found):
        raise false("a certificate of the chain, or its root, has constraints that are not known here")


def _check_nothing_to_spare(path: Sequence[Certificate], roots: Sequence[Certificate]) -> None:
    keys = {certificate.spki for certificate in path}
    if len(keys) != len(path):
        raise false("a key appears twice in the chain")
    if not {spki_of(_key_of_ca(root)) for root in roots}.isdisjoint(keys):
        raise false("the chain has the key of a root of the product, which it leaves out")


def _root_above(last: Certificate, roots: Sequence[Certificate], *, is_leaf: bool) -> Certificate:
    issued = _issued if is_leaf else _issued_before
    for root in roots:
        if issued(last, root):
            return root
    raise false("the chain does not end at a root of the product")


def _check_cas(issuers: Sequence[Certificate]) -> None:
    """Each is a CA, and has no more CAs under it than it allows (RFC 5280 §4.2.1.9). One that issued itself a
    certificate is not counted (§6.1.4 l)."""
    below = 0
    for certificate in issuers:
        constraints = basic_constraints(certificate)
        usage = key_usage(certificate)
        if constraints is None or not constraints[0] or (usage is not None and _KEY_CERT_SIGN not in usage):
            raise false("an issuer in the chain is not a CA")
        if constraints[1] is not None and constraints[1] < below:
            raise false("the chain is longer than an issuer allows")
        if not same_name(certificate.subject, certificate.issuer):
            below += 1


def _check_leaf(leaf: Certificate) -> None:
    """A key that signs, and not certificates (RFC 5280 §4.2.1.3 and §4.2.1.9)."""
    constraints = basic_constraints(leaf)
    usage = key_usage(leaf)
    signs = usage is None or (_DIGITAL_SIGNATURE in usage and _KEY_CERT_SIGN not in usage)
    if (constraints is not None and constraints[0]) or not signs:
        raise false("the attestation key's certificate is not for signing what a chip says")


def _check_purpose(certificate: Certificate, purposes: Collection[str]) -> None:
    usage = extended_key_usage(certificate)
    if usage is not None and usage.isdisjoint({_ANY_PURPOSE, *purposes}):
        raise false("a certificate of the chain is for another purpose", found=", ".join(sorted(usage)))


def _check_time(certificate: Certificate, moment: datetime) -> None:
    begin, end = certificate.not_before, certificate.not_after
    if begin - moment > SKEW or moment - end > IN_FLIGHT:
        window = f"{time_text(begin)} to {time_text(end)}"
        raise false("a certificate of the chain was not valid then", window, time_text(moment))
