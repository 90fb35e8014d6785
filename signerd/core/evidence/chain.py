"""Certificate chains of attestation keys: one given path, validated to a pinned root (RFC 5280 §6.1).

The certificates are the path, leaf first, in order and none to spare: nothing is searched for, fetched or
left over. Only the roots that the product names count, never the system's. Sizes, key types, key sizes and
signature algorithms are bounded before any signature is checked. Whatever the bytes, `EvidenceError` is all
that is raised.

The path is walked here, over certificates as `certificate.py` reads them; the cryptography package verifies
signatures over the bytes that were signed, and is asked for nothing else. Its own reader and verifier follow
the Web PKI: they refuse what chips' makers write and RFC 5280 lets a path have (docs/adr/0017).

    chain = validate_chain(certificates, rules.roots, now)
    chip = identify(chain, rules.chip_id)  # core/evidence/chip_rules.py
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signerd.core.evidence.certificate import (
    DIGITAL_SIGNATURE,
    KEY_CERT_SIGN,
    MAX_SERIAL_BITS,
    Certificate,
    basic_constraints,
    extended_key_usage,
    key_usage,
    read_certificate,
    same_name,
)
from signerd.core.evidence.errors import EvidenceError
from signerd.core.key_policy import PublicKey, WeakKeyError, check_quality
from signerd.core.signature_algorithms import ALGORITHMS, check_signature

MAX_CERTIFICATES = 6  # docs/formats.md, "Evidence transcript"
RSA_BITS = range(2048, 4096 + 1)
RSA_EXPONENT = 65537  # FIPS 186-5 §A.1.1 wants it above 2^16; others are refused to keep one form

AttestationKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

ANY_PURPOSE = "2.5.29.37.0"  # anyExtendedKeyUsage
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
# RFC 5280 §6.1.1: the path serves any policy, so that certificatePolicies never decides. subjectAltName only
# matters to name constraints, and those are refused. The others are processed below.
_KNOWN_CRITICAL = frozenset(
    {
        "2.5.29.19",  # basicConstraints
        "2.5.29.15",  # keyUsage
        "2.5.29.37",  # extKeyUsage
        "2.5.29.17",  # subjectAltName
        "2.5.29.32",  # certificatePolicies
    }
)
# nameConstraints and policyConstraints, on all that follows in the path. We do not process them, so we must
# not pass over them either, critical or not (RFC 5280 §4.2.1.10 and §4.2.1.11).
_REFUSED = frozenset({"2.5.29.30", "2.5.29.36"})
# The same few CAs stand above all boards: they are read, and the signatures on them verified, once.
_CAS_KEPT = 256


@dataclass(frozen=True, slots=True)
class ValidChain:
    """A path that held. Only `validate_chain` makes it, and `recorded_chain` makes it again."""

    certificates: tuple[Certificate, ...]  # leaf first, without the root
    root: Certificate  # the one of the product that it ends at
    key: AttestationKey  # of the leaf

    @property
    def leaf(self) -> Certificate:
        """The attestation key's certificate."""
        return self.certificates[0]

    @property
    def issuers(self) -> tuple[Certificate, ...]:
        """Above the leaf, each the issuer of the one before; the last is the root."""
        return (*self.certificates[1:], self.root)

    @property
    def leaf_spki(self) -> bytes:
        """SubjectPublicKeyInfo of the attestation key, DER, in its one canonical form."""
        return self.leaf.spki


