"""Certificates: the chain to the pinned root, the leaf's form, and its agreement with its entry.

issuer = verify_issuer(chain, root)             # once an issuer
leaf = read_leaf(der, issuer)                   # a board's certificate, verified
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from auditor.core import der
from auditor.core.chain import NO_LIMITS, Allowance, check_issuers
from auditor.core.clock import SKEW
from auditor.core.codes import Code
from auditor.core.csr import X509_ERRORS
from auditor.core.entry import Issued, OrderOpened
from auditor.core.forms import time_text
from auditor.core.stamp import BoardKey
from auditor.errors import CheckFailed, Malformed

MAX_CERTIFICATE = 8_192  # bytes
MAX_CHAIN = 5  # the sub-CA and four above it, without the root
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_KNOWN_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The sub-CA, its chain to the pinned root verified. Only `verify_issuer` makes one."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]  # from the sub-CA upward, without the root
    key_identifier: bytes
    valid_from: datetime  # all of the chain, the root included, is valid from here
    valid_until: datetime
    allowance: Allowance = NO_LIMITS  # names and purposes that the chain leaves to leaves
    sha256: bytes = field(init=False)  # of its certificate

    def __post_init__(self) -> None:
        digest = sha256(self.certificate.public_bytes(Encoding.DER)).digest()
        object.__setattr__(self, "sha256", digest)  # once: each record's batch names it


@dataclass(frozen=True, slots=True)
class Leaf:
    """A board's certificate that the issuer signed and whose form holds. Only `read_leaf` makes one."""

    der: bytes
    certificate: x509.Certificate
    key: BoardKey
    spki: bytes  # DER


def load_certificate(encoded: bytes) -> x509.Certificate:
    """Reads a certificate with all its extensions. Raises Malformed."""
    if len(encoded) > MAX_CERTIFICATE:
        raise Malformed("the certificate is too large")
    try:
        certificate = x509.load_der_x509_certificate(encoded)
        list(certificate.extensions)
        certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()  # read only when asked for
        # The package passes over unused bits of the signature: one certificate would have two encodings.
        whole = der.content(der.members(encoded)[-1], der.BIT_STRING).startswith(b"\x00")
    except X509_ERRORS as error:
        raise Malformed(f"the certificate cannot be read: {type(error).__name__}") from error
    if not whole:
        raise Malformed("the certificate's signature is not of whole octets")
    return certificate


