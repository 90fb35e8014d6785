"""Step 7 of issuance: the to-be-signed certificate, a pure function of profile, public key and place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.core.certificate_names import (
    MAX_NAMES,
    NAME_OVERHEAD,
    check_attribute,
    check_dns_name,
    check_uri,
)
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.issuer_algorithm import IssuerAlgorithm, IssuerKey, ThrowawayKey, issuer_key
from signerd.core.issuing_chain import Allowance
from signerd.core.key_policy import PublicKey
from signerd.core.name_constraints import Names as CertificateNames
from signerd.core.name_constraints import alternatives
from signerd.core.order import Place
from signerd.core.product import EXTENDED_KEY_USAGES, SUBJECT_OIDS, Product, Profile, fill
from signerd.core.validity import ValidityLimits, check_validity
from signerd.errors import ConfigError

_DEFAULT_LIMITS = ValidityLimits()


@dataclass(frozen=True, slots=True)
class Issuer:
    """The sub-CA, and a throwaway key of its type.

    The cryptography package gives a TBSCertificate only as part of a signed certificate, so one is signed
    with a key that signs nothing else; the key holder then signs the same bytes with the sub-CA's.
    """

    certificate: x509.Certificate
    chain: tuple[bytes, ...]  # DER, from the sub-CA upward, without the root
    key: IssuerKey
    algorithm: IssuerAlgorithm
    throwaway: ThrowawayKey
    authority_key_identifier: x509.AuthorityKeyIdentifier
    limits: ValidityLimits
    allows: Allowance  # what the chain and its root allow certificates

    @classmethod
    def of(
        cls,
        chain: Sequence[x509.Certificate],
        limits: ValidityLimits = _DEFAULT_LIMITS,
        root: x509.Certificate | None = None,
    ) -> Issuer:
        """Makes an issuer of its chain, the sub-CA first. `limits` are the settings'.

        Raises:
            ConfigError: the sub-CA's key is of no type that issues, it has no subject key identifier, or what
                its chain allows cannot be read.
        """
        certificate = chain[0]
        try:
            key, algorithm = issuer_key(certificate.public_key())
        except ValueError as error:
            raise ConfigError(f"the sub-CA: {error}") from error
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            allows = Allowance.of(chain, root)
        except x509.ExtensionNotFound as error:
            raise ConfigError("the sub-CA's certificate has no subject key identifier") from error
        except ValueError as error:
            raise ConfigError(f"a certificate above boards' cannot be read: {error}") from error
        return cls(
            certificate=certificate,
            chain=tuple(issuer.public_bytes(Encoding.DER) for issuer in chain),
            key=key,
            algorithm=algorithm,
            throwaway=algorithm.throwaway(),
            authority_key_identifier=x509.AuthorityKeyIdentifier(identifier.digest, None, None),
            limits=limits,
            allows=allows,
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
    """Fills the product's templates for one place, and looks at what comes out.

    `evidence` is what the record of the place says: an intent that a crash left open is resumed with the
    evidence that it was made of, never with that of the retry.

    Raises:
        ValueError: the profile gives no certificate for this place: a name does not fit its field, or the
            validity is beyond a bound, or the chain does not allow it.
    """
    profile = product.certificate
    values = {
        "serial": place.serial_number,
        "chip_id": place.chip_id,
        "number": str(place.number),
        "product": place.product,
        "work_order": place.work_order,
    }
    names = Names.of(profile, values)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(profile), True),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (issuer.authority_key_identifier, False),
    ]
    if usages := purposes_of(profile):
        extensions.append((x509.ExtendedKeyUsage(usages), False))
    if alternatives := names.alternatives():
        extensions.append((x509.SubjectAlternativeName(alternatives), False))
    if product.evidence.certificate_extension is not None:
        extensions.append((evidence.extension(product.evidence.certificate_extension), False))
    forbidden = next(chain_problems(profile, names, issuer), None)
    if forbidden is not None:
        raise ValueError(f"the chain above it forbids it: {forbidden}")
    begins = profile.begins(place.moment, issuer.allows.begins)
    ends = profile.expires(place.moment)
    check_validity(begins, ends, issuer.allows.ends, issuer.limits)
    return CertificateTerms(names.subject(), begins, ends, tuple(extensions))


def purposes_of(profile: Profile) -> list[x509.ObjectIdentifier]:
    """The extended key usages of a profile."""
    return [
        EXTENDED_KEY_USAGES.get(name) or x509.ObjectIdentifier(name) for name in profile.extended_key_usage
    ]


def chain_problems(profile: Profile, names: Names, issuer: Issuer) -> Iterator[str]:
    """Why no relying party would follow the chain to a certificate of these names."""
    if issuer.allows.constraints:
        yield from issuer.allows.name_problems(names.encoded())
    yield from issuer.allows.purpose_problems(usage.dotted_string for usage in purposes_of(profile))


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one certificate, each of its field's form."""

    attributes: tuple[tuple[str, str], ...]  # of the subject: short name, value
    dns: tuple[str, ...]
    uris: tuple[str, ...]

    @classmethod
    def of(cls, profile: Profile, values: Mapping[str, str]) -> Names:
        """Fills the profile's templates. Raises ValueError where one does not fit its field."""
        problem = next(name_problems(profile, values), None)
        if problem is not None:
            raise ValueError(problem)
        return cls(
            tuple((kind, fill(template, values)) for kind, template in profile.subject),
            tuple(fill(template, values) for template in profile.san_dns),
            tuple(fill(template, values) for template in profile.san_uri),
        )

    def subject(self) -> x509.Name:
        """For the certificate."""
        return x509.Name(x509.NameAttribute(SUBJECT_OIDS[kind], value) for kind, value in self.attributes)

    def encoded(self) -> CertificateNames:
        """As they stand in the certificate."""
        found = self.alternatives()
        encoded = alternatives(x509.SubjectAlternativeName(found).public_bytes()) if found else ()
        return CertificateNames(self.subject().public_bytes(), encoded)

    def alternatives(self) -> list[x509.GeneralName]:
        """For its subjectAltName; empty: it has none."""
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in self.dns]
        return names + [x509.UniformResourceIdentifier(uri) for uri in self.uris]


def name_problems(profile: Profile, values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the profile's names, filled with these values; the template is named."""
    checks: list[tuple[str, str, Callable[[str], None]]] = [
        (f"subject {kind}", template, partial(check_attribute, kind)) for kind, template in profile.subject
    ]
    checks += [("san_dns", template, check_dns_name) for template in profile.san_dns]
    checks += [("san_uri", template, check_uri) for template in profile.san_uri]
    total = 0
    for where, template, check in checks:
        text = fill(template, values)
        total += len(text.encode()) + NAME_OVERHEAD
        try:
            check(text)
        except ValueError as error:
            yield f'{where} "{template}": {error}'
    if total > MAX_NAMES:
        yield f"subject, san_dns and san_uri come to {total} bytes, at most {MAX_NAMES}: take some away"


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
    return builder.sign(issuer.throwaway, issuer.algorithm.hash).tbs_certificate_bytes
