"""Certificates as chips' vendors write them, and as nobody may: signerd and the auditor judge each alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.evidence import certificate as auditors
from boards.attesters.certificate_writer import (
    Authority,
    basic_constraints,
    common_name,
    extended_key_usage,
    extension,
    integer,
    issue,
    key_usage,
    make_key,
    oid,
    root_authority,
    seal,
    spki_of,
    sub_authority,
    subject,
    tlv,
)
from boards.attesters.x509 import TCB_INFO
from harness.chain_pair import Verdict, judge
from signerd.core.der import SEQUENCE, content
from signerd.core.evidence import certificate as signerds

SERIAL, CN = "2.5.4.5", "2.5.4.3"
PRINTABLE, UTF8, T61, IA5, UNIVERSAL, BMP = 0x13, 0x0C, 0x14, 0x16, 0x1C, 0x1E
ROOT = root_authority("Root", make_key("p256"))
CA = sub_authority(ROOT, "CA", make_key("p256"))
KEY = make_key("p256")
LEAF = (basic_constraints(ca=False), key_usage("digital_signature"))
CRITICAL_FALSE, CRITICAL_TRUE = tlv(0x01, b"\x00"), tlv(0x01, b"\xff")


def name(*values: tuple[str, int, bytes]) -> bytes:
    """A Name of attributes, each of this type of string."""
    return tlv(0x30, *(tlv(0x31, tlv(0x30, oid(kind), tlv(tag, value))) for kind, tag, value in values))


CHIP = name((SERIAL, PRINTABLE, b"CHIP-1"))


def leaf(
    issuer: Authority = CA, extensions: Sequence[bytes] = LEAF, subject: bytes = CHIP, **more: Any
) -> bytes:
    return issue(issuer, subject, spki_of(KEY), extensions, **more)


def below(sent: bytes, *, chip_id: str = "serialNumber", now: datetime | None = None) -> Verdict:
    """The verdict on a leaf under the intermediate CA."""
    when = {} if now is None else {"now": now}
    return judge([sent, CA.certificate], ROOT.certificate, chip_id=chip_id, **when)


def accepted(chip: str = "CHIP-1") -> Verdict:
    return Verdict("", chip)


def authority_with(
    *extensions: bytes, issuer: Authority = ROOT, own: bytes = CA.name, **more: Any
) -> Authority:
    """A CA of the intermediate one's key with other extensions, or another name."""
    return Authority(own, CA.key, issue(issuer, own, spki_of(CA.key), extensions, **more))


def validity(begin: tuple[int, bytes], end: tuple[int, bytes]) -> bytes:
    return tlv(0x30, tlv(*begin), tlv(*end))


UTC_2020, FOREVER = (0x17, b"200101000000Z"), (0x18, b"99991231235959Z")


def test_a_leaf_as_trust_and_go_has_it() -> None:
    """SAN: directoryName of a PrintableString with `_`; notAfter 2048 as GeneralizedTime; AKI and SKI."""
    chip = name((SERIAL, PRINTABLE, b"eui48_0004A3000001"))
    names = extension("2.5.29.17", tlv(0x30, tlv(0xA4, chip)))
    sent = leaf(
        extensions=(
            basic_constraints(ca=False),
            key_usage("digital_signature", "key_agreement"),
            names,
            extension("2.5.29.14", tlv(0x04, bytes(20))),
            extension("2.5.29.35", tlv(0x30, tlv(0x80, bytes(20)))),
        ),
        subject=name(("2.5.4.10", UTF8, b"Microchip Technology Inc"), (CN, UTF8, b"sn0123030405060708EE")),
        times=validity((0x17, b"200801000000Z"), (0x18, b"20480801000000Z")),
    )
    assert below(sent, chip_id="CN") == accepted("sn0123030405060708EE")
    late = datetime(2048, 8, 1, 0, 0, 1, tzinfo=UTC)
    assert "expired" in below(sent, chip_id="CN", now=late).reason


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (PRINTABLE, b"CHIP_1"),
        (PRINTABLE, b"CHIP-1"),
        (UTF8, b"CHIP-1"),
        (T61, b"CHIP-1"),
        (IA5, b"CHIP_1"),
        (0x12, b"0123"),
        (0x1A, b"CHIP-1"),
        (UNIVERSAL, "CHIP-1".encode("utf-32-be")),
        (BMP, "CHIP-1".encode("utf-16-be")),
    ],
)
def test_a_chip_id_in_any_type_of_string(tag: int, value: bytes) -> None:
    text = value.replace(b"\x00", b"").decode()
    sent = leaf(subject=name((SERIAL, tag, value), ("2.5.4.10", PRINTABLE, b"a@b_c*")))
    assert below(sent) == accepted(text)
    for other in (text[:-1], "-1"):  # and nothing else is
        assert below(leaf(subject=name((SERIAL, PRINTABLE, other.encode())))) == accepted(other)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (UTF8, b"\xff"),
        (PRINTABLE, b"\xc3\xa9"),
        (BMP, b"\x00"),
        (UNIVERSAL, b"\x00\x00\x00"),
        (0x02, b"\x01"),
    ],
)
def test_a_value_that_is_no_text_names_no_chip_and_hinders_none(tag: int, value: bytes) -> None:
    assert "is no text" in below(leaf(subject=name((SERIAL, tag, value)))).reason
    beside = name(("2.5.4.10", tag, value), (SERIAL, PRINTABLE, b"CHIP-1"))
    assert below(leaf(subject=beside)) == accepted()


