"""A CA for boards that never meet signerd: certificates of the right form, and no more."""

from __future__ import annotations

from datetime import UTC, datetime

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

_KEY = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "paper")])


def certificate_for(spki_der: bytes) -> bytes:
    """A certificate, DER, for an EC or RSA public key."""
    key = load_der_public_key(spki_der)
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TypeError("not a board's key")
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(_NAME, _NAME, key, 1, begin, end)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def credential_for(spki_der: bytes) -> bytes:
    """The content of `credential`: the certificate and one issuer."""
    return cbor2.dumps([certificate_for(spki_der), [certificate_for(spki_der)]])


SETTINGS = cbor2.dumps({"serial": "BM-000001", "endpoint": "mqtts://example.com:8883"}, canonical=True)