def verify_issuer(chain: Sequence[bytes], root: x509.Certificate) -> Issuer:
    """Verifies the chain above the boards' certificates against the pinned root.

    Raises:
        CheckFailed: CERTIFICATE_CHAIN.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise _chain("the chain's length", f"1 to {MAX_CHAIN}", str(len(chain)))
    try:
        issuers = tuple(load_certificate(encoded) for encoded in chain)
    except Malformed as error:
        raise _chain(f"an issuer: {error}") from error
    if len(issuers) > 1 and issuers[-1] == root:  # it may be sent along
        issuers = issuers[:-1]
    for certificate, above in pairwise((*issuers, root)):
        _check_signed(certificate, above)
    allowance = check_issuers([each.public_bytes(Encoding.DER) for each in (*issuers, root)])
    return Issuer(
        issuers[0],
        issuers,
        _key_identifier(issuers[0]),
        max(certificate.not_valid_before_utc for certificate in (*issuers, root)),
        min(certificate.not_valid_after_utc for certificate in (*issuers, root)),
        allowance,
    )


def issued_by(certificate: x509.Certificate, issuer: Issuer) -> bool:
    """Whether the certificate names this issuer, by name and key identifier. No signature is looked at."""
    identifier = _extension(certificate, x509.AuthorityKeyIdentifier)
    named = identifier is not None and identifier.key_identifier == issuer.key_identifier
    return named and certificate.issuer == issuer.certificate.subject


def read_leaf(encoded: bytes, issuer: Issuer) -> Leaf:
    """Verifies that the issuer signed this certificate, and that it is a leaf.

    Raises:
        CheckFailed: CERTIFICATE_CHAIN, CERTIFICATE_FORM.
    """
    try:
        certificate = load_certificate(encoded)
        key = certificate.public_key()
    except (Malformed, *X509_ERRORS) as error:
        raise CheckFailed(Code.CERTIFICATE_FORM, "the certificate cannot be read") from error
    _check_signed(certificate, issuer.certificate)
    if not issuer.valid_from <= certificate.not_valid_before_utc <= issuer.valid_until:
        raise _chain("an issuer was outside its validity when the certificate begins")
    identifier = _extension(certificate, x509.AuthorityKeyIdentifier)
    if identifier is None or identifier.key_identifier != issuer.key_identifier:
        raise _chain("the authority key identifier is not the issuer's subject key identifier")
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise CheckFailed(Code.CERTIFICATE_FORM, "a key type that no product accepts")
    _check_leaf(certificate)
    issuer.allowance.check_leaf(encoded)
    return Leaf(encoded, certificate, key, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def check_agrees(leaf: Leaf, issued: Issued, order: OrderOpened | None, backdate: timedelta) -> None:
    """Checks a certificate against its `issued` entry and its work order's window.

    `backdate`: how long before its place was taken a certificate of the product begins, at most: it never
    begins before its issuer.

    Raises:
        CheckFailed: CERTIFICATE_DIFFERS.
    """
    certificate = leaf.certificate
    number = certificate.serial_number
    serial = number.to_bytes((number.bit_length() + 7) // 8, "big")
    for what, found, expected in (
        ("SHA-256", sha256(leaf.der).hexdigest(), issued.certificate_sha256.hex()),
        ("public key", sha256(leaf.spki).hexdigest(), issued.spki_sha256.hex()),
        ("serial", serial.hex(), issued.certificate_serial.hex()),
    ):
        if found != expected:
            raise _differs(f"the certificate's {what}", expected, found)
    begin = certificate.not_valid_before_utc
    if begin - issued.time > SKEW or certificate.not_valid_after_utc <= issued.time:
        raise _differs(
            "the certificate is not valid when it is issued", time_text(issued.time), time_text(begin)
        )
    # An entry before the window is the history's finding; here: a place taken outside, entered within.
    if (
        order is not None
        and order.not_before <= issued.time
        and not order.not_before - backdate <= begin <= order.not_after
    ):
        raise _differs("the place was taken outside the order's window", order.work_order, time_text(begin))
    names = _identity(certificate)
    beside = names.replace(issued.work_order, "")  # the order's own digits are not the number
    if not (
        _names(names, issued.serial_number)
        or _names(names, issued.chip_id)
        or (_names(names, issued.work_order) and _names(beside, str(issued.number)))
    ):
        raise _differs("the certificate names another board", issued.serial_number, names[:200])


def check_extension(leaf: Leaf, issued: Issued, oid: str | None) -> None:
    """Checks what the certificate says of its evidence, under the product's OID (docs/formats.md, section
    "Certificate extension"), and that it holds no other extension that only its issuer knows.

    Raises:
        CheckFailed: CERTIFICATE_DIFFERS.
    """
    statement = der.element(
        der.SEQUENCE,
        b"\x02\x01\x01"  # version 1
        + der.element(der.UTF8_STRING, issued.level.encode())
        + der.element(der.UTF8_STRING, issued.method.encode())
        + der.element(der.OCTET_STRING, issued.evidence_sha256),
    )
    expected = [] if oid is None else [(oid, statement.hex())]
    found = [
        (extension.oid.dotted_string, extension.value.value.hex())
        for extension in leaf.certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    ]
    if found != expected:
        raise _differs("what the certificate says of its evidence", str(expected), str(found)[:200])


def _identity(certificate: x509.Certificate) -> str:
    """All names that the certificate gives its holder, one a line."""
    names = [str(attribute.value) for attribute in certificate.subject]
    alternative = _extension(certificate, x509.SubjectAlternativeName)
    names += [] if alternative is None else [str(name.value) for name in alternative]
    return "\n".join(names)


def _names(text: str, value: str) -> bool:
    """True if the value stands in the text, and not as part of a longer number: BM-1 is not BM-10."""
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not text[max(0, start - 1) : start].isdecimal() and not text[end : end + 1].isdecimal():
            return True
        start = text.find(value, start + 1)
    return False


def _check_signed(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Name and signature (RFC 5280 §6.1.3 a), by an algorithm that is still safe."""
    try:
        digest = certificate.signature_hash_algorithm
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature as error:
        raise _chain("the signature is not the issuer's") from error
    except X509_ERRORS as error:
        issued_by = certificate.issuer.rfc4514_string()
        raise _chain("not issued by this issuer", issuer.subject.rfc4514_string(), issued_by) from error
    if digest is None and isinstance(issuer.public_key(), ed25519.Ed25519PublicKey):
        return  # its hash is its own
    if not isinstance(digest, _HASHES):
        raise _chain("signed with a hash that is not allowed")


def _check_leaf(certificate: x509.Certificate) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is not None and constraints.ca:
        raise CheckFailed(Code.CERTIFICATE_FORM, "a board's certificate is a CA certificate")
    if usage is not None and (usage.key_cert_sign or usage.crl_sign):
        raise CheckFailed(Code.CERTIFICATE_FORM, "a board's key may sign certificates or CRLs")
    unknown = _critical(certificate.extensions) - _KNOWN_CRITICAL
    if unknown:
        found = ", ".join(sorted(oid.dotted_string for oid in unknown))
        raise CheckFailed(Code.CERTIFICATE_FORM, "unknown critical extension", found=found)


def _critical(extensions: Iterable[x509.Extension[x509.ExtensionType]]) -> set[x509.ObjectIdentifier]:
    return {extension.oid for extension in extensions if extension.critical}


def _extension(certificate: x509.Certificate, kind: type[_ExtensionT]) -> _ExtensionT | None:
    """By its OID: looking by class costs much more, and cryptography has one class for it."""
    for extension in certificate.extensions:
        if extension.oid == kind.oid:
            return extension.value if type(extension.value) is kind else None
    return None


def _key_identifier(certificate: x509.Certificate) -> bytes:
    identifier = _extension(certificate, x509.SubjectKeyIdentifier)
    if identifier is None:
        raise _chain("the issuer has no subject key identifier")
    return identifier.digest


def _chain(detail: str, expected: str = "", found: str = "") -> CheckFailed:
    return CheckFailed(Code.CERTIFICATE_CHAIN, detail, expected=expected, found=found)


def _differs(detail: str, expected: str, found: str) -> CheckFailed:
    return CheckFailed(Code.CERTIFICATE_DIFFERS, detail, expected=expected, found=found)