def test_names_are_chained_as_section_7_1_has_it() -> None:
    above = name(("2.5.4.10", PRINTABLE, b"Example  Silicon"), (CN, PRINTABLE, b"ca 1"))
    ca = authority_with(basic_constraints(ca=True), own=above)
    for said, holds in (
        (above, True),
        (name(("2.5.4.10", UTF8, b"example silicon"), (CN, UTF8, b"CA 1")), True),
        (name(("2.5.4.10", BMP, "Example Silicon".encode("utf-16-be")), (CN, T61, b" Ca  1 ")), True),
        (name(("2.5.4.10", UTF8, b"Example Silicon")), False),
        (name((CN, PRINTABLE, b"ca 1"), ("2.5.4.10", PRINTABLE, b"Example  Silicon")), False),
        (name(("2.5.4.10", UTF8, b"Example Silicon"), (CN, UTF8, b"CA 2")), False),
        (name(("2.5.4.10", UTF8, b"Example Silicon\xff"), (CN, UTF8, b"CA 1")), False),
        (b"\x30\x00", False),
    ):
        sent = leaf(Authority(said, ca.key))
        verdict = judge([sent, ca.certificate], ROOT.certificate)
        assert verdict == accepted() if holds else "issuer" in verdict.reason
        root = Authority(above, CA.key, issue(Authority(above, CA.key), above, spki_of(CA.key), CAS))
        verdict = judge([sent], root.certificate)
        assert verdict == accepted() if holds else "pinned root" in verdict.reason


CAS = (basic_constraints(ca=True), key_usage("key_cert_sign"))


def test_a_default_that_is_written_out_is_the_default() -> None:
    unknown = tlv(0x30, oid("1.2.3"), CRITICAL_FALSE, tlv(0x04, b"any"))
    constraints = tlv(0x30, oid("2.5.29.19"), CRITICAL_FALSE, tlv(0x04, tlv(0x30, CRITICAL_FALSE)))
    assert below(leaf(extensions=(unknown, constraints))) == accepted()
    # And a CA that says FALSE is none.
    ca = authority_with(constraints)
    assert "no CA" in judge([leaf(ca), ca.certificate], ROOT.certificate).reason
    for flag in (b"\x01", b"\x7f", b"", b"\x00\x00"):
        odd = tlv(0x30, oid("1.2.3"), tlv(0x01, flag), tlv(0x04, b"any"))
        assert "cannot be read" in below(leaf(extensions=(odd,))).reason
        odd = extension("2.5.29.19", tlv(0x30, tlv(0x01, flag)))
        assert "cannot be read" in below(leaf(extensions=(odd,))).reason


