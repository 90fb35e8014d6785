"""Certificate chains of attestation keys: one given path, validated to a pinned root (RFC 5280 §6.1).

The certificates are the path, leaf first, in order and none to spare: nothing is searched for, fetched or
left over. Only the roots that the product names count, never the system's. Sizes, key types, key sizes and
signature algorithms are bounded before any signature is checked. Whatever the bytes, `EvidenceError` is all
that is raised.

The path is walked here, and then shown to the verifier of the cryptography package as well. The walk is
needed because that verifier refuses two things that genuine chips do, and has no setting for either: a
critical extension that it does not know (RFC 5280 §4.2; the TCG DICE Attestation Architecture lets TcbInfo be
critical, §6.1), and CA keys of Ed25519 (RFC 8410). A path with one of them is judged by the walk alone.

    chain = validate_chain(certificates, rules.roots, now)
    if chip_id_of(chain.leaf, rules.chip_id) != request.chip_id: ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, SignatureAlgorithmOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from signerd.core.der import DerError, split_signed
from signerd.core.evidence.method import EvidenceError
from signerd.core.key_policy import WeakKeyError, check_quality
from signerd.core.names import is_chip_id

MAX_CERTIFICATES = 6  # docs/formats.md, "Evidence transcript"
MAX_CERTIFICATE_BYTES = 8192  # half of what evidence may have in all
MAX_SERIAL_BITS = 160  # 20 octets, RFC 5280 §4.1.2.2
RSA_BITS = range(2048, 4096 + 1)
RSA_EXPONENT = 65537  # FIPS 186-5 §A.1.1 wants it above 2^16; others are refused to keep one form

AttestationKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
# SHA-1 and MD5 collide; RSASSA-PSS, DSA, Ed448 and SHA-3 are not what chips' vendors sign with.
_SIGNATURE_ALGORITHMS = frozenset(
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
# RFC 5280 §6.1.1: the path serves any policy, so that certificatePolicies never decides. subjectAltName only
# matters to name constraints, and those are refused. The others are processed below.
_KNOWN_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
# Constraints on all that follows in the path. We do not process them, so we must not pass over them either,
# critical or not (RFC 5280 §4.2.1.10 and §4.2.1.11).
_REFUSED = (ExtensionOID.NAME_CONSTRAINTS, ExtensionOID.POLICY_CONSTRAINTS)
_NAME_OIDS = {"serialNumber": NameOID.SERIAL_NUMBER, "CN": NameOID.COMMON_NAME}
# What reading and comparing a certificate raises; several are plain Exceptions of the package.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class ValidChain:
    """A path that held. Only `validate_chain` makes it."""

    certificates: tuple[x509.Certificate, ...]  # leaf first, without the root
    key: AttestationKey  # of the leaf

    @property
    def leaf(self) -> x509.Certificate:
        """The attestation key's certificate."""
        return self.certificates[0]

    @property
    def leaf_spki(self) -> bytes:
        """SubjectPublicKeyInfo of the attestation key, DER."""
        return _spki(self.key)


def validate_chain(
    certificates: Sequence[bytes],
    roots: Sequence[x509.Certificate],
    now: datetime,
    *,
    purposes: Collection[x509.ObjectIdentifier] = (),
    issuing: Collection[x509.ObjectIdentifier] = (),
    critical: Collection[x509.ObjectIdentifier] = (),
) -> ValidChain:
    """The path from an attestation key's certificate to one of the roots.

    Args:
        certificates: DER, 1 to 6, the leaf first; each is issued by the next, the last by a root. The root
            itself is left out.
        roots: pinned by the product.
        now: aware, UTC; must lie in the validity of each certificate and of the root.
        purposes: extended key usages of which the leaf must have one, if it has any (RFC 5280 §4.2.1.12);
            anyExtendedKeyUsage is always one of them.
        issuing: extended key usages that a CA of the chain may have instead. A CA that is for other purposes
            alone, web servers for one, certifies no attestation key. What the root is for its pinning says.
        critical: extensions that the caller processes itself, in every certificate of the chain, so that they
            may be critical.

    Raises:
        EvidenceError: no such path.
    """
    if not 1 <= len(certificates) <= MAX_CERTIFICATES:
        raise EvidenceError(f"a chain has 1 to {MAX_CERTIFICATES} certificates")
    with _unreadable_is_an_evidence_error():
        path = tuple(_parse(der) for der in certificates)
        keys = [_key(certificate) for certificate in path]
        known = _KNOWN_CRITICAL | frozenset(critical)
        for certificate in path:
            _check_basics(certificate)
            _check_extensions(certificate, known)
        _check_nothing_to_spare(keys, roots)
        root = _root_of(path[-1], roots)
        check_root(root)
        _check_leaf(path[0], purposes)
        for certificate in path[1:]:
            _check_purpose(certificate, (*purposes, *issuing), "an issuer's")
        for below, issuer in enumerate((*path[1:], root)):
            _check_issuer(issuer, below)
            if issuer is not root:  # whose signature `_root_of` verified
                path[below].verify_directly_issued_by(issuer)
        for certificate in (*path, root):
            _check_time(certificate, now)
        _ask_the_package(path, root, now)
        # Last: it costs most, and keys that no vendor certified are not worth it.
        for key in keys:
            _check_quality(key)
    return ValidChain(path, keys[0])


