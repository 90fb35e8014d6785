"""A sample certificate of a product: what a board would get, signed by a key that signs nothing else.

It is for linting alone. The CA that signs it has the sub-CA's name, type and validity and a key made for
this one purpose, so that no certificate that was never ordered is ever signed with the real key.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.core import der
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.key_policy import PublicKey
from signerd.core.names import KeyType
from signerd.core.order import Place
from signerd.core.product import Product
from signerd.core.profile import Issuer, build_tbs, terms_of

_SERIAL = 1 << 152  # 20 octets, as issuance makes them
_RSA_BITS = {KeyType.RSA2048: 2048, KeyType.RSA3072: 3072, KeyType.RSA4096: 4096}


def stand_in(issuer: Issuer) -> Issuer:
    """An issuer that a relying party could only tell from the real one by its key."""
    real = issuer.certificate
    key = ec.generate_private_key(issuer.key.curve)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(real.issuer)
        .subject_name(real.subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, issuer.hash)
    )
    return Issuer(
        certificate=certificate,
        chain=issuer.chain,
        key=key.public_key(),
        hash=issuer.hash,
        throwaway=key,
        authority_key_identifier=x509.AuthorityKeyIdentifier(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest, None, None
        ),
    )


def sample_tbs(product: Product, key_type: KeyType, issuer: Issuer, moment: datetime) -> bytes:
    """The TBSCertificate of a board that does not exist.

    Raises:
        ValueError: the profile gives no certificate: a filled template does not fit its field.
    """
    place = Place(
        work_order="SAMPLE",
        product=product.name,
        chip_id="00:00:5e:00:53:01",  # documentation range of RFC 7042 §2.1.2
        number=1,
        serial_number="SAMPLE-000001",
        certificate_serial=_SERIAL,
        moment=moment,
    )
    key = _key(key_type)
    evidence = EvidenceStatement.about(product.evidence.level, product.evidence.methods[0], b"")
    return build_tbs(terms_of(product, place, key, issuer, evidence), place, key, issuer)


def signed_sample(tbs: bytes, issuer: Issuer) -> bytes:
    """The sample as a certificate, DER. `issuer` is a stand-in."""
    signature = issuer.throwaway.sign(tbs, ec.ECDSA(issuer.hash))
    # The stand-in signed its own certificate with the same key.
    _, algorithm, _ = der.split_signed(issuer.certificate.public_bytes(Encoding.DER))
    return der.signed(tbs, algorithm, signature)


def _key(key_type: KeyType) -> PublicKey:
    if key_type in _RSA_BITS:
        return rsa.generate_private_key(65537, _RSA_BITS[key_type]).public_key()
    curve = ec.SECP384R1() if key_type is KeyType.P384 else ec.SECP256R1()
    return ec.generate_private_key(curve).public_key()