def test_critical_policies_of_a_ca_decide_nothing() -> None:
    """As CAs of attestation keys have them (RFC 5280 §6.1.1: the path serves any policy)."""
    policies = extension("2.5.29.32", tlv(0x30, tlv(0x30, oid("1.3.6.1.4.1.311.21.31"))), critical=True)
    ca = authority_with(*CAS, policies)
    assert judge([leaf(ca, (*LEAF, policies)), ca.certificate], ROOT.certificate) == accepted()


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("kind", ["2.5.29.30", "2.5.29.36", "2.5.29.54", "2.5.29.33", "1.2.3"])
def test_constraints_and_unknown_critical_extensions(kind: str, critical: bool) -> None:
    """Of names and policies whether critical or not; inhibitAnyPolicy, mappings and others if critical."""
    refused = critical or kind in {"2.5.29.30", "2.5.29.36"}
    more = extension(kind, tlv(0x30), critical=critical)
    ca, root = authority_with(*CAS, more), root_authority("Root", ROOT.key, (*CAS, more))
    for verdict in (
        below(leaf(extensions=(*LEAF, more))),
        judge([leaf(ca), ca.certificate], ROOT.certificate),
        judge([leaf(), CA.certificate], root.certificate),
    ):
        assert (verdict != accepted()) is refused
        assert not refused or kind in verdict.reason


def test_an_extension_twice() -> None:
    for one in (extension("1.2.3", b"a"), basic_constraints(ca=False), key_usage("digital_signature")):
        assert below(leaf(extensions=(one,))) == accepted()
        assert "twice" in below(leaf(extensions=(one, one))).reason
    for first, second in ((True, False), (False, True)):
        both = (basic_constraints(ca=first), basic_constraints(ca=second))
        assert "twice" in below(leaf(extensions=both)).reason


@pytest.mark.parametrize(
    "wrong",
    [
        validity((0x17, b"2001010000Z"), FOREVER),
        validity((0x17, b"200101000000+0000"), FOREVER),
        validity((0x17, b"200101000060Z"), FOREVER),
        validity((0x17, b"200230000000Z"), FOREVER),
        validity((0x17, b"2 0101000000Z"), FOREVER),
        validity((0x17, b"+20101000000Z"), FOREVER),
        validity((0x17, b"20200101000000Z"), FOREVER),
        validity((0x18, b"200101000000Z"), FOREVER),
        validity((0x18, b"20200101000000"), FOREVER),
        validity((0x18, b"20200101000000.5Z"), FOREVER),
        validity((0x18, b"202001010000Z"), FOREVER),
        validity((0x18, b"00000101000000Z"), FOREVER),
        validity((0x18, "２0200101000000Z".encode()), FOREVER),
        validity((0x16, b"20200101000000Z"), FOREVER),
        tlv(0x30, tlv(*UTC_2020)),
        tlv(0x30, tlv(*UTC_2020), tlv(*FOREVER), tlv(*FOREVER)),
        tlv(0x30),
    ],
)
def test_times_have_the_two_forms_of_certificates(wrong: bytes) -> None:
    assert below(leaf(times=validity(UTC_2020, FOREVER))) == accepted()
    assert "cannot be read" in below(leaf(times=wrong)).reason


def test_years_of_two_digits() -> None:
    """§4.1.2.5.1: 50 to 99 are of the last century."""
    for begin, end, holds in ((b"50", b"49", True), (b"99", b"27", True), (b"49", b"50", False)):
        times = validity((0x17, begin + b"0101000000Z"), (0x17, end + b"1231235959Z"))
        assert (below(leaf(times=times)) == accepted()) is holds


def test_one_algorithm_is_named_inside_and_outside() -> None:
    sent = leaf()
    tbs = signerds.read_certificate(sent).tbs
    other = tlv(0x30, oid("1.2.840.10045.4.3.3"))
    assert "two signature algorithms" in below(seal(CA.key, tbs, algorithm=other)).reason
    null = tlv(0x30, oid("1.2.840.10045.4.3.2"), tlv(0x05))
    # Mbed TLS 2.28 writes ECDSA's with NULL parameters, in certificates too: a DICE layer's, for one.
    assert below(leaf(algorithm=null)) == accepted()
    for wrong in (
        tlv(0x30, oid("1.2.840.10045.4.3.2"), tlv(0x30)),
        other,
        tlv(0x30, oid("1.2.840.10045.4.1")),
    ):
        assert below(leaf(algorithm=wrong)) != accepted()


