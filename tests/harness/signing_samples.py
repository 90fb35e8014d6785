"""What a key holder is asked to sign: good samples, and the same with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from signerd.core import der
from signerd.core.issuer_algorithm import issuer_key
from signerd.core.note import Checkpoint

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey
Extensions = Mapping[x509.ObjectIdentifier, tuple[x509.ExtensionType, bool] | None]


def now() -> datetime:
    """This moment, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def name(common_name: str) -> x509.Name:
    """A name of one CN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    """digitalSignature, and what a leaf must not have."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def authority_key_id(sub_ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As a leaf or a CRL of this CA carries it."""
    own = sub_ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier(own.digest, None, None)


def leaf_tbs(
    sub_ca: x509.Certificate,
    *,
    key: PublicKey | None = None,
    subject: x509.Name | None = None,
    issuer: x509.Name | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    extensions: Extensions | None = None,
    algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
) -> bytes:
    """The TBSCertificate of a good leaf but for what is given; an extension given as None is left out."""
    _, own = issuer_key(sub_ca.public_key())
    begin = not_before or now()
    built: dict[x509.ObjectIdentifier, tuple[x509.ExtensionType, bool] | None] = {
        ExtensionOID.BASIC_CONSTRAINTS: (x509.BasicConstraints(ca=False, path_length=None), True),
        ExtensionOID.KEY_USAGE: (key_usage(), True),
        ExtensionOID.EXTENDED_KEY_USAGE: (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: (authority_key_id(sub_ca), False),
    }
    built.update(extensions or {})
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or name("BM-000001"))
        .issuer_name(issuer or sub_ca.subject)
        .public_key(key or ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(not_after or begin + timedelta(days=7300))
    )
    for extension in built.values():
        if extension is not None:
            builder = builder.add_extension(extension[0], critical=extension[1])
    return builder.sign(own.throwaway(), algorithm or own.hash).tbs_certificate_bytes


def crl_tbs(
    sub_ca: x509.Certificate,
    *,
    issuer: x509.Name | None = None,
    this_update: datetime | None = None,
    lifetime: timedelta = timedelta(days=7),
    extensions: Extensions | None = None,
) -> bytes:
    """The TBSCertList of a good CRL with one revoked certificate, but for what is given."""
    _, own = issuer_key(sub_ca.public_key())
    begin = this_update or now()
    revoked = x509.RevokedCertificateBuilder().serial_number(4711).revocation_date(begin)
    built: dict[x509.ObjectIdentifier, tuple[x509.ExtensionType, bool] | None] = {
        ExtensionOID.CRL_NUMBER: (x509.CRLNumber(1), False),
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: (authority_key_id(sub_ca), False),
    }
    built.update(extensions or {})
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer or sub_ca.subject)
        .last_update(begin)
        .next_update(begin + lifetime)
        .add_revoked_certificate(revoked.build())
    )
    for extension in built.values():
        if extension is not None:
            builder = builder.add_extension(extension[0], critical=extension[1])
    return builder.sign(own.throwaway(), own.hash).tbs_certlist_bytes


def checkpoint(origin: str, size: int, *, root: bytes = b"\x01" * 32) -> bytes:
    """A checkpoint's note text."""
    return Checkpoint(origin, size, root).body()


def elements(sequence: bytes) -> list[bytes]:
    """The elements of a DER SEQUENCE, each with its header."""
    found = []
    _, position = _header(sequence, 0)
    while position < len(sequence):
        length, body = _header(sequence, position)
        found.append(sequence[position : body + length])
        position = body + length
    return found


def edited(tbs: bytes, edit: Callable[[list[bytes]], object]) -> bytes:
    """The SEQUENCE with its list of elements edited in place."""
    parts = elements(tbs)
    edit(parts)
    return der.sequence(*parts)


def _header(data: bytes, start: int) -> tuple[int, int]:
    first = data[start + 1]
    if first < 0x80:
        return first, start + 2
    octets = first & 0x7F
    return int.from_bytes(data[start + 2 : start + 2 + octets], "big"), start + 2 + octets
