from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.core.evidence_extension import EvidenceStatement, parse
from signerd.core.issuer_algorithm import ThrowawayKey, issuer_key
from signerd.core.names import KeyType, Level
from signerd.core.order import Place
from signerd.core.prepared import PreparedCertificate, lint
from signerd.core.product import fill, parse_product
from signerd.core.profile import CertificateTerms, Issuer, build_tbs, terms_of
from signerd.core.sample import sample_key, sample_of, stand_in
from signerd.core.validity import NO_EXPIRY
from signerd.errors import Code, ConfigError, Fault, Refused

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PRODUCT_TOML = """
name = "sensor"
[keys]
accept = ["p256"]
[evidence]
methods = ["hmac-sha256"]
[certificate]
validity_days = 7300
subject = [["O", "Example Corp"], ["CN", "{serial}"]]
key_usage = ["digitalSignature"]
extended_key_usage = ["clientAuth"]
san_uri = ["urn:example:chip:{chip_id}"]
[stamp]
required_locks = ["secure_boot"]
"""
PRODUCT = parse_product(PRODUCT_TOML)
PLACE = Place("WO-1", "sensor", "chip:1", 1, "BM-000001", 2**152 + 7, NOW)
BOARD = ec.generate_private_key(ec.SECP256R1())
SPKI = BOARD.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sub_ca(
    key: ThrowawayKey,
    *,
    ski: bool = True,
    common_name: str = "Sub-CA",
    begins: datetime = NOW - timedelta(days=1),
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(NOW + timedelta(days=9000))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    if ski:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    return builder.sign(key, hashes.SHA256())


CA_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = Issuer.of((sub_ca(CA_KEY),))
OTHER_CA = sub_ca(CA_KEY, common_name="Other")
STATED = EvidenceStatement.about(Level.CHIP, "hmac-sha256", b"evidence")
TERMS = terms_of(PRODUCT, PLACE, BOARD.public_key(), ISSUER, STATED)
TBS = build_tbs(TERMS, PLACE, BOARD.public_key(), ISSUER)


def prepared(tbs: bytes = TBS, **change: Any) -> PreparedCertificate:
    arguments: dict[str, Any] = {"terms": TERMS, "place": PLACE, "spki": SPKI, "issuer": ISSUER}
    return lint(tbs, **(arguments | change))


def test_the_certificate_verifies_and_says_what_the_profile_says() -> None:
    token = prepared()
    signature = CA_KEY.sign(token.take(), ec.ECDSA(hashes.SHA256()))
    certificate = x509.load_der_x509_certificate(token.certificate(signature))
    certificate.verify_directly_issued_by(ISSUER.certificate)
    assert certificate.subject.rfc4514_string() == "CN=BM-000001,O=Example Corp"
    assert certificate.public_key() == BOARD.public_key()
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7300)
    uris = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert uris.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:example:chip:chip:1"]


def test_the_same_place_and_key_give_the_same_bytes() -> None:
    again = Issuer.of((ISSUER.certificate,))  # another throwaway key, as after a restart
    terms = terms_of(PRODUCT, PLACE, BOARD.public_key(), again, STATED)
    assert build_tbs(terms, PLACE, BOARD.public_key(), again) == TBS


def test_a_p384_sub_ca_signs_with_sha384() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    issuer = Issuer.of((sub_ca(key),))
    terms = terms_of(PRODUCT, PLACE, BOARD.public_key(), issuer, STATED)
    token = prepared(build_tbs(terms, PLACE, BOARD.public_key(), issuer), terms=terms, issuer=issuer)
    signature = key.sign(token.take(), ec.ECDSA(hashes.SHA384()))
    x509.load_der_x509_certificate(token.certificate(signature)).verify_directly_issued_by(issuer.certificate)


def test_a_prepared_certificate_is_taken_once_and_comes_from_the_linter_alone() -> None:
    token = prepared()
    token.take()
    with pytest.raises(Fault, match="before"):
        token.take()
    with pytest.raises(Fault, match="linter alone"):
        PreparedCertificate(object(), TBS, b"")


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        ("serial number is not the place's", {"place": replace(PLACE, certificate_serial=5)}),
        ("subject is not", {"terms": replace(TERMS, subject=ISSUER.certificate.subject)}),
        ("validity is not", {"terms": replace(TERMS, not_before=NOW + timedelta(seconds=1))}),
        ("validity is not", {"terms": replace(TERMS, not_after=NOW + timedelta(days=1))}),
        ("public key is not the CSR's", {"spki": SPKI[:-1] + bytes([SPKI[-1] ^ 1])}),
        ("extensions are not", {"terms": replace(TERMS, extensions=TERMS.extensions[:-1])}),
        ("issuer is not", {"issuer": replace(ISSUER, certificate=OTHER_CA)}),
    ],
)
def test_the_linter_finds(problem: str, change: dict[str, Any]) -> None:
    prepared()
    with pytest.raises(Fault, match=problem):
        prepared(**change)


