"""The device tree: offline root, then the sub-CA whose key is in the token. RFC 5280 §4.2.1.

`sign_sub_ca` is what an offline root does with `sub-ca.csr.pem`; `check_sub_ca` is what signerd demands of
the certificate that comes back, with what stands above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from signerd.core.issuer_algorithm import IssuerKey
from signerd.core.issuing_chain import chain_problems, shown
from signerd.errors import ConfigError

ROOT_DAYS = 14_600
SUB_CA_DAYS = 12_775  # longer than the longest board certificate by default, shorter than the root
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def sub_ca_common_name(deployment: str) -> str:
    """The name that the request carries. At most 64 characters (RFC 5280, ub-common-name)."""
    return f"{deployment} device CA"[:64]


def create_root(deployment: str, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A development root, P-256. A real one is made offline, with tools of the company's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, deployment),
            x509.NameAttribute(NameOID.COMMON_NAME, "Birthmark development root CA"),
        ]
    )
    builder = _ca_builder(name, name, key.public_key(), now, ROOT_DAYS, path_length=1)
    return builder.sign(key, hashes.SHA256()), key


def sign_sub_ca(
    request: x509.CertificateSigningRequest,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    """The sub-CA's certificate: CA:TRUE, path length 0, keyCertSign and cRLSign."""
    key = request.public_key()
    if not request.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ConfigError("the sub-CA's request is not signed by the EC or RSA key that it names")
    own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    builder = _ca_builder(request.subject, root.subject, key, now, SUB_CA_DAYS, path_length=0)
    return builder.add_extension(authority, critical=False).sign(root_key, hashes.SHA256())


def _ca_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: IssuerKey,
    now: datetime,
    days: int,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def check_sub_ca(chain: Sequence[x509.Certificate], root: x509.Certificate, now: datetime) -> list[str]:
    """Holds the certificate that came back, and what stands above it, against what a sub-CA must be.

    Returns:
        What fails, a line each.
    """
    try:
        problems = [
            *_identity_problems(chain[0]),
            *_power_problems(chain[0]),
            *_validity_problems(chain, root, now),
        ]
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        return [f"it cannot be read: {error}"]
    return problems + chain_problems(chain, root)


def _identity_problems(certificate: x509.Certificate) -> Iterator[str]:
    if certificate.subject == certificate.issuer:
        yield "subject and issuer are the same name"


def _power_problems(certificate: x509.Certificate) -> Iterator[str]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca and constraints.value.path_length != 0:
        yield "its path length is not 0: it could make further CAs"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.crl_sign:
        yield "its key usage lacks cRLSign"


def _validity_problems(
    chain: Sequence[x509.Certificate], root: x509.Certificate, now: datetime
) -> Iterator[str]:
    for certificate in (*chain, root):
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            yield f"{shown(certificate)} is not valid now"
    for above in (*chain[1:], root):
        if chain[0].not_valid_after_utc > above.not_valid_after_utc:
            yield f"it outlives {shown(above)}, which ends on {above.not_valid_after_utc:%Y-%m-%d}"


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> x509.Extension[_Kind] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