def validate_chain(
    certificates: Sequence[bytes],
    roots: Sequence[Certificate],
    now: datetime,
    *,
    purposes: Collection[str] | None = (),
    issuing: Collection[str] = (),
    critical: Collection[str] = (),
    quality: Callable[[PublicKey], None] = check_quality,
) -> ValidChain:
    """The path from an attestation key's certificate to one of the roots.

    Args:
        certificates: DER, 1 to 6, the leaf first; each is issued by the next, the last by a root. The root
            itself is left out.
        roots: pinned by the product.
        now: aware, UTC; must lie in the validity of each certificate and of the root.
        purposes: extended key usages of which the leaf must have one, if it has any (RFC 5280 §4.2.1.12);
            anyExtendedKeyUsage is always one of them. OIDs, dotted, as in the next two. None: the leaf may be
            for anything.
        issuing: extended key usages that a CA of the chain may have instead. A CA that is for other purposes
            alone, web servers for one, certifies no attestation key. What the root is for its pinning says.
        critical: extensions that the caller processes itself, in every certificate of the chain, so that they
            may be critical.
        quality: called with each key of the chain but Ed25519's, when all else is right; raises WeakKeyError.

    Raises:
        EvidenceError: no such path.
    """
    if not 1 <= len(certificates) <= MAX_CERTIFICATES:
        raise EvidenceError(f"a chain has 1 to {MAX_CERTIFICATES} certificates")
    read = [_read(certificates[0]), *(_read_ca(der) for der in certificates[1:])]
    path = tuple(certificate for certificate, _ in read)
    keys = [key for _, key in read]
    known = _KNOWN_CRITICAL | frozenset(critical)
    for certificate in path:
        _check_basics(certificate)
        _check_extensions(certificate, known)
    _check_nothing_to_spare(path, roots)
    _check_leaf(path[0], purposes)
    for certificate in path[1:]:
        _check_purpose(certificate, (*(purposes or ()), *issuing), "an issuer's")
    for certificate, issuer in pairwise(path):
        _check_issued(certificate, issuer, is_leaf=certificate is path[0])
    root = _root_of(path[-1], roots, is_leaf=len(path) == 1)
    check_root(root)
    _check_issuers((*path[1:], root))
    for certificate in (*path, root):
        _check_time(certificate, now)
    # Last: it costs most, and keys that no vendor certified are not worth it.
    for key in keys:
        _check_quality(key, quality)
    return ValidChain(path, root, keys[0])


def recorded_chain(certificates: Sequence[bytes], roots: Sequence[Certificate]) -> ValidChain:
    """A path that `validate_chain` judged when its evidence was recorded: read again, without a clock.

    Args:
        certificates: as recorded.
        roots: of the product's revision of then.

    Raises:
        EvidenceError: they are no certificates, or of no path to one of these roots.
    """
    if not 1 <= len(certificates) <= MAX_CERTIFICATES:
        raise EvidenceError(f"a chain has 1 to {MAX_CERTIFICATES} certificates")
    path = tuple(read_certificate(der) for der in certificates)
    root = _root_of(path[-1], roots, is_leaf=len(path) == 1)
    return ValidChain(path, root, load_key(path[0]))