def chip_id_of(leaf: x509.Certificate, attribute: Literal["serialNumber", "CN"]) -> str:
    """The chip id that the certificate names: the one attribute of this kind in its subject.

    Raises:
        EvidenceError: no such attribute, several, or one that is not of a chip id's form.
    """
    with _unreadable_is_an_evidence_error():
        values = [item.value for item in leaf.subject.get_attributes_for_oid(_NAME_OIDS[attribute])]
    if len(values) != 1:
        raise EvidenceError(f"the subject has {len(values)} attributes {attribute}, not one")
    value = values[0]
    if not isinstance(value, str) or not is_chip_id(value):
        raise EvidenceError(f"the subject's {attribute} is not a chip id")
    return value


def check_key(key: object) -> AttestationKey:
    """A key of a type and size that attestation may use, which bounds what a signature costs to check.

    Raises:
        EvidenceError: another type, curve, size or exponent.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        if key.public_numbers().e != RSA_EXPONENT:
            raise EvidenceError(f"the RSA exponent is not {RSA_EXPONENT}")
        return key
    raise EvidenceError("a key is neither P-256, P-384, P-521, Ed25519 nor RSA of 2048 to 4096 bits")


def check_root(root: x509.Certificate) -> None:
    """That a root demands nothing of its chains that is not processed here.

    The package would hold them against a path, but it is not asked for every path, and for which ones is in
    the sender's hands.

    Raises:
        EvidenceError: name or policy constraints, or an unknown critical extension.
    """
    with _unreadable_is_an_evidence_error():
        _check_extensions(root, _KNOWN_CRITICAL)


def extension_of(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    """The certificate's extension of this kind, if it has one. Raises one of `UNREADABLE`."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


@contextmanager
def _unreadable_is_an_evidence_error() -> Iterator[None]:
    try:
        yield
    except EvidenceError:
        raise
    except InvalidSignature as error:
        raise EvidenceError("a certificate's signature does not verify") from error
    except VerificationError as error:
        raise EvidenceError(f"the chain does not verify: {error}") from error
    except UNREADABLE as error:
        raise EvidenceError(f"a certificate cannot be read: {error}") from error


