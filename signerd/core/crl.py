"""Certificate revocation lists (RFC 5280 §5): the bytes to be signed, and the signed whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.core import der
from signerd.core.profile import Issuer

# Names of RFC 5280 §5.3.1 that a revocation may give, in its own spelling. A revocation is final, so there is
# neither `certificateHold` nor `removeFromCRL`; `unspecified` is said by leaving the extension out.
REASONS = {
    "unspecified": None,
    "keyCompromise": x509.ReasonFlags.key_compromise,
    "cACompromise": x509.ReasonFlags.ca_compromise,
    "affiliationChanged": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessationOfOperation": x509.ReasonFlags.cessation_of_operation,
    "privilegeWithdrawn": x509.ReasonFlags.privilege_withdrawn,
    "aACompromise": x509.ReasonFlags.aa_compromise,
}


class Revocation(Protocol):
    """One line of the list. `revoked_at` is aware, UTC, whole seconds; `reason` is a key of `REASONS`."""

    @property
    def certificate_serial(self) -> int: ...  # noqa: D102 # the class says it, as of the two below
    @property
    def revoked_at(self) -> datetime: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class UnsignedCrl:
    """A TBSCertList, and how its signature is to be joined to it."""

    tbs: bytes
    algorithm: bytes

    def signed(self, signature: bytes) -> bytes:
        """The CertificateList, DER, with the issuer's signature value."""
        return der.signed(self.tbs, self.algorithm, signature)


def build_crl(
    revocations: Iterable[Revocation],
    *,
    issuer: Issuer,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> UnsignedCrl:
    """A complete CRL of one issuer, version 2, with CRL number and authority key identifier (§5.2).

    `this_update` and `next_update` are aware, UTC, whole seconds.
    """
    # Given whole to the builder: adding lines one by one copies the list each time.
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=issuer.certificate.subject,
        last_update=this_update.replace(tzinfo=None),
        next_update=next_update.replace(tzinfo=None),
        revoked_certificates=[_line(revocation) for revocation in revocations],
    )
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    builder = builder.add_extension(issuer.authority_key_identifier, critical=False)
    # Signed with the throwaway key, because the package gives a TBSCertList only as part of a signed list.
    whole = builder.sign(issuer.throwaway, issuer.algorithm.hash).public_bytes(Encoding.DER)
    tbs, algorithm, _ = der.split_signed(whole)
    return UnsignedCrl(tbs, algorithm)


def _line(revocation: Revocation) -> x509.RevokedCertificate:
    line = (
        x509.RevokedCertificateBuilder()
        .serial_number(revocation.certificate_serial)
        .revocation_date(revocation.revoked_at)
    )
    reason = REASONS[revocation.reason]
    if reason is not None:
        line = line.add_extension(x509.CRLReason(reason), critical=False)
    return line.build()
