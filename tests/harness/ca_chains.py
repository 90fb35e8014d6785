"""Chains of CAs, made of terms: genuine certificates with whatever a test wants in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
Extra = tuple[x509.ExtensionType, bool]


def name(common_name: str, organization: str = "Example") -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def raw(oid: str, value: bytes, *, critical: bool = True) -> Extra:
    return x509.UnrecognizedExtension(ObjectIdentifier(oid), value), critical


def key_usage(*, sign_certificates: bool, sign_crls: bool = True, sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_crls,
        encipher_only=False,
        decipher_only=False,
    )


CA_USAGE = key_usage(sign_certificates=True)


@dataclass(frozen=True)
class Authority:
    """One CA: its certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Terms:
    """How a CA's certificate is made."""

    common_name: str
    organization: str = "Example"
    path_length: int | None = None
    basic: x509.BasicConstraints | None = None
    basic_critical: bool = True
    usage: x509.KeyUsage | None = CA_USAGE
    extra: tuple[Extra, ...] = ()
    subject_key_id: bool = True
    authority_key_id: bool = True
    wrong_key_id: bool = False
    begin: datetime = BEGIN
    end: datetime = END
    key: Key | None = None


def make(terms: Terms, issuer: Authority | None = None) -> Authority:
    """A CA's certificate; without an issuer, self-signed."""
    key = terms.key or ec.generate_private_key(ec.SECP256R1())
    return Authority(certify(terms, key.public_key(), issuer, key), key)


def certify(
    terms: Terms, key: PublicKey, issuer: Authority | None = None, own: Key | None = None
) -> x509.Certificate:
    """The same for a key that is elsewhere; self-signed by `own` where there is no issuer."""
    subject = name(terms.common_name, terms.organization)
    above = subject if issuer is None else issuer.certificate.subject
    signer = own if issuer is None else issuer.key
    assert signer is not None
    builder = x509.CertificateBuilder(above, subject, key, _serial(), terms.begin, terms.end)
    basic = terms.basic or x509.BasicConstraints(ca=True, path_length=terms.path_length)
    builder = builder.add_extension(basic, critical=terms.basic_critical)
    if terms.usage is not None:
        builder = builder.add_extension(terms.usage, critical=True)
    if terms.subject_key_id:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        builder = builder.add_extension(identifier, critical=False)
    if terms.authority_key_id and issuer is not None:
        digest = x509.SubjectKeyIdentifier.from_public_key(signer.public_key()).digest
        above_id = x509.AuthorityKeyIdentifier(b"another" if terms.wrong_key_id else digest, None, None)
        builder = builder.add_extension(above_id, critical=False)
    for extension, critical in terms.extra:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def _serial() -> int:
    return x509.random_serial_number()


BOARD = name("BM-1")


@dataclass(frozen=True)
class Leaf:
    """What a board's certificate says."""

    subject: x509.Name = BOARD
    alternatives: tuple[x509.GeneralName, ...] = ()
    purposes: tuple[ObjectIdentifier, ...] = ()

    def certificate(self, issuer: Authority) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        own = x509.SubjectKeyIdentifier.from_public_key(issuer.key.public_key()).digest
        builder = x509.CertificateBuilder(
            issuer.certificate.subject, self.subject, key, _serial(), BEGIN + timedelta(days=900), END
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usage = key_usage(sign_certificates=False, sign_crls=False, sign=True)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(own, None, None), critical=False)
        if self.purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.purposes), critical=False)
        if self.alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(self.alternatives), critical=False)
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


ROOT = Terms("Root")
UPPER, MIDDLE, LOWER = Terms("Upper"), Terms("Middle"), Terms("Lower")
SUB = Terms("Device CA", path_length=0)


@dataclass(frozen=True)
class Case:
    """A chain from the root downwards, and a board's certificate below it."""

    title: str
    authorities: tuple[Terms, ...]  # the root first, the sub-CA last
    valid: bool
    leaf: Leaf = Leaf()
    openssl: bool | None = None
    above_root: Terms | None = None  # who signed the root; None: itself
    build: Callable[[], list[Authority]] | None = None

    @cached_property
    def made(self) -> list[Authority]:
        """The root first."""
        if self.build is not None:
            return self.build()
        above = None if self.above_root is None else make(self.above_root)
        made = []
        for terms in self.authorities:
            above = make(terms, above)
            made.append(above)
        return made

    @property
    def root(self) -> x509.Certificate:
        return self.made[0].certificate

    @property
    def chain(self) -> list[x509.Certificate]:
        """The sub-CA first, without the root."""
        return [authority.certificate for authority in reversed(self.made[1:])]

    @cached_property
    def leaf_der(self) -> bytes:
        return self.leaf.certificate(self.made[-1])

    @property
    def by_openssl(self) -> bool:
        return self.valid if self.openssl is None else self.openssl


def constraints(
    permitted: Sequence[x509.GeneralName] | None = None, excluded: Sequence[x509.GeneralName] | None = None
) -> Extra:
    return x509.NameConstraints(permitted, excluded), True


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(each) for each in names]


def uri(*names: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(each) for each in names]


def mail(*names: str) -> list[x509.GeneralName]:
    return [x509.RFC822Name(each) for each in names]


def network(*names: str) -> list[x509.GeneralName]:
    return [x509.IPAddress(ip_network(each)) for each in names]


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(text))


def directory(*names: x509.Name) -> list[x509.GeneralName]:
    return [x509.DirectoryName(each) for each in names]


def organization(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])


def constrained(extra: Extra, *, at: Terms = MIDDLE) -> tuple[Terms, ...]:
    """A chain whose middle, or another one, is constrained."""
    return tuple(replace(each, extra=(extra,)) if each is at else each for each in (ROOT, MIDDLE, SUB))


def with_(*names: x509.GeneralName, subject: x509.Name | None = None) -> Leaf:
    return Leaf(subject or BOARD, tuple(names))


def key_twice() -> list[Authority]:
    root = make(ROOT)
    middle = make(MIDDLE, root)
    return [root, middle, make(replace(SUB, key=middle.key), middle)]


def other_signature() -> list[Authority]:
    root = make(ROOT)
    middle, other = make(MIDDLE, root), make(MIDDLE, root)
    sub = make(replace(SUB, authority_key_id=False), other)
    return [root, middle, sub]
