from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from signerd.core.crl import REASONS, build_crl
from signerd.core.profile import Issuer

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP384R1())


@dataclass(frozen=True)
class Revoked:
    certificate_serial: int
    revoked_at: datetime
    reason: str


def issuer() -> Issuer:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sub-CA")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
    builder = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=10))
        .public_key(KEY.public_key())
        .add_extension(identifier, critical=False)
    )
    return Issuer.of((builder.sign(KEY, hashes.SHA384()),))


def test_a_crl_says_what_was_revoked_and_verifies() -> None:
    lines = [
        Revoked(number, NOW - timedelta(hours=number), reason) for number, reason in enumerate(REASONS, 1)
    ]
    unsigned = build_crl(
        lines, issuer=issuer(), number=7, this_update=NOW, next_update=NOW + timedelta(hours=168)
    )
    der = unsigned.signed(KEY.sign(unsigned.tbs, ec.ECDSA(hashes.SHA384())))
    crl = x509.load_der_x509_crl(der)
    assert crl.is_signature_valid(KEY.public_key())
    assert (crl.last_update_utc, crl.next_update_utc) == (NOW, NOW + timedelta(days=7))
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    for line in lines:
        found = crl.get_revoked_certificate_by_serial_number(line.certificate_serial)
        assert found is not None
        assert found.revocation_date_utc == line.revoked_at
        said = [extension.value for extension in found.extensions]
        flag = REASONS[line.reason]
        assert said == ([] if flag is None else [x509.CRLReason(flag)])


def test_an_empty_crl_is_a_crl() -> None:
    unsigned = build_crl([], issuer=issuer(), number=1, this_update=NOW, next_update=NOW + timedelta(hours=1))
    crl = x509.load_der_x509_crl(unsigned.signed(KEY.sign(unsigned.tbs, ec.ECDSA(hashes.SHA384()))))
    assert len(crl) == 0
