"""The operations tree: certificates for signerd, stations and auditors."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.rsa_keys import constant_rsa_key
from harness.signing_samples import name
from signerd.adapters.mtls import identity_of
from signerd.adapters.operations_ca import create_ca, issue_server, sign_peer_request
from signerd.core.names import Role
from signerd.core.server_names import names_for
from signerd.errors import Code, Refused

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CA = create_ca("example", NOW)
STATION = "birthmark://example/station/plant1/pc1"
KEY = ec.generate_private_key(ec.SECP256R1())


def request(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY, extension: x509.ExtensionType | None = None
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name("whatever the peer likes"))
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def extended_key_usage(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_stations_certificate_says_who_it_is_and_nothing_that_it_asked_for() -> None:
    asked = request(extension=x509.BasicConstraints(ca=True, path_length=None))
    certificate = sign_peer_request(asked, STATION, CA, NOW)
    certificate.verify_directly_issued_by(CA.certificate)
    assert certificate.public_key() == KEY.public_key()
    assert extended_key_usage(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["pc1"]
    identity = identity_of(certificate, "example")
    assert identity.name is not None
    assert (identity.name.role, identity.name.site, identity.name.name) == (Role.STATION, "plant1", "pc1")
    assert identity.valid_at(NOW)
    assert identity.not_after == NOW + timedelta(days=825)


def test_a_peers_certificate_verifies_as_a_client() -> None:
    certificate = sign_peer_request(request(), "birthmark://example/auditor/alice", CA, NOW)
    store = verification.Store([CA.certificate])
    verifier = verification.PolicyBuilder().store(store).time(NOW).build_client_verifier()
    assert verifier.verify(certificate, []).chain[-1] == CA.certificate


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "signer.example.com", "192.0.2.7", "[2001:db8::7]", "localhost"]
)
def test_the_servers_certificate_verifies_under_its_names(host: str) -> None:
    certificate, key = issue_server(CA, "example", names_for((), host), NOW)
    assert certificate.public_key() == key.public_key()
    assert extended_key_usage(certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "birthmark://example/signerd" in names.get_values_for_type(x509.UniformResourceIdentifier)
    subjects: list[x509.DNSName | x509.IPAddress] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    if host == "signer.example.com":
        subjects.append(x509.DNSName(host))
    if host in {"192.0.2.7", "[2001:db8::7]"}:
        subjects.append(x509.IPAddress(ipaddress.ip_address(host.strip("[]"))))
    for subject in subjects:
        builder = verification.PolicyBuilder().store(verification.Store([CA.certificate])).time(NOW)
        builder.build_server_verifier(subject).verify(certificate, [])


def test_a_server_certificate_names_no_peer() -> None:
    certificate, _ = issue_server(CA, "example", ("localhost",), NOW)
    assert identity_of(certificate, "example").name is None


def flipped(pem: bytes) -> bytes:
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("asked", "uri", "reason"),
    [
        (request(), "birthmark://example/signerd", "is not birthmark:"),
        (request(), "birthmark://example/station/plant1", "is not birthmark:"),
        (request(ec.generate_private_key(ec.SECP384R1())), STATION, "P-256"),
        (request(constant_rsa_key(2048)), STATION, "P-256"),
        (flipped(request()), STATION, "not signed by"),
        (b"", STATION, "no certification request"),
        (request()[:200], STATION, "no certification request"),
        (b"x" * 16_385, STATION, "at most"),
    ],
    ids=["signerd", "no name", "P-384", "RSA", "signature", "empty", "cut", "large"],
)
def test_any_other_request_is_refused(asked: bytes, uri: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refusal:
        sign_peer_request(asked, uri, CA, NOW)
    assert refusal.value.code is Code.INVALID


def test_the_longest_names_fit() -> None:
    longest = "a" * 64
    ca = create_ca(longest, NOW)
    uri = f"birthmark://{longest}/station/{longest}/{longest}"
    assert sign_peer_request(request(), uri, ca, NOW)
    assert issue_server(ca, longest, ("localhost",), NOW)
