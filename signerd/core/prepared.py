"""The one-shot token that makes "sign what was not linted" impossible to write.

A `PreparedCertificate` comes out of `lint` alone, and gives its bytes once. The linter is structural and
our own, for each issuance; the full linter runs when a product is added.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.core import der
from signerd.core.order import Place
from signerd.core.profile import CertificateTerms, Issuer
from signerd.errors import Fault

_MAX_SERIAL_BITS = 159  # 20 octets with a clear sign bit (RFC 5280 §4.1.2.2)
_MAX_COMMON_NAME = 64  # ub-common-name (RFC 5280 appendix A.1)
_TOKEN = object()


class PreparedCertificate:
    """Bytes that passed the linter, and may be signed once."""

    def __init__(self, token: object, tbs: bytes, algorithm: bytes) -> None:
        if token is not _TOKEN:
            raise Fault("a PreparedCertificate comes from the linter alone")
        self.tbs = tbs
        self._algorithm = algorithm
        self._taken = False

    def take(self) -> bytes:
        """The TBSCertificate, for the key holder. The second call is a fault."""
        if self._taken:
            raise Fault("this certificate was handed to the key holder before")
        self._taken = True
        return self.tbs

    def certificate(self, signature: bytes) -> bytes:
        """The certificate, DER, with the signature value that the key holder returned."""
        return der.signed(self.tbs, self._algorithm, signature)


def lint(
    tbs: bytes, *, terms: CertificateTerms, place: Place, spki: bytes, issuer: Issuer
) -> PreparedCertificate:
    """Holds a TBSCertificate against what it should say, field by field.

    Raises:
        Fault: it says anything else. Nothing that a peer sends can bring this about.
    """
    algorithm = issuer.algorithm.identifier
    try:
        # Parsed from the bytes to be signed, so that what was built is not believed.
        certificate = x509.load_der_x509_certificate(der.signed(tbs, algorithm, b"\x00"))
        problem = _problem(certificate, terms, place, spki, issuer)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise Fault(f"certificate of {place.serial_number} fails the linter: {problem}")
    return PreparedCertificate(_TOKEN, tbs, algorithm)


def _problem(
    certificate: x509.Certificate, terms: CertificateTerms, place: Place, spki: bytes, issuer: Issuer
) -> str | None:
    serial = certificate.serial_number
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    found = tuple((extension.value, extension.critical) for extension in certificate.extensions)
    own = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    checks = {
        "version is not v3": certificate.version is x509.Version.v3,
        "serial number out of bounds": 0 < serial.bit_length() <= _MAX_SERIAL_BITS,
        "serial number is not the place's": serial == place.certificate_serial,
        "issuer is not the sub-CA": certificate.issuer == issuer.certificate.subject,
        "subject is empty": len(certificate.subject) > 0,
        "subject is not the profile's": certificate.subject == terms.subject,
        "common name too long": all(len(name.value) <= _MAX_COMMON_NAME for name in names),
        "validity is not the profile's": certificate.not_valid_before_utc == terms.not_before
        and certificate.not_valid_after_utc == terms.not_after,
        "validity is empty": terms.not_before < terms.not_after,
        "begins before its issuer": terms.not_before >= issuer.certificate.not_valid_before_utc,
        "public key is not the CSR's": own == spki,
        "public key is the issuer's": certificate.public_key() != issuer.key,
        "extensions are not the profile's": found == terms.extensions,
        "not exactly a leaf": certificate.extensions[0].value
        == x509.BasicConstraints(ca=False, path_length=None),
        "signature algorithms differ": certificate.signature_hash_algorithm is not None
        and certificate.signature_hash_algorithm.name == issuer.algorithm.hash.name,
    }
    return next((problem for problem, holds in checks.items() if not holds), None)
