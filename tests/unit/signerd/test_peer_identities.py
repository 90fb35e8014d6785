"""The name in a peer's certificate, as the gate reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from signerd.adapters.mtls import PeerIdentities

EDI_PARTY_NAME = bytes.fromhex("3008a506a1040c024142")  # a SubjectAltName that the package does not read


def test_a_certificate_with_a_name_that_nobody_reads_names_nobody() -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    san = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, EDI_PARTY_NAME)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(x509.Name([]))
        .subject_name(x509.Name([]))
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(san, critical=False)
        .sign(key, hashes.SHA256())
    )
    assert PeerIdentities("dev").of({"x509_pem_cert": [certificate.public_bytes(Encoding.PEM)]}) is None
