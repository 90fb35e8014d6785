"""Step 7 of issuance: the to-be-signed certificate, a pure function of profile, public key and place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.key_policy import PublicKey
from signerd.core.order import Place
from signerd.core.product import EXTENDED_KEY_USAGES, SUBJECT_OIDS, Product, Profile, fill
from signerd.errors import ConfigError

_HASHES: dict[str, hashes.SHA256 | hashes.SHA384] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """The sub-CA, and a throwaway key of its type.

    The cryptography package gives a TBSCertificate only as part of a signed certificate, so one is signed
    with a key that signs nothing else; the key holder then signs the same bytes with the sub-CA's.
    """

    certificate: x509.Certificate
    chain: tuple[bytes, ...]  # DER, from the sub-CA upward, without the root
    key: ec.EllipticCurvePublicKey
    hash: hashes.SHA256 | hashes.SHA384
    throwaway: ec.EllipticCurvePrivateKey
    authority_key_identifier: x509.AuthorityKeyIdentifier

    @classmethod
    def of(cls, chain: tuple[x509.Certificate, ...]) -> Issuer:
        """Makes an issuer of its chain, the sub-CA first.

        Raises:
            ConfigError: the sub-CA's key is not P-256 or P-384, or it has no subject key identifier.
        """
        certificate = chain[0]
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise ConfigError("the sub-CA's key must be P-256 or P-384")
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound as error:
            raise ConfigError("the sub-CA's certificate has no subject key identifier") from error
        return cls(
            certificate=certificate,
            chain=tuple(issuer.public_bytes(Encoding.DER) for issuer in chain),
            key=key,
            hash=_HASHES[key.curve.name],
            throwaway=ec.generate_private_key(key.curve),
            authority_key_identifier=x509.AuthorityKeyIdentifier(identifier.digest, None, None),
        )


@dataclass(frozen=True, slots=True)
class CertificateTerms:
    """What the certificate of one place must say; the linter holds the bytes against it."""

    subject: x509.Name
    not_before: datetime
    not_after: datetime
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]  # with their criticality, in order


def terms_of(
    product: Product, place: Place, key: PublicKey, issuer: Issuer, evidence: EvidenceStatement
) -> CertificateTerms:
    """Fills the product's templates for one place.

    `evidence` is what the record of the place says: an intent that a crash left open is resumed with the
    evidence that it was made of, never with that of the retry.

    Raises:
        ValueError: a filled template does not fit its field (RFC 5280 upper bounds).
    """
    profile = product.certificate
    values = {
        "serial": place.serial_number,
        "chip_id": place.chip_id,
        "number": str(place.number),
        "product": place.product,
        "work_order": place.work_order,
    }
    subject = x509.Name(
        x509.NameAttribute(SUBJECT_OIDS[kind], fill(template, values)) for kind, template in profile.subject
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(profile), True),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (issuer.authority_key_identifier, False),
    ]
    if profile.extended_key_usage:
        usages = [
            EXTENDED_KEY_USAGES.get(name) or x509.ObjectIdentifier(name)
            for name in profile.extended_key_usage
        ]
        extensions.append((x509.ExtendedKeyUsage(usages), False))
    names: list[x509.GeneralName] = [x509.DNSName(fill(template, values)) for template in profile.san_dns]
    names += [x509.UniformResourceIdentifier(fill(template, values)) for template in profile.san_uri]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    if product.evidence.certificate_extension is not None:
        extensions.append((evidence.extension(product.evidence.certificate_extension), False))
    begins = profile.begins(place.moment, issuer.certificate.not_valid_before_utc)
    return CertificateTerms(subject, begins, profile.expires(place.moment), tuple(extensions))


def _key_usage(profile: Profile) -> x509.KeyUsage:
    wanted = profile.key_usage
    return x509.KeyUsage(
        digital_signature="digitalSignature" in wanted,
        content_commitment="contentCommitment" in wanted,
        key_encipherment="keyEncipherment" in wanted,
        data_encipherment="dataEncipherment" in wanted,
        key_agreement="keyAgreement" in wanted,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def build_tbs(terms: CertificateTerms, place: Place, key: PublicKey, issuer: Issuer) -> bytes:
    """The TBSCertificate (RFC 5280 §4.1), DER. The same arguments always give the same bytes.

    Raises:
        ValueError: a value does not fit its field.
    """
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.certificate.subject)
        .subject_name(terms.subject)
        .serial_number(place.certificate_serial)
        .not_valid_before(terms.not_before)
        .not_valid_after(terms.not_after)
        .public_key(key)
    )
    for extension, critical in terms.extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer.throwaway, issuer.hash).tbs_certificate_bytes