def _parse(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise EvidenceError(f"a certificate has more than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        # The signature covers the first part alone; of the rest, no byte may be free to choose.
        split_signed(der)
    except DerError as error:
        raise EvidenceError(f"a certificate is not DER: {error}") from error
    certificate = x509.load_der_x509_certificate(der)
    # The package checks signatures over its own encoding of what it read: that must be what was sent.
    if certificate.public_bytes(Encoding.DER) != der:
        raise EvidenceError("a certificate is not DER")
    return certificate


def _key(certificate: x509.Certificate) -> AttestationKey:
    return check_key(certificate.public_key())


def _check_quality(key: AttestationKey) -> None:
    """Secure elements had ROCA too (CVE-2017-15361), and who finds a key signs for its chip or its CA."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return
    try:
        check_quality(key)
    except WeakKeyError as error:
        raise EvidenceError(f"a certified key is weak: {error}") from error


def _spki(key: AttestationKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_basics(certificate: x509.Certificate) -> None:
    """Version, serial number and signature algorithm."""
    if certificate.version is not x509.Version.v3:
        raise EvidenceError("a certificate is not of X.509 v3")
    if not 0 < certificate.serial_number < 1 << MAX_SERIAL_BITS:
        raise EvidenceError("a certificate's serial number is not positive, or too long")
    if certificate.signature_algorithm_oid not in _SIGNATURE_ALGORITHMS:
        raise EvidenceError("a certificate's signature algorithm is not accepted")


def _check_extensions(certificate: x509.Certificate, known: frozenset[x509.ObjectIdentifier]) -> None:
    """Extensions that we must not pass over."""
    for extension in certificate.extensions:
        if extension.oid in _REFUSED:
            raise EvidenceError(f"a certificate has an extension that is not supported: {extension.oid}")
        # RFC 5280 §4.2: a critical extension that is not processed means no.
        if extension.critical and extension.oid not in known:
            raise EvidenceError(f"a certificate has an unknown critical extension: {extension.oid}")


def _check_nothing_to_spare(keys: Sequence[AttestationKey], roots: Sequence[x509.Certificate]) -> None:
    """No key twice, and no root's: a certificate below another one is then needed for the path.

    A leaf that is itself a root would need no issuer, and a root in the middle would make the rest of the
    path a matter of the sender's choice.
    """
    pinned = {_spki(_key(root)) for root in roots}
    spkis = [_spki(key) for key in keys]
    if len(set(spkis)) != len(spkis):
        raise EvidenceError("a key stands twice in the chain")
    if not pinned.isdisjoint(spkis):
        raise EvidenceError("the chain has a root's key in it")


def _root_of(last: x509.Certificate, roots: Sequence[x509.Certificate]) -> x509.Certificate:
    """The root that signed the last certificate."""
    for root in roots:
        if root.subject == last.issuer:
            try:
                last.verify_directly_issued_by(root)
            except (InvalidSignature, ValueError):
                continue  # roots of one name with several keys, also of other types
            return root
    raise EvidenceError("the chain does not end at a pinned root")


def _check_leaf(leaf: x509.Certificate, purposes: Collection[x509.ObjectIdentifier]) -> None:
    constraints = extension_of(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise EvidenceError("the leaf is a CA")
    usage = extension_of(leaf, x509.KeyUsage)
    # RFC 5280 §4.2.1.3 and §4.2.1.9: a key that signs other things than certificates, and not certificates.
    if usage is not None and (not usage.digital_signature or usage.key_cert_sign):
        raise EvidenceError("the leaf's key usage does not allow signing, or allows signing certificates")
    _check_purpose(leaf, purposes, "the leaf's")


def _check_purpose(
    certificate: x509.Certificate, purposes: Collection[x509.ObjectIdentifier], whose: str
) -> None:
    extended = extension_of(certificate, x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, *purposes}
    if extended is not None and allowed.isdisjoint(extended):
        raise EvidenceError(f"{whose} extended key usage is for another purpose")


def _check_issuer(issuer: x509.Certificate, below: int) -> None:
    """RFC 5280 §6.1.4 (k) to (n), for the root too.

    Args:
        issuer: of the next certificate in the path.
        below: CA certificates between it and the leaf. Self-issued ones count as well, which is stricter.
    """
    constraints = extension_of(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise EvidenceError("an issuer is no CA")
    if constraints.path_length is not None and below > constraints.path_length:
        raise EvidenceError("the chain is longer than an issuer allows")
    usage = extension_of(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise EvidenceError("an issuer's key usage does not allow signing certificates")


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    # RFC 5280 §4.1.2.5: both ends are inside; 99991231235959Z means that there is no end.
    if not certificate.not_valid_before_utc <= now.replace(microsecond=0) <= certificate.not_valid_after_utc:
        raise EvidenceError("a certificate is expired or not yet valid")


def _ask_the_package(path: Sequence[x509.Certificate], root: x509.Certificate, now: datetime) -> None:
    """The package's own verifier, where it can judge (see the module's docstring)."""
    unjudged = any(isinstance(issuer.public_key(), ed25519.Ed25519PublicKey) for issuer in (*path[1:], root))
    if unjudged or any(
        extension.critical and extension.oid not in _KNOWN_CRITICAL
        for certificate in path
        for extension in certificate.extensions
    ):
        return
    # The defaults are the Web PKI's: an alternative name, an authority key identifier, TLS purposes. A chip's
    # certificate need have none of these; what it must have is checked by the walk.
    any_extensions = ExtensionPolicy.permit_all()
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(now)
        .max_chain_depth(MAX_CERTIFICATES)
        .extension_policies(
            ca_policy=any_extensions.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None),
            ee_policy=any_extensions,
        )
        .build_client_verifier()
    )
    # No key stands twice in it, so that there is no other path to find than the one that was walked.
    verifier.verify(path[0], list(path[1:]))
