"""A sample certificate of a product: what a board would get, signed by a key that signs nothing else.

It is for linting alone. The CA that signs it has the sub-CA's name, type and validity and a key made for
this one purpose, so that no certificate that was never ordered is ever signed with the real key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.key_policy import PublicKey
from signerd.core.names import KeyType
from signerd.core.order import Place
from signerd.core.prepared import PreparedCertificate, lint
from signerd.core.product import Product, chip_form
from signerd.core.profile import Issuer, build_tbs, terms_of

CERTIFICATE_SERIAL = 1 << 152  # 20 octets, as issuance makes them
_RSA_BITS = {KeyType.RSA2048: 2048, KeyType.RSA3072: 3072, KeyType.RSA4096: 4096}


def stand_in(issuer: Issuer) -> Issuer:
    """An issuer that a relying party could only tell from the real one by its key."""
    real = issuer.certificate
    key = issuer.algorithm.throwaway()
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(real.issuer)
        .subject_name(real.subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, issuer.algorithm.hash)
    )
    return Issuer(
        certificate=certificate,
        chain=issuer.chain,
        key=key.public_key(),
        algorithm=issuer.algorithm,
        throwaway=key,
        authority_key_identifier=x509.AuthorityKeyIdentifier(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest, None, None
        ),
        limits=issuer.limits,
        allows=issuer.allows,
    )


@dataclass(frozen=True, slots=True)
class Sampled:
    """A board that does not exist, and what its certificate is made of."""

    product: Product
    place: Place
    key: PublicKey

    def certificate(self, issuer: Issuer) -> bytes:
        """Its certificate, DER, through signerd's own linter. Raises as `prepared`."""
        prepared = self.prepared(issuer, spki_of(self.key))
        return prepared.certificate(issuer.algorithm.sign(issuer.throwaway, prepared.take()))

    def prepared(self, issuer: Issuer, spki: bytes) -> PreparedCertificate:
        """The certificate but for its signature, through signerd's own linter; a quarter of a millisecond.

        Args:
            issuer: a stand-in.
            spki: the key's SubjectPublicKeyInfo.

        Raises:
            ValueError: the profile gives it none.
            Fault: signerd's linter refuses what it gives.
        """
        rules = self.product.evidence
        terms = terms_of(
            self.product,
            self.place,
            self.key,
            issuer,
            EvidenceStatement.about(rules.level, rules.methods[0], b""),
        )
        tbs = build_tbs(terms, self.place, self.key, issuer)
        return lint(tbs, terms=terms, place=self.place, spki=spki, issuer=issuer)


def spki_of(key: PublicKey) -> bytes:
    """A key's SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sample_of(product: Product, key: PublicKey, moment: datetime) -> Sampled:
    """A board of no order, with a chip id that is as plain as the product's form allows."""
    place = Place(
        work_order="SAMPLE",
        product=product.name,
        chip_id=chip_form(product.evidence).plain(),
        number=1,
        serial_number="SAMPLE-000001",
        certificate_serial=CERTIFICATE_SERIAL,
        moment=moment,
    )
    return Sampled(product, place, key)


def sample_key(key_type: KeyType) -> PublicKey:
    """A public key of this type, whose private half is thrown away. An RSA key takes up to a second."""
    if key_type in _RSA_BITS:
        return rsa.generate_private_key(65537, _RSA_BITS[key_type]).public_key()
    curve = ec.SECP384R1() if key_type is KeyType.P384 else ec.SECP256R1()
    return ec.generate_private_key(curve).public_key()


def one_a_family(accepted: tuple[KeyType, ...]) -> list[KeyType]:
    """The preferred EC and the preferred RSA type: what a linter says depends on the family alone."""
    families: dict[bool, KeyType] = {}
    for key_type in accepted:
        families.setdefault(is_rsa(key_type), key_type)
    return list(families.values())


def is_rsa(key_type: KeyType) -> bool:
    """The family of a key type."""
    return key_type in _RSA_BITS
