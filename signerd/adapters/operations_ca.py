"""The operations tree: who may log in. It shares nothing with the device tree.

The operations CA certifies signerd's server key and the keys that stations and auditors made for themselves.
Its key is a file, not in the HSM: what it can do is undone by the registry, which pins each peer's public
key and is asked at every call.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signerd.adapters.pem_keys import key_of
from signerd.core.names import PeerName, parse_peer_uri
from signerd.errors import Code, ConfigError, Refused

CERTIFICATES, KEYS = Path("operations", "ca.pem"), Path("operations", "ca.key")
CA_DAYS = 7300
SERVER_DAYS = 825
PEER_DAYS = 825
MAX_REQUEST = 16_384  # bytes of PEM
_BACKDATED = timedelta(minutes=5)  # so that a peer whose clock is a little slow is let in at once


@dataclass(frozen=True, slots=True)
class OperationsCa:
    """The CA's certificate and key, both P-256."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def create_ca(deployment: str, now: datetime, *, successor: bool = False) -> OperationsCa:
    """A new operations CA. `now` is aware. A successor has a name of its own, with the day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(deployment, "Birthmark operations CA" + (f" {now:%Y-%m-%d}" if successor else ""))
    builder = (
        _builder(name, name, key.public_key(), now, now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return OperationsCa(builder.sign(key, hashes.SHA256()), key)


def load_ca(directory: Path) -> OperationsCa:
    """The CA of an installation that certifies peers: the newest in `operations/ca.pem`, which stands last,
    whose key is in `operations/ca.key`.

    Raises:
        ConfigError: a file is missing or not what it should be.
    """
    return load_cas(directory)[-1]


def load_cas(directory: Path) -> list[OperationsCa]:
    """Those of an installation whose key is here, the newest last; at least one. Raises as `load_ca`."""
    certificate_file, key_file = directory / CERTIFICATES, directory / KEYS
    try:
        certificates = x509.load_pem_x509_certificates(certificate_file.read_bytes())
        keys = key_file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {error.filename}: {error.strerror}; where the CA's key is kept elsewhere, have the"
            " request signed there: `station add --certificate`, `signerd server renew --request`"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{certificate_file} or {key_file} is not of its form") from error
    found = []
    for certificate in certificates:
        pem = key_of(certificate.public_key(), keys, key_file)
        key = None if pem is None else load_pem_private_key(pem, password=None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            found.append(OperationsCa(certificate, key))
    if not found:
        raise ConfigError(f"{key_file} is not the key of {certificate_file}")
    return found


def issuer_of(certificate: x509.Certificate, cas: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """Which of the CAs issued it, if any did."""
    for ca in cas:
        try:
            certificate.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return ca
    return None


def digest(certificate: x509.Certificate) -> bytes:
    """SHA-256 of its DER: a CA's name in the ledger."""
    return certificate.fingerprint(hashes.SHA256())


def issue_server(
    ca: OperationsCa, deployment: str, names: Iterable[str], now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """signerd's server certificate and key, for these names (`core.server_names`)."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _leaf(
        ca,
        _name(deployment, "signerd"),
        key.public_key(),
        _server_names(deployment, names),
        ExtendedKeyUsageOID.SERVER_AUTH,
        now,
        SERVER_DAYS,
    )
    return certificate, key


def server_request(
    key: ec.EllipticCurvePrivateKey, deployment: str, names: Iterable[str]
) -> x509.CertificateSigningRequest:
    """What an operations CA that is kept elsewhere is asked for."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(deployment, "signerd"))
    said = x509.SubjectAlternativeName(_server_names(deployment, names))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    extended = builder.add_extension(said, critical=False).add_extension(usage, critical=False)
    return extended.sign(key, hashes.SHA256())


def _server_names(deployment: str, names: Iterable[str]) -> list[x509.GeneralName]:
    uri = x509.UniformResourceIdentifier(f"birthmark://{deployment}/signerd")
    return [*map(_general_name, names), uri]


def names_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names that clients may have dialled to take this certificate, in the one spelling.

    Raises:
        ValueError: its extensions cannot be read.
    """
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"its extensions cannot be read: {error}") from error
    addresses = map(str, said.get_values_for_type(x509.IPAddress))
    return (*(name.lower() for name in said.get_values_for_type(x509.DNSName)), *addresses)


def sign_peer_request(request_pem: bytes, uri: str, ca: OperationsCa, now: datetime) -> x509.Certificate:
    """A certificate for the key that a station or an auditor made. Of its request only the key is taken.

    Raises:
        Refused: `invalid`: the URI is not a peer's, or the request is not one, not signed by its own key,
            or not for a P-256 key.
    """
    try:
        peer = parse_peer_uri(uri)
    except ValueError as error:
        raise Refused(
            Code.INVALID,
            f"{uri} is not birthmark://DEPLOYMENT/station/SITE/NAME, nor an auditor's name of that form",
        ) from error
    if len(request_pem) > MAX_REQUEST:
        raise Refused(Code.INVALID, f"a request has at most {MAX_REQUEST} bytes")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        proven = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused(
            Code.INVALID, "this is no certification request in PEM: send the .csr.pem that `enroll` made"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused(Code.INVALID, "the key must be P-256: make the request with `enroll`")
    if not proven:
        raise Refused(Code.INVALID, "the request is not signed by the key that it names")
    return certify_peer(key, peer, ca, now)


def certify_peer(
    key: ec.EllipticCurvePublicKey, peer: PeerName, ca: OperationsCa, now: datetime
) -> x509.Certificate:
    """A certificate for a peer's key. Whose it is was proven before."""
    return _leaf(
        ca,
        _name(peer.deployment, peer.name),
        key,
        [x509.UniformResourceIdentifier(peer.uri)],
        ExtendedKeyUsageOID.CLIENT_AUTH,
        now,
        PEER_DAYS,
    )


def _leaf(
    ca: OperationsCa,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    alternatives: list[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    now: datetime,
    days: int,
) -> x509.Certificate:
    """Ends with its CA at the latest: nobody takes it any longer (RFC 5280 §6.1)."""
    end = ca.certificate.not_valid_after_utc
    if now >= end:
        raise ConfigError(
            f"the operations CA ended at {end:%F %T} UTC and certifies nobody any more: signerd operations-ca"
            " add"
        )
    own = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    builder = (
        _builder(subject, ca.certificate.subject, key, now, min(now + timedelta(days=days), end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority, critical=False)
    )
    return builder.sign(ca.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end)
    )


def _name(deployment: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, deployment),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