def test_the_linter_refuses_a_ca_even_if_the_terms_ask_for_one() -> None:
    extensions = ((x509.BasicConstraints(ca=True, path_length=None), True), *TERMS.extensions[1:])
    terms = replace(TERMS, extensions=extensions)
    tbs = build_tbs(terms, PLACE, BOARD.public_key(), ISSUER)
    with pytest.raises(Fault, match="not exactly a leaf"):
        prepared(tbs, terms=terms)


def test_the_linter_refuses_bytes_that_are_no_certificate() -> None:
    for tbs in (b"", TBS[:-1], TBS + b"\x00"):
        with pytest.raises(Fault, match="linter"):
            prepared(tbs)


def test_an_issuer_without_key_identifier_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="subject key identifier"):
        Issuer.of((sub_ca(CA_KEY, ski=False),))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "sensor"', 'name = "a/b"', "name"),
        ('accept = ["p256"]', 'accept = ["p521"]', "keys.accept"),
        ('accept = ["p256"]', "accept = []", "keys.accept"),
        ('["hmac-sha256"]', '["magic"]', "evidence.methods"),
        ("validity_days = 7300", "validity_days = 0", "validity_days"),
        ("validity_days = 7300", 'validity_days = 1\nnot_after = "99991231235959Z"', "certificate"),
        ("validity_days = 7300", "", "certificate"),
        ('["CN", "{serial}"]', '["XX", "{serial}"]', "certificate"),
        ('"{serial}"', '"{secret}"', "certificate.subject"),
        ('"{serial}"', '"{serial"', "certificate.subject"),
        ('"{serial}"', '"{serial.__class__}"', "certificate.subject"),
        ('["digitalSignature"]', '["keyCertSign"]', "key_usage"),
        ('["clientAuth"]', '["flying"]', "extended_key_usage"),
        ("validity_days = 7300", "validity_days = 7300\nbackdate_s = 86401", "backdate_s"),
        ("validity_days = 7300", "validity_days = 7300\nbackdate_s = -1", "backdate_s"),
        ("[stamp]", "[stamp]\nunknown = 1", "stamp.unknown"),
        ('["secure_boot"]', '["secure boot"]', "required_locks"),
        ('name = "sensor"', 'name = "sensor', "not TOML"),
    ],
)
def test_a_wrong_product_file_names_the_key(old: str, new: str, named: str) -> None:
    assert old in PRODUCT_TOML
    with pytest.raises(Refused, match=named) as caught:
        parse_product(PRODUCT_TOML.replace(old, new))
    assert caught.value.code is Code.INVALID


def test_no_expiry_is_the_standard_moment() -> None:
    text = PRODUCT_TOML.replace("validity_days = 7300", 'not_after = "99991231235959Z"')
    assert parse_product(text).certificate.expires(NOW) == NO_EXPIRY


@pytest.mark.parametrize(
    ("seconds", "begins"),
    [
        (0, NOW),
        (3600, NOW - timedelta(hours=1)),
        (86_400, NOW - timedelta(days=1)),  # as the sub-CA, and never before it
    ],
)
def test_a_certificate_begins_before_its_place_was_taken_and_not_before_its_issuer(
    seconds: int, begins: datetime
) -> None:
    product = parse_product(
        PRODUCT_TOML.replace("validity_days = 7300", f"validity_days = 7300\nbackdate_s = {seconds}")
    )
    young = Issuer.of((sub_ca(CA_KEY, begins=NOW - timedelta(minutes=5)),))
    for issuer, expected in ((ISSUER, begins), (young, max(begins, NOW - timedelta(minutes=5)))):
        terms = terms_of(product, PLACE, BOARD.public_key(), issuer, STATED)
        assert terms.not_before == expected
        assert terms.not_after == NOW + timedelta(days=7300)
        lint(
            build_tbs(terms, PLACE, BOARD.public_key(), issuer),
            terms=terms,
            place=PLACE,
            spki=SPKI,
            issuer=issuer,
        )


