"""The key holder's own look: what it signs, and one change at a time what it does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.signing_samples import (
    Extensions,
    authority_key_id,
    checkpoint,
    crl_tbs,
    edited,
    key_usage,
    leaf_tbs,
    name,
    now,
)
from harness.software_key_holder import ORIGIN, make_device_tree
from signerd.adapters.keyholder.guard import (
    NO_EXPIRY,
    Authority,
    Guard,
    Limits,
    SigningRefusedError,
    check_chip_id,
    check_chip_key,
    check_message,
)
from signerd.core import der
from signerd.core.distinguished_names import compared
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.names import Level, MacKey
from signerd.core.note import VerifierKey

TREE = make_device_tree()
OTHER = make_device_tree(deployment="other")
SUB_CA = TREE.sub_ca
AUTHORITY = Authority.from_certificate(SUB_CA.public_bytes(Encoding.DER))
DAY = timedelta(days=1)
MOMENT = now()


def make_guard(*, allow_no_expiry: bool = True) -> Guard:
    return Guard(
        AUTHORITY, Limits(timedelta(days=10_950), allow_no_expiry), VerifierKey(ORIGIN, b"\x01" * 32)
    )


OWN_OID = "1.3.6.1.4.1.32473.1"  # of the range for documentation (RFC 5612)
STATEMENT = EvidenceStatement.about(Level.KEY, "x509", b"evidence").encode()


def stated(content: bytes = STATEMENT, *, oid: str = OWN_OID, critical: bool = False) -> Extensions:
    return extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content), critical=critical)


def extension(value: x509.ExtensionType, *, critical: bool = False) -> Extensions:
    return {value.oid: (value, critical)}


LEAF = leaf_tbs(SUB_CA, extensions=stated())


def leaf(**changes: object) -> Callable[[], bytes]:
    return lambda: leaf_tbs(SUB_CA, **changes)  # type: ignore[arg-type]


def cut(edit: Callable[[list[bytes]], object]) -> Callable[[], bytes]:
    return lambda: edited(leaf_tbs(SUB_CA), edit)


def put(index: int, element: str) -> Callable[[], bytes]:
    return cut(lambda parts: parts.__setitem__(index, bytes.fromhex(element)))


def test_signs_a_leaf() -> None:
    make_guard().check_certificate(leaf_tbs(SUB_CA), now())


def test_signs_a_leaf_that_never_expires() -> None:
    make_guard().check_certificate(leaf_tbs(SUB_CA, not_after=NO_EXPIRY), now())


def test_signs_a_leaf_of_an_intent_that_waited() -> None:
    make_guard().check_certificate(leaf_tbs(SUB_CA, not_before=now() - 399 * DAY), now())


def test_signs_for_a_p384_authority() -> None:
    tree = make_device_tree(curve=ec.SECP384R1())
    authority = Authority.from_certificate(tree.sub_ca.public_bytes(Encoding.DER))
    guard = Guard(authority, Limits(10_950 * DAY, allow_no_expiry=True), VerifierKey(ORIGIN, b"\x01" * 32))
    guard.check_certificate(leaf_tbs(tree.sub_ca), now())
    with pytest.raises(SigningRefusedError, match="signature algorithm"):
        guard.check_certificate(leaf_tbs(tree.sub_ca, algorithm=hashes.SHA256()), now())


def test_signs_a_leaf_that_speaks_of_its_evidence() -> None:
    make_guard().check_certificate(leaf_tbs(SUB_CA, extensions=stated()), now())
    make_guard().check_certificate(leaf_tbs(SUB_CA, extensions=stated(oid="1.3.6.1.4.1.5.6.7")), now())


def rsa_key(bits: int, *, exponent: int = 65537) -> rsa.RSAPublicKey:
    """A modulus of this size; that nobody has its factors is no matter to a guard that only counts bits."""
    return rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) | 1).public_key()


def common_name(tag: int, value: bytes) -> bytes:
    """A Name of one CN, in this type of string."""
    attribute = der.sequence(bytes.fromhex("0603550403"), der.element(tag, value))
    return der.sequence(der.element(der.SET, attribute))


def put_subject(tag: int, value: bytes) -> Callable[[], bytes]:
    return put(5, common_name(tag, value).hex())


CA_NAME = "test device CA"  # as the sub-CA's certificate spells it, in a UTF8String
# The same name, as RFC 5280 §7.1 compares them.
OTHER_SPELLINGS = {
    "UTF8String, as it stands": (0x0C, CA_NAME.encode()),
    "PrintableString": (0x13, CA_NAME.encode()),
    "IA5String": (0x16, CA_NAME.encode()),
    "letter case": (0x0C, b"Test DEVICE ca"),
    "letter case and type": (0x13, b"TEST DEVICE CA"),
    "blanks before and behind": (0x0C, b"  test device CA "),
    "more blanks between": (0x0C, b"test   device CA"),
    "a no-break space": (0x0C, "test\u00a0device CA".encode()),
    "a tabulator": (0x0C, b"test\tdevice CA"),
    "full-width letters": (0x0C, "ｔｅｓｔ device CA".encode()),
    "a soft hyphen": (0x0C, "te\u00adst device CA".encode()),
    "a zero-width space": (0x0C, "test de\u200bvice CA".encode()),
    "a variation selector": (0x0C, "test device CA\ufe0f".encode()),
}


@pytest.mark.parametrize("spelling", OTHER_SPELLINGS)
def test_refuses_the_authoritys_own_name_in_any_spelling(spelling: str) -> None:
    tag, value = OTHER_SPELLINGS[spelling]
    with pytest.raises(SigningRefusedError, match="subject is the CA"):
        make_guard().check_certificate(put_subject(tag, value)(), now())


@pytest.mark.parametrize("other", ["test device CB", "testdevice CA", "test device CA 2", "tést device CA"])
def test_signs_names_that_only_resemble_the_authoritys(other: str) -> None:
    make_guard().check_certificate(put_subject(0x0C, other.encode())(), now())


def test_an_authority_whose_name_is_an_old_string_is_told_in_a_new_one() -> None:
    old = compared(common_name(0x1E, "Alte CA".encode("utf-16-be")))
    assert old == compared(common_name(0x14, b"ALTE ca")) == compared(common_name(0x0C, b"alte  CA"))


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_signs_for_rsa_keys_of_the_policy(bits: int) -> None:
    make_guard().check_certificate(leaf_tbs(SUB_CA, key=rsa_key(bits)), now())


BAD_LEAVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a CA": (
        leaf(extensions=extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)),
        "leaf",
    ),
    "no basic constraints": (leaf(extensions={ExtensionOID.BASIC_CONSTRAINTS: None}), "basic constraints"),
    "basic constraints not critical": (
        leaf(extensions=extension(x509.BasicConstraints(ca=False, path_length=None))),
        "basic constraints",
    ),
    "keyCertSign": (
        leaf(extensions=extension(key_usage(key_cert_sign=True), critical=True)),
        "may sign certificates",
    ),
    "cRLSign": (leaf(extensions=extension(key_usage(crl_sign=True), critical=True)), "may sign CRLs"),
    "OCSP responder": (
        leaf(extensions=extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]))),
        "may answer for the CA",
    ),
    "any extended key usage": (
        leaf(extensions=extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]))),
        "may answer for the CA",
    ),
    "unknown critical extension": (
        leaf(
            extensions=extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"),
                critical=True,
            )
        ),
        "extension 1.3.6.1.4.1.99999.1",
    ),
    "unknown extension": (
        leaf(
            extensions=extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
            )
        ),
        "extension 1.3.6.1.4.1.99999.1",
    ),
    "a critical statement about evidence": (leaf(extensions=stated(critical=True)), "is critical"),
    "two statements about evidence": (
        leaf(extensions={**stated(), **stated(oid="1.3.6.1.4.1.32473.2")}),
        "two statements",
    ),
    "a statement about evidence with a byte after it": (
        leaf(extensions=stated(STATEMENT + b"\x00")),
        "statement about evidence",
    ),
    "a statement about evidence of version 2": (
        leaf(extensions=stated(STATEMENT.replace(b"\x02\x01\x01", b"\x02\x01\x02", 1))),
        "statement about evidence",
    ),
    "a statement of an unknown level": (
        leaf(extensions=stated(STATEMENT.replace(b"key", b"ten", 1))),
        "statement about evidence",
    ),
    "a statement of an unknown method": (
        leaf(extensions=stated(STATEMENT.replace(b"x509", b"x510", 1))),
        "statement about evidence",
    ),
    "a statement about evidence under an OID of nobody's": (
        leaf(extensions=stated(oid="1.3.6.1.4.2.32473.1")),
        "extension 1.3.6.1.4.2.32473.1 on a leaf",
    ),
    "a statement about evidence under an OID of RFC 5280": (
        leaf(extensions=stated(oid="2.5.29.9")),
        "extension 2.5.29.9 on a leaf",
    ),
    "a private extension that the parser knows": (
        leaf(extensions=extension(x509.PrecertPoison())),
        "extension 1.3.6.1.4.1.11129.2.4.3",
    ),
    "a statement about evidence under an OID that has a meaning": (
        leaf(extensions=stated(oid="1.3.6.1.4.1.11129.2.4.2")),
        "",
    ),
    "name constraints": (
        leaf(extensions=extension(x509.NameConstraints([x509.DNSName("a")], None), critical=True)),
        "extension 2.5.29.30",
    ),
    "critical key id": (
        leaf(extensions=extension(authority_key_id(SUB_CA), critical=True)),
        "is critical",
    ),
    "no authority key id": (
        leaf(extensions={ExtensionOID.AUTHORITY_KEY_IDENTIFIER: None}),
        "authority key id",
    ),
    "another authority key id": (
        leaf(extensions=extension(authority_key_id(OTHER.sub_ca))),
        "authority key id",
    ),
    "another issuer": (leaf(issuer=OTHER.sub_ca.subject), "another issuer"),
    "the root as issuer": (leaf(issuer=TREE.root.subject), "another issuer"),
    "the CA as subject": (leaf(subject=SUB_CA.subject), "subject is the CA"),
    "a subject in BMPString": (put_subject(0x1E, "BM-000001".encode("utf-16-be")), "a value of type 0x1e"),
    "a subject in TeletexString": (put_subject(0x14, b"BM-000001"), "a value of type 0x14"),
    "RSA of 1024 bits": (leaf(key=rsa_key(1024)), "1024 bits"),
    "RSA of 2047 bits": (leaf(key=rsa_key(2047)), "2047 bits"),
    "RSA of 4097 bits": (leaf(key=rsa_key(4097)), "4097 bits"),
    "RSA with exponent 3": (leaf(key=rsa_key(2048, exponent=3)), "exponent"),
    "P-521": (leaf(key=ec.generate_private_key(ec.SECP521R1()).public_key()), "secp521r1"),
    "P-224": (leaf(key=ec.generate_private_key(ec.SECP224R1()).public_key()), "secp224r1"),
    "the CA's own key": (leaf(key=SUB_CA.public_key()), "the CA's own"),
    "an Ed25519 key": (leaf(key=Ed25519PrivateKey.generate().public_key()), "neither an EC nor an RSA"),
    "another hash": (leaf(algorithm=hashes.SHA384()), "signature algorithm"),
    "longer than the cap": (leaf(not_after=now() + 10_951 * DAY), "validity cap"),
    "begins in the future": (leaf(not_before=now() + DAY), "future"),
    "begins long ago": (leaf(not_before=now() - 401 * DAY), "past"),
    "serial of 21 octets": (put(1, "0215" + "01" * 21), "20 octets"),
    "serial zero": (put(1, "020100"), "positive"),
    "negative serial": (put(1, "0201ff"), "positive"),
    "version 2": (put(0, "a003020101"), ""),
    "no version": (cut(lambda parts: parts.pop(0)), ""),
    "no extensions": (cut(lambda parts: parts.pop()), "version 3"),
    "a unique id": (cut(lambda parts: parts.insert(7, bytes.fromhex("81020001"))), "version 3"),
    "algorithm with NULL": (put(2, "300c06082a8648ce3d0403020500"), ""),
    "bytes after it": (lambda: leaf_tbs(SUB_CA) + b"\x00", ""),
    "cut": (lambda: leaf_tbs(SUB_CA)[:-1], ""),
    "empty": (lambda: b"", ""),
    "too large": (lambda: b"\x30" * 16_385, "larger"),
    "a CRL": (lambda: crl_tbs(SUB_CA), ""),
    "a checkpoint": (lambda: checkpoint(ORIGIN, 1), ""),
}


@pytest.mark.parametrize("case", BAD_LEAVES)
def test_refuses_anything_but_a_leaf(case: str) -> None:
    make, reason = BAD_LEAVES[case]
    with pytest.raises(SigningRefusedError, match=reason or None):
        make_guard().check_certificate(make(), now())


def test_refuses_no_expiry_where_it_is_not_allowed() -> None:
    with pytest.raises(SigningRefusedError, match="validity cap"):
        make_guard(allow_no_expiry=False).check_certificate(leaf_tbs(SUB_CA, not_after=NO_EXPIRY), now())


def test_refuses_a_leaf_that_outlives_the_authority() -> None:
    limits = Limits(timedelta(days=36_500), allow_no_expiry=True)
    guard = Guard(AUTHORITY, limits, VerifierKey(ORIGIN, b"\x01" * 32))
    guard.check_certificate(leaf_tbs(SUB_CA, not_after=AUTHORITY.not_after), now())
    with pytest.raises(SigningRefusedError, match="outlives"):
        guard.check_certificate(leaf_tbs(SUB_CA, not_after=AUTHORITY.not_after + timedelta(seconds=1)), now())


def test_refuses_a_length_in_long_form() -> None:
    tbs = leaf_tbs(SUB_CA)
    assert tbs[1] == 0x82
    with pytest.raises(SigningRefusedError):
        make_guard().check_certificate(b"\x30\x83\x00" + tbs[2:], now())


def test_each_changed_byte_of_a_statement_is_refused_or_another_digest() -> None:
    guard, start = make_guard(), LEAF.index(STATEMENT)
    admitted = []
    for position in range(start, start + len(STATEMENT)):
        changed = LEAF[:position] + bytes((LEAF[position] ^ 1,)) + LEAF[position + 1 :]
        try:
            guard.check_certificate(changed, MOMENT)
        except SigningRefusedError:
            continue
        admitted.append(position)
    assert admitted == list(range(start + len(STATEMENT) - 32, start + len(STATEMENT)))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_else(data: st.DataObject) -> None:
    tbs = bytearray(LEAF)
    for _ in range(data.draw(st.integers(1, 3))):
        tbs[data.draw(st.integers(0, len(tbs) - 1))] = data.draw(st.integers(0, 255))
    guard = make_guard()
    checks: list[Callable[[bytes], None]] = [
        lambda tbs: guard.check_certificate(tbs, MOMENT),
        lambda tbs: guard.check_crl(tbs, MOMENT),
        guard.check_checkpoint,
    ]
    for check in checks:
        try:
            check(bytes(tbs))
        except SigningRefusedError:
            continue


def test_signs_a_crl() -> None:
    make_guard().check_crl(crl_tbs(SUB_CA), now())


def crl(**changes: object) -> Callable[[], bytes]:
    return lambda: crl_tbs(SUB_CA, **changes)  # type: ignore[arg-type]


BAD_CRLS: dict[str, tuple[Callable[[], bytes], str]] = {
    "another issuer": (crl(issuer=OTHER.sub_ca.subject), "another issuer"),
    "too long": (crl(lifetime=367 * DAY), "366 days"),
    "old": (crl(this_update=now() - DAY), "thisUpdate"),
    "future": (crl(this_update=now() + DAY), "thisUpdate"),
    "no number": (crl(extensions={ExtensionOID.CRL_NUMBER: None}), "extensions"),
    "no key id": (crl(extensions={ExtensionOID.AUTHORITY_KEY_IDENTIFIER: None}), "extensions"),
    "delta": (crl(extensions=extension(x509.DeltaCRLIndicator(1), critical=True)), "extensions"),
    "another key id": (crl(extensions=extension(authority_key_id(OTHER.sub_ca))), "key id"),
    "no nextUpdate": (lambda: edited(crl_tbs(SUB_CA), lambda parts: parts.pop(4)), "nextUpdate"),
    "version 1": (lambda: edited(crl_tbs(SUB_CA), lambda parts: parts.pop(0)), ""),
    "bytes after it": (lambda: crl_tbs(SUB_CA) + b"\x00", ""),
    "a leaf": (lambda: leaf_tbs(SUB_CA), ""),
}


@pytest.mark.parametrize("case", BAD_CRLS)
def test_refuses_any_other_crl(case: str) -> None:
    make, reason = BAD_CRLS[case]
    with pytest.raises(SigningRefusedError, match=reason or None):
        make_guard().check_crl(make(), now())


def test_signs_checkpoints_that_grow() -> None:
    guard = make_guard()
    guard.check_checkpoint(checkpoint(ORIGIN, 5))
    guard.check_checkpoint(checkpoint(ORIGIN, 5))
    guard.check_checkpoint(checkpoint(ORIGIN, 6, root=b"\x02" * 32))


@pytest.mark.parametrize(
    "body",
    [
        checkpoint("another.log", 6),
        checkpoint(ORIGIN, 4),
        checkpoint(ORIGIN, 5, root=b"\x02" * 32),
        checkpoint(ORIGIN, 6) + b"extension\n",
        checkpoint(ORIGIN, 6) + b"\n",
        checkpoint(ORIGIN, 6).replace(b"\n6\n", b"\n+6\n"),
        checkpoint(ORIGIN, 6).replace(b"\n6\n", b"\n06\n"),
        checkpoint(ORIGIN, 6).removesuffix(b"\n"),
        checkpoint(ORIGIN, 6).replace(b"=\n", b"\n"),
        b"",
        b"\xff",
    ],
)
def test_refuses_any_other_checkpoint(body: bytes) -> None:
    guard = make_guard()
    guard.check_checkpoint(checkpoint(ORIGIN, 5))
    with pytest.raises(SigningRefusedError):
        guard.check_checkpoint(body)
    guard.check_checkpoint(checkpoint(ORIGIN, 6))


def test_bounds_of_a_mac() -> None:
    assert check_chip_id("chip-1") == "chip-1"
    assert check_message(b"m") == b"m"
    for chip_id in ("", "a b", "x" * 65, b"chip-1", None):
        with pytest.raises(SigningRefusedError):
            check_chip_id(chip_id)
    for message in (b"", b"x" * 16_385, "m", None):
        with pytest.raises(SigningRefusedError):
            check_message(message)


@pytest.mark.parametrize(
    ("key", "hash_name"),
    [(MacKey.CHIP, "sha256"), *((MacKey.PSA_IAK, size) for size in ("sha256", "sha384", "sha512"))],
)
def test_a_chip_has_these_keys(key: MacKey, hash_name: str) -> None:
    assert check_chip_key(key.value, hash_name) == (key, hash_name)


@pytest.mark.parametrize(
    ("key", "hash_name"),
    [
        ("chip", "sha384"),
        ("chip", "sha512"),
        ("chip", "sha1"),
        ("psa-iak", "sha224"),
        ("psa-iak", ""),
        ("psa-iak", b"sha256"),
        ("psa-iak", None),
        ("psa-iak", ["sha256"]),
        ("psa_iak", "sha256"),
        ("", "sha256"),
        (None, "sha256"),
        (b"chip", "sha256"),
        (["chip"], "sha256"),
    ],
)
def test_a_chip_has_no_other_key(key: object, hash_name: object) -> None:
    with pytest.raises(SigningRefusedError, match="no such key"):
        check_chip_key(key, hash_name)


@pytest.mark.parametrize(
    ("curve", "reason"),
    [(ec.SECP521R1(), "must be P-256, P-384, or RSA"), (ec.SECP256R1(), "subject key identifier")],
)
def test_an_authority_needs_an_ec_key_of_ours_and_a_key_id(curve: ec.EllipticCurve, reason: str) -> None:
    key = ec.generate_private_key(curve)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name("ca"))
        .issuer_name(name("ca"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now())
        .not_valid_after(now() + DAY)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(ValueError, match=reason):
        Authority.from_certificate(certificate.public_bytes(Encoding.DER))