def test_a_path_length_does_not_count_who_certified_itself_anew() -> None:
    """§6.1.4 (l): a CA's new key under its old one."""
    old = sub_authority(ROOT, "CA", make_key("p256"), path_length=0)
    new = Authority(old.name, CA.key, issue(old, old.name, spki_of(CA.key), CAS))
    assert judge([leaf(new), new.certificate, old.certificate], ROOT.certificate) == accepted()
    other = sub_authority(old, "another CA", CA.key)
    sent = [leaf(other), other.certificate, old.certificate]
    assert "longer than" in judge(sent, ROOT.certificate).reason


def test_a_key_has_one_encoding() -> None:
    public = KEY.public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
    compressed = tlv(0x30, algorithm, tlv(0x03, b"\x00", point))
    sent = issue(CA, CHIP, compressed, LEAF)
    assert "canonical" in below(sent).reason


def test_the_format_before_tcb_info_is_named() -> None:
    fwid = tlv(0x30, oid("2.16.840.1.101.3.4.2.2"), tlv(0x04, bytes(48)))
    composite = tlv(0x30, integer(1), spki_of(make_key("p384")), fwid)
    for critical in (True, False):
        sent = leaf(extensions=(*LEAF, extension(TCB_INFO, composite, critical=critical)))
        assert "CompositeDeviceID" in below(sent).reason
    assert "malformed" in below(leaf(extensions=(*LEAF, extension(TCB_INFO, b"\x02\x01\x00")))).reason