def test_a_value_cannot_bring_in_a_placeholder() -> None:
    assert fill("{serial}-{number}", {"serial": "{number}", "number": "7"}) == "{number}-7"


def test_a_common_name_that_is_too_long_gives_no_certificate() -> None:
    product = parse_product(PRODUCT_TOML.replace('"{serial}"', '"{serial}{serial}{serial}"'))
    place = replace(PLACE, serial_number="s" * 30)
    with pytest.raises(ValueError, match="64"):
        terms_of(product, place, BOARD.public_key(), ISSUER, STATED)


OWN_OID = "1.3.6.1.4.1.32473.1"
SPEAKING = parse_product(
    PRODUCT_TOML.replace("[evidence]", f'[evidence]\ncertificate_extension = "{OWN_OID}"')
)


def speaking_terms(stated: EvidenceStatement = STATED) -> CertificateTerms:
    return terms_of(SPEAKING, PLACE, BOARD.public_key(), ISSUER, stated)


def statement_of(certificate: x509.Certificate) -> EvidenceStatement:
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(OWN_OID))
    assert not extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return parse(extension.value.value)


def test_a_certificate_speaks_of_its_evidence_where_the_product_says_so() -> None:
    terms = speaking_terms()
    tbs = build_tbs(terms, PLACE, BOARD.public_key(), ISSUER)
    token = prepared(tbs, terms=terms)
    signature = CA_KEY.sign(token.take(), ec.ECDSA(hashes.SHA256()))
    certificate = x509.load_der_x509_certificate(token.certificate(signature))
    certificate.verify_directly_issued_by(ISSUER.certificate)
    assert statement_of(certificate) == STATED
    # Nothing else changes: without the extension it is the certificate of the silent product.
    assert terms.extensions[:-1] == TERMS.extensions


@pytest.mark.parametrize(
    "other",
    [
        replace(STATED, level=Level.KEY),
        replace(STATED, method="none"),
        replace(STATED, evidence_sha256=bytes(32)),
    ],
)
def test_the_linter_finds_a_statement_about_other_evidence(other: EvidenceStatement) -> None:
    tbs = build_tbs(speaking_terms(), PLACE, BOARD.public_key(), ISSUER)
    prepared(tbs, terms=speaking_terms())
    with pytest.raises(Fault, match="extensions are not"):
        prepared(tbs, terms=speaking_terms(other))
    with pytest.raises(Fault, match="extensions are not"):
        prepared(tbs)


def test_the_sample_of_a_product_speaks_of_evidence_too() -> None:
    sample = sample_of(SPEAKING, sample_key(KeyType.P256), NOW)
    tbs = sample.certificate(stand_in(ISSUER))
    assert EvidenceStatement.about(Level.NONE, "hmac-sha256", b"").encode() in tbs


def test_an_rsa_sub_ca_signs_by_pkcs1_with_sha256() -> None:
    """The throwaway key is shorter than the issuer's: nothing of it is in the bytes to be signed."""
    for bits in (2048, 3072):
        key = rsa.generate_private_key(65537, bits)
        issuer = Issuer.of((sub_ca(key),))
        terms = terms_of(PRODUCT, PLACE, BOARD.public_key(), issuer, STATED)
        tbs = build_tbs(terms, PLACE, BOARD.public_key(), issuer)
        assert tbs == build_tbs(terms, PLACE, BOARD.public_key(), Issuer.of((issuer.certificate,)))
        token = prepared(tbs, terms=terms, issuer=issuer)
        signature = key.sign(token.take(), padding.PKCS1v15(), hashes.SHA256())
        issuer.algorithm.verify(issuer.key, signature, tbs)
        certificate = x509.load_der_x509_certificate(token.certificate(signature))
        certificate.verify_directly_issued_by(issuer.certificate)
        with pytest.raises(InvalidSignature):
            issuer.algorithm.verify(issuer.key, signature, tbs + b"\x00")


@pytest.mark.parametrize(("bits", "exponent"), [(1024, 65537), (2047, 65537), (2048, 3), (8192, 65537)])
def test_rsa_keys_that_issue_nothing(bits: int, exponent: int) -> None:
    modulus = (1 << (bits - 1)) | 1
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    with pytest.raises(ValueError, match="must be P-256, P-384, or RSA"):
        issuer_key(key)