def load_key(certificate: Certificate) -> AttestationKey:
    """The certified key, of a type and size that attestation may use, which bounds what a signature costs to
    check.

    Raises:
        EvidenceError: another type, curve, size or exponent, or no key at all.
    """
    try:
        key = load_der_public_key(certificate.spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EvidenceError(f"a certified key cannot be read: {error}") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        if key.public_numbers().e != RSA_EXPONENT:
            raise EvidenceError(f"the RSA exponent is not {RSA_EXPONENT}")
        return key
    raise EvidenceError("a key is neither P-256, P-384, P-521, Ed25519 nor RSA of 2048 to 4096 bits")


def check_root(root: Certificate) -> None:
    """That a root demands nothing of its chains that is not processed here.

    Raises:
        EvidenceError: name or policy constraints, or an unknown critical extension.
    """
    _check_extensions(root, _KNOWN_CRITICAL)


def check_is_ca(certificate: Certificate) -> int | None:
    """That it may sign certificates (RFC 5280 §6.1.4 (k) and (n)); returns its path length, None for any.

    Raises:
        EvidenceError: it is no CA, or its key is not for certificates.
    """
    constraints = basic_constraints(certificate)
    if constraints is None or not constraints[0]:
        raise EvidenceError("an issuer is no CA")
    usage = key_usage(certificate)
    if usage is not None and KEY_CERT_SIGN not in usage:
        raise EvidenceError("an issuer's key usage does not allow signing certificates")
    return constraints[1]


def _read(der: bytes) -> tuple[Certificate, AttestationKey]:
    certificate = read_certificate(der)
    key = load_key(certificate)
    # One key must have one digest: a compressed point or odd parameters would give it a second.
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != certificate.spki:
        raise EvidenceError("a certified key is not in its canonical form")
    return certificate, key


_read_ca = lru_cache(maxsize=_CAS_KEPT)(_read)
_key_of_ca = lru_cache(maxsize=_CAS_KEPT)(load_key)


def _check_quality(key: AttestationKey, quality: Callable[[PublicKey], None]) -> None:
    """Secure elements had ROCA too (CVE-2017-15361), and who finds a key signs for its chip or its CA."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return
    try:
        quality(key)
    except WeakKeyError as error:
        raise EvidenceError(f"a certified key is weak: {error}") from error


def _check_basics(certificate: Certificate) -> None:
    """Version, serial number and signature algorithm."""
    if certificate.version != 3:
        raise EvidenceError("a certificate is not of X.509 v3")
    if certificate.serial.bit_length() > MAX_SERIAL_BITS:
        raise EvidenceError("a certificate's serial number is too long")
    if certificate.algorithm not in ALGORITHMS:
        raise EvidenceError("a certificate's signature algorithm is not accepted")


def _check_extensions(certificate: Certificate, known: frozenset[str]) -> None:
    """Extensions that we must not pass over."""
    for oid, extension in certificate.extensions.items():
        if oid in _REFUSED:
            raise EvidenceError(f"a certificate has an extension that is not supported: {oid}")
        # RFC 5280 §4.2: a critical extension that is not processed means no.
        if extension.critical and oid not in known:
            raise EvidenceError(f"a certificate has an unknown critical extension: {oid}")


def _check_nothing_to_spare(path: Sequence[Certificate], roots: Sequence[Certificate]) -> None:
    """No key twice, and no root's: a certificate below another one is then needed for the path.

    A leaf that is itself a root would need no issuer, and a root in the middle would make the rest of the
    path a matter of the sender's choice.
    """
    pinned = {_spki(_key_of_ca(root)) for root in roots}
    spkis = {certificate.spki for certificate in path}
    if len(spkis) != len(path):
        raise EvidenceError("a key appears twice in the chain")
    if not pinned.isdisjoint(spkis):
        raise EvidenceError("the chain has a root's key in it")


def _spki(key: AttestationKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _root_of(last: Certificate, roots: Sequence[Certificate], *, is_leaf: bool) -> Certificate:
    """The root that issued the last certificate; roots of one name may have several keys."""
    for root in roots:
        if same_name(root.subject, last.issuer) and _is_signed(last, root, is_leaf=is_leaf):
            return root
    raise EvidenceError("the chain does not end at a pinned root")


def _check_issued(certificate: Certificate, issuer: Certificate, *, is_leaf: bool) -> None:
    """Name and signature (RFC 5280 §6.1.3 (a) (1) and (4))."""
    if not same_name(certificate.issuer, issuer.subject):
        raise EvidenceError("a certificate's issuer is not the next one in the chain")
    if not _is_signed(certificate, issuer, is_leaf=is_leaf):
        raise EvidenceError("a certificate's signature does not verify")


def _is_signed(certificate: Certificate, issuer: Certificate, *, is_leaf: bool) -> bool:
    return (_verify if is_leaf else _verify_once)(certificate, issuer)


def _verify(certificate: Certificate, issuer: Certificate) -> bool:
    key = _key_of_ca(issuer)
    try:
        check_signature(key, certificate.algorithm, certificate.signature, certificate.tbs)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):  # also an algorithm of another type of key
        return False
    return True


_verify_once = lru_cache(maxsize=_CAS_KEPT)(_verify)


def _check_leaf(leaf: Certificate, purposes: Collection[str] | None) -> None:
    constraints = basic_constraints(leaf)
    if constraints is not None and constraints[0]:
        raise EvidenceError("the leaf is a CA")
    usage = key_usage(leaf)
    # RFC 5280 §4.2.1.3 and §4.2.1.9: a key that signs other things than certificates, and not certificates.
    if usage is not None and (DIGITAL_SIGNATURE not in usage or KEY_CERT_SIGN in usage):
        raise EvidenceError("the leaf's key usage does not allow signing, or allows signing certificates")
    if purposes is not None:
        _check_purpose(leaf, purposes, "the leaf's")


def _check_purpose(certificate: Certificate, purposes: Collection[str], whose: str) -> None:
    extended = extended_key_usage(certificate)
    if extended is not None and extended.isdisjoint({ANY_PURPOSE, *purposes}):
        raise EvidenceError(f"{whose} extended key usage is for another purpose")


def _check_issuers(issuers: Sequence[Certificate]) -> None:
    """Each may sign certificates, and has no more CAs below it than it allows (RFC 5280 §6.1.4 (k) to (n)).

    Self-issued ones are not counted (l). What the root says of itself counts, which §6.1 leaves open.
    """
    below = 0
    for issuer in issuers:
        path_length = check_is_ca(issuer)
        if path_length is not None and below > path_length:
            raise EvidenceError("the chain is longer than an issuer allows")
        below += not same_name(issuer.issuer, issuer.subject)


def _check_time(certificate: Certificate, now: datetime) -> None:
    # RFC 5280 §4.1.2.5: both ends are inside; 99991231235959Z means that there is no end.
    if not certificate.not_before <= now.replace(microsecond=0) <= certificate.not_after:
        raise EvidenceError("a certificate is expired or not yet valid")