UNREADABLE: dict[str, bytes] = {
    "no bytes": b"",
    "not a sequence": b"\x31\x00",
    "an empty one": b"\x30\x00",
    "indefinite": b"\x30\x80\x30\x00\x00\x00",
    "a length of four octets": b"\x30\x84\xff\xff\xff\xff",
    "nested without end": b"\x30\x80" * 4000,
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_certificate(data: bytes) -> None:
    assert below(data).reason
    assert judge([leaf(), data], ROOT.certificate).reason


def test_fields_have_one_order() -> None:
    whole = signerds.read_certificate(leaf()).tbs
    body = content(whole, SEQUENCE)
    identifiers = tlv(0x81, b"\x00\x01"), tlv(0x82, b"\x00\x02")
    at = body.index(tlv(0xA3, tlv(0x30, *LEAF)))
    before, extensions = body[:at], body[at:]

    def with_fields(*fields: bytes) -> Verdict:
        return below(seal(CA.key, tlv(0x30, before, *fields)))

    assert with_fields(extensions) == accepted()
    assert with_fields(*identifiers, extensions) == accepted()  # §4.1.2.8: be capable of parsing them
    for wrong in (
        (extensions, identifiers[0]),
        (identifiers[1], identifiers[0], extensions),
        (identifiers[0], identifiers[0], extensions),
        (extensions, extensions),
        (extensions, b"\x05\x00"),
        (b"\xa4\x00", extensions),
    ):
        assert with_fields(*wrong).reason


@pytest.mark.parametrize(
    "raw", [b"\x06\x00", b"\x06\x01\x80", b"\x06\x02\x80\x01", b"\x06\x02\x2a\x81", tlv(0x06, b"\x2a" * 64)]
)
def test_an_oid_has_one_form(raw: bytes) -> None:
    assert "cannot be read" in below(leaf(extensions=(tlv(0x30, raw, tlv(0x04)),))).reason


def test_hostile_chains_cost_little() -> None:
    """10,000 extensions, names of a thousand attributes, six of the largest certificates."""
    many = tlv(0xA3, tlv(0x30, *(extension(f"1.2.{each}", b"") for each in range(10_000))))
    whole = content(signerds.read_certificate(leaf()).tbs, SEQUENCE)
    huge = seal(CA.key, tlv(0x30, whole[: whole.index(tlv(0xA3, tlv(0x30, *LEAF)))], many))
    crowded = leaf(subject=name(*[(SERIAL, PRINTABLE, b"A")] * 500))
    padded = leaf(extensions=[extension(f"1.2.{each}", bytes(90)) for each in range(64)])
    begin = time.process_time()
    assert "8192" in below(huge).reason
    assert "500" in below(crowded).reason
    assert below(padded) == accepted()
    for sent in (huge, crowded, padded):
        assert judge([sent] * 6, ROOT.certificate).reason
    assert time.process_time() - begin < 1


def test_names_of_an_issuer_that_cost_much_are_compared_as_they_stand() -> None:
    """Sixteen roots, and a leaf whose issuer's name takes 15 ms to normalize: before any signature."""
    for text, holds in (("x" * 900, True), ("x" * 1100, False)):
        above, said = (name((CN, UTF8, each.encode())) for each in (text, text.upper()))
        ca = Authority(above, CA.key)
        root = issue(ca, above, spki_of(CA.key), CAS)
        assert judge([leaf(ca)], root) == accepted()
        assert (judge([leaf(Authority(said, CA.key))], root) == accepted()) is holds
    for dear in ("\ufdfa" * 2600, "a" + "\u0315\u0316" * 1900):
        sent = name((CN, UTF8, dear.encode()))
        begin = time.process_time()
        for _ in range(100):
            assert not signerds.same_name(sent, CA.name)
        assert time.process_time() - begin < 0.1


@given(st.data())
def test_both_read_what_the_package_reads(data: st.DataObject) -> None:
    """Fields of right certificates, in both readers, against the cryptography package's."""
    usages = ["digital_signature", "key_cert_sign", "crl_sign", "encipher_only", "key_agreement"]
    usage = data.draw(st.lists(st.sampled_from(usages), min_size=1, unique=True))
    if "encipher_only" in usage and "key_agreement" not in usage:
        usage.append("key_agreement")
    ca = data.draw(st.booleans())
    length = data.draw(st.none() | st.integers(0, 300)) if ca else None
    oids = data.draw(
        st.lists(st.sampled_from([f"1.3.6.1.4.1.{each}.7" for each in range(300)]), max_size=4, unique=True)
    )
    purposes = data.draw(st.lists(st.sampled_from(["2.5.29.37.0", "2.23.133.8.3"]), min_size=1, unique=True))
    sent = issue(
        ROOT,
        subject((NameOID.COMMON_NAME, data.draw(st.text("abc ÄΩ", min_size=1, max_size=9)))),
        spki_of(KEY),
        (
            basic_constraints(ca=ca, path_length=length),
            key_usage(*usage),
            extended_key_usage(*purposes, critical=data.draw(st.booleans())),
            *(extension(each, b"", critical=data.draw(st.booleans())) for each in oids),
        ),
        serial=data.draw(st.integers(1, (1 << 159) - 1)),
    )
    theirs = x509.load_der_x509_certificate(sent)
    for reader in (signerds, auditors):
        ours = reader.read_certificate(sent)
        assert (ours.tbs, ours.serial, ours.version) == (
            theirs.tbs_certificate_bytes,
            theirs.serial_number,
            3,
        )
        assert (ours.issuer, ours.subject) == (theirs.issuer.public_bytes(), theirs.subject.public_bytes())
        assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        assert ours.signature == theirs.signature
        assert {(each, ours.extensions[each].critical) for each in ours.extensions} == {
            (each.oid.dotted_string, each.critical) for each in theirs.extensions
        }
        assert reader.basic_constraints(ours) == (ca, length)
        assert reader.extended_key_usage(ours) == set(purposes)
        found = theirs.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (0 in reader.key_usage(ours), 5 in reader.key_usage(ours)) == (
            found.digital_signature,
            found.key_cert_sign,
        )
        texts = [str(each.value) for each in theirs.subject]
        assert [text for _, text in reader.attributes(ours.subject)] == texts
    assert signerds.readable(theirs.subject.public_bytes()) == theirs.subject.rfc4514_string()


@given(st.text(max_size=12))
def test_names_are_told_as_rfc_4514_has_it(text: str) -> None:
    if not text:
        return
    told = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64], _validate=False)])
    assert signerds.readable(told.public_bytes()) == told.rfc4514_string()


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_names_of_any_bytes_are_the_same_name_to_both(one: bytes, other: bytes) -> None:
    for first, second in (
        (one, other),
        (common_name("CA"), one),
        (name((CN, UTF8, one)), name((CN, UTF8, other))),
    ):
        assert signerds.same_name(first, second) is auditors.same_name(first, second)
