from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.attesters.certificate_writer import (
    Authority,
    Key,
    KeyType,
    basic_constraints,
    extended_key_usage,
    extension,
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
from signerd.core.evidence.certificate import Certificate, read_certificate
from signerd.core.evidence.chain import validate_chain
from signerd.core.evidence.chip_rules import ChipIdRule
from signerd.core.evidence.method import EvidenceError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OWN = "1.3.6.1.4.1.32473.7"
PURPOSE = "1.3.6.1.4.1.32473.8"
KEY_TYPES: tuple[KeyType, ...] = ("p256", "p384", "p521", "ed25519", "rsa2048", "rsa4096")
ROOT_KEY, CA_KEY, LEAF_KEY = make_key("p256"), make_key("p256"), make_key("p256")
ROOT = root_authority("Root", ROOT_KEY)
CA = sub_authority(ROOT, "CA", CA_KEY)
# The package's own verifier does not judge CA keys of Ed25519: what is refused below it, the walk refused.
ED_ROOT = root_authority("Ed Root", make_key("ed25519"))
NAME = subject((NameOID.SERIAL_NUMBER, "CHIP-1"))
EXTENSIONS = (basic_constraints(ca=False), key_usage("digital_signature"))


def loaded(der: bytes) -> Certificate:
    return read_certificate(der)


def leaf(issuer: Authority = CA, extensions: Sequence[bytes] = EXTENSIONS, **more: Any) -> bytes:
    return issue(issuer, more.pop("name", NAME), more.pop("spki", spki_of(LEAF_KEY)), extensions, **more)


def validate(certificates: Sequence[bytes], roots: Sequence[Authority] = (ROOT,), **more: Any) -> None:
    pinned = [loaded(root.certificate) for root in roots]
    chain = validate_chain(certificates, pinned, more.pop("now", NOW), **more)
    assert [each.der for each in chain.certificates] == list(certificates)
    assert chain.leaf == chain.certificates[0]
    assert chain.issuers == (*chain.certificates[1:], chain.root)
    assert chain.root in pinned


def refused(certificates: Sequence[bytes], roots: Sequence[Authority] = (ROOT,), **more: Any) -> str:
    with pytest.raises(EvidenceError) as refusal:
        validate(certificates, roots, **more)
    return str(refusal.value)


def ca_with(*extensions: bytes, **more: Any) -> Authority:
    """An intermediate CA with these extensions."""
    return Authority(
        CA.name, CA_KEY, issue(more.pop("issuer", ROOT), CA.name, spki_of(CA_KEY), extensions, **more)
    )


def test_one_to_six_certificates_hold() -> None:
    validate([leaf(ROOT)])
    authorities = [ROOT]
    for number in range(5):
        authorities.append(sub_authority(authorities[-1], f"CA {number}", make_key("p256")))
    sent = [authority.certificate for authority in reversed(authorities[1:])]
    validate([leaf(authorities[-1]), *sent])
    lowest = sub_authority(authorities[-1], "CA 6", make_key("p256"))
    assert "1 to 6" in refused([leaf(lowest), lowest.certificate, *sent])
    assert "1 to 6" in refused([])


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_each_key_type_holds_at_each_place(key_type: KeyType) -> None:
    key = make_key(key_type)
    validate([leaf(spki=spki_of(key)), CA.certificate])
    middle = sub_authority(ROOT, "CA", key)
    validate([leaf(middle), middle.certificate])
    top = root_authority("Top", key)
    validate([leaf(top)], [top])


def test_of_roots_with_one_name_the_one_that_signed_counts() -> None:
    for key_type in KEY_TYPES:
        namesake = root_authority("Root", make_key(key_type))
        validate([leaf(), CA.certificate], [namesake, ROOT])
        assert "pinned root" in refused([leaf(), CA.certificate], [namesake])
    assert "pinned root" in refused([leaf(), CA.certificate], [])


def test_an_intermediate_may_be_what_is_pinned() -> None:
    validate([leaf()], [CA])
    # The same chain with more than is needed then.
    assert "root's key" in refused([leaf(), CA.certificate], [CA])
    assert "root's key" in refused([leaf(), CA.certificate], [CA, ROOT])


def test_the_certificates_are_the_path_and_none_to_spare() -> None:
    other = sub_authority(ROOT, "Other", make_key("p256"))
    good = [leaf(), CA.certificate]
    validate(good)
    refused(good[::-1])
    refused(good[:1])
    refused([*good, ROOT.certificate])
    refused([*good, other.certificate])
    refused([good[0], other.certificate, good[1]])
    refused([*good, good[1]])
    refused([good[0], *good])
    refused([other.certificate, *good])


def test_a_ca_that_certifies_itself_adds_nothing() -> None:
    again = sub_authority(CA, "CA", CA_KEY)
    below = leaf(again)
    validate([below, CA.certificate])
    assert "key appears twice" in refused([below, again.certificate, CA.certificate])


def test_alternative_names_of_any_kind_decide_nothing() -> None:
    for tag in (0x82, 0xA3, 0xA5):  # dNSName, x400Address, ediPartyName
        names = extension("2.5.29.17", tlv(0x30, tlv(tag, b"")))
        validate([leaf(extensions=(names,)), CA.certificate])


def test_a_root_is_no_leaf() -> None:
    bare = Authority(NAME, LEAF_KEY)
    alone = Authority(NAME, LEAF_KEY, leaf(bare))
    assert "root's key" in refused([alone.certificate], [alone])
    refused([alone.certificate])
    refused([ROOT.certificate])


def test_validity_is_of_every_certificate_and_both_ends_are_inside() -> None:
    good = [leaf(), CA.certificate]
    first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    for inside in (first, last, last + timedelta(microseconds=999_999)):
        validate(good, now=inside)
    refused(good, now=first - timedelta(seconds=1))
    for validity in ("expired", "not-yet"):
        old = ca_with(basic_constraints(ca=True), validity=validity)
        assert "expired" in refused([leaf(validity=validity), CA.certificate])
        assert "expired" in refused([leaf(old), old.certificate])
        root = Authority(ROOT.name, ROOT_KEY, issue(ROOT, ROOT.name, spki_of(ROOT_KEY),
                         [basic_constraints(ca=True)], validity=validity))  # fmt: skip
        assert "expired" in refused(good, [root])
    end = datetime(2020, 1, 2, tzinfo=UTC)
    validate([leaf(validity="expired"), CA.certificate], now=end)
    refused([leaf(validity="expired"), CA.certificate], now=end + timedelta(seconds=1))


def test_every_issuer_is_a_ca_that_may_sign_certificates() -> None:
    good = (basic_constraints(ca=True), key_usage("key_cert_sign"))
    for wrong in (
        (),
        (key_usage("key_cert_sign"),),
        (basic_constraints(ca=False), key_usage("key_cert_sign")),
        (basic_constraints(ca=True), key_usage("digital_signature", "crl_sign")),
    ):
        middle, right = ca_with(*wrong), ca_with(*good)
        validate([leaf(right), right.certificate])
        refused([leaf(middle), middle.certificate])
        top = root_authority("Root", ROOT_KEY, wrong)
        refused([leaf(), CA.certificate], [top])
        # Where the package's own verifier cannot judge.
        seen, unseen = ca_with(*good, issuer=ED_ROOT), ca_with(*wrong, issuer=ED_ROOT)
        validate([leaf(seen), seen.certificate], [ED_ROOT])
        refused([leaf(unseen), unseen.certificate], [ED_ROOT])
    # Key usage may be absent (RFC 5280 §6.1.4 (n): "if present").
    bare = ca_with(basic_constraints(ca=True))
    validate([leaf(bare), bare.certificate])


@pytest.mark.parametrize("key_type", ["p256", "ed25519"])
def test_path_length_counts_the_cas_between(key_type: KeyType) -> None:
    """Also where the package's own verifier cannot judge."""
    for length, holds in ((None, True), (2, True), (1, True), (0, False)):
        top = root_authority("Top", make_key(key_type), (basic_constraints(ca=True, path_length=length),))
        middle = sub_authority(top, "Middle", make_key(key_type))
        chain = [leaf(middle), middle.certificate]
        if holds:
            validate(chain, [top])
        else:
            assert "longer than" in refused(chain, [top])
        upper = sub_authority(ROOT, "Upper", make_key(key_type), path_length=length)
        lower = sub_authority(upper, "Lower", make_key(key_type))
        chain = [leaf(lower), lower.certificate, upper.certificate]
        if holds:
            validate(chain)
        else:
            assert "longer than" in refused(chain)


def test_the_leaf_is_no_ca_and_may_sign() -> None:
    for right in (
        (),
        (basic_constraints(ca=False),),
        (key_usage("digital_signature", "key_agreement"),),
    ):
        validate([leaf(extensions=right), CA.certificate])
    for wrong in (
        (basic_constraints(ca=True),),
        (key_usage("key_agreement"),),
        (key_usage("digital_signature", "key_cert_sign"),),
    ):
        assert "the leaf" in refused([leaf(extensions=wrong), CA.certificate])


def test_an_extended_key_usage_must_fit_the_purpose() -> None:
    own, other = PURPOSE, "1.3.6.1.5.5.7.3.3"
    anything = "2.5.29.37.0"
    for usages, holds in (((own,), True), ((other, own), True), ((anything,), True), ((other,), False)):
        for critical in (False, True):
            sent = [leaf(extensions=(extended_key_usage(*usages, critical=critical),)), CA.certificate]
            if holds:
                validate(sent, purposes=(PURPOSE,))
            else:
                assert "purpose" in refused(sent, purposes=(PURPOSE,))


def test_a_critical_extension_is_refused_unless_the_caller_processes_it() -> None:
    sealed = extension(OWN, b"\x05\x00", critical=True)
    middle = ca_with(basic_constraints(ca=True), sealed)
    for chain in ([leaf(extensions=(sealed,)), CA.certificate], [leaf(middle), middle.certificate]):
        validate(chain, critical=(OWN,))
        assert "unknown critical" in refused(chain, critical=(PURPOSE,))
    validate([leaf(extensions=(extension(OWN, b"\x05\x00"),)), CA.certificate])


@pytest.mark.parametrize("critical", [False, True])
def test_constraints_that_are_not_processed_are_not_passed_over(critical: bool) -> None:
    names = x509.NameConstraints(None, [x509.DNSName("example.com")])
    policies = x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None)
    for value in (names, policies):
        refusing = extension(value.oid.dotted_string, value.public_bytes(), critical=critical)
        middle = ca_with(basic_constraints(ca=True), refusing)
        assert "not supported" in refused([leaf(middle), middle.certificate])
        assert "not supported" in refused([leaf(extensions=(refusing,)), CA.certificate])


def test_signature_algorithms_and_keys_that_are_too_weak() -> None:
    validate([leaf(digest="sha512"), CA.certificate])
    assert "algorithm" in refused([leaf(digest="sha1"), CA.certificate])
    for key_type in ("rsa1024", "k256"):
        key = make_key(key_type)
        assert "neither" in refused([leaf(spki=spki_of(key)), CA.certificate])
        middle = sub_authority(ROOT, "CA", key)
        assert "neither" in refused([leaf(middle), middle.certificate])
        top = root_authority("Top", key)
        assert "neither" in refused([leaf(top)], [top])
    rsa_key = make_key("rsa2048")
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    top = root_authority("Top", rsa_key)
    validate([leaf(top)], [top])
    for digest in ("sha1", "sha224"):
        assert "is not accepted" in refused([leaf(top, digest=digest)], [top])
        assert "is not accepted" in refused([leaf(digest=digest), CA.certificate])


@cache
def big_rsa(bits: int, exponent: int) -> bytes:
    key = rsa.RSAPublicNumbers(exponent, (1 << bits) - 1).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("bits", "exponent"),
    [(4097, 65537), (16384, 65537), (16384, (1 << 16000) + 1), (4096, 3), (4096, (1 << 33) + 1)],
    ids=["4097", "16384", "16384-huge-exponent", "4096-exponent-3", "4096-large-exponent"],
)
def test_rsa_keys_that_cost_too_much_are_refused_before_they_are_used(bits: int, exponent: int) -> None:
    validate([leaf(spki=spki_of(make_key("rsa2048"))), CA.certificate])
    spki = big_rsa(bits, exponent)
    certificate = issue(ROOT, CA.name, spki, (basic_constraints(ca=True),))
    for chain in ([leaf(spki=spki), CA.certificate], [leaf(), certificate]):
        reason = refused(chain)
        assert "neither" in reason or "exponent" in reason


def test_version_and_serial_number() -> None:
    """§4.1.2.2: users are prepared for zero and negative ones, and handle 20 octets."""
    for serial in (1, 1 << 159, (1 << 160) - 1, 0, -1, 1 - (1 << 160)):
        validate([leaf(serial=serial), CA.certificate])
    for serial in (1 << 160, -(1 << 160), 1 << 400):
        assert "serial number" in refused([leaf(serial=serial), CA.certificate])
    assert "v3" in refused([leaf(extensions=(), version=None), CA.certificate])
    validate([leaf(ED_ROOT, extensions=())], [ED_ROOT])
    assert "v3" in refused([leaf(ED_ROOT, extensions=(), version=None)], [ED_ROOT])
    for version in (1, 3):
        assert "v3" in refused([leaf(version=version), CA.certificate])


def test_size() -> None:
    def padded(size: int) -> list[bytes]:
        return [leaf(extensions=(extension(OWN, bytes(size)),)), CA.certificate]

    validate(padded(7800))
    assert "8192" in refused(padded(8000))


def test_every_changed_bit_of_every_certificate_is_refused() -> None:
    good = [leaf(), CA.certificate]
    validate(good)
    pinned = [loaded(ROOT.certificate)]
    for index, certificate in enumerate(good):
        for position in range(len(certificate)):
            for bit in range(8):
                changed = bytearray(certificate)
                changed[position] ^= 1 << bit
                chain = [*good[:index], bytes(changed), *good[index + 1 :]]
                with pytest.raises(EvidenceError):
                    validate_chain(chain, pinned, NOW)


def test_bytes_beside_the_certificate_and_other_encodings_are_refused() -> None:
    good = leaf()
    body = good[4:]
    assert good[:2] == b"\x30\x82"
    for wrong in (
        good + b"\x00",
        good[:-1],
        b"\x30\x83\x00" + good[2:4] + body,  # length in one octet too many
        b"\x30\x80" + body + b"\x00\x00",  # indefinite length
        b"",
        b"\x30\x84\xff\xff\xff\xff",
    ):
        validate([good, CA.certificate])
        refused([wrong, CA.certificate])
    # A signature that does not end at an octet: the same bits, another certificate.
    while good[-1] & 1:
        good = leaf()
    position = good.rindex(b"\x00\x30", 0, len(good) - 60)
    assert good[position - 2] == 0x03
    refused([good[:position] + b"\x01" + good[position + 1 :], CA.certificate])


def chip_id_of(certificate: Certificate, attribute: str) -> str:
    return ChipIdRule.model_validate({"from": "subject", "attribute": attribute}).read(certificate)


def test_the_chip_id_is_the_one_attribute_of_its_kind() -> None:
    def chip(attribute: Any, *attributes: tuple[x509.ObjectIdentifier, str]) -> str:
        return chip_id_of(loaded(leaf(name=subject(*attributes))), attribute)

    serial, cn = NameOID.SERIAL_NUMBER, NameOID.COMMON_NAME
    assert chip("serialNumber", (serial, "A:1"), (cn, "B")) == "A:1"
    assert chip("CN", (serial, "A:1"), (cn, "B")) == "B"
    for attributes in ((), ((cn, "A"),), ((serial, "A"), (serial, "A")), ((serial, "A"), (serial, "B"))):
        with pytest.raises(EvidenceError, match="not one"):
            chip("serialNumber", *attributes)
    for text in ("a b", "é", "a" * 65, "a\n", "a\x00"):
        with pytest.raises(EvidenceError, match="chip id"):
            chip("CN", (cn, text))
    one_set = tlv(0x31, *(tlv(0x30, oid(kind), tlv(0x13, value)) for kind, value in
                          (("2.5.4.3", b"B"), ("2.5.4.5", b"A"))))  # fmt: skip
    both = tlv(0x30, one_set)
    assert chip_id_of(loaded(leaf(name=both)), "serialNumber") == "A"


def signed_with(key: Key, tbs: bytes) -> bytes:
    return seal(key, tbs)


KNOWN = [f"2.5.29.{number}" for number in (14, 15, 17, 19, 30, 31, 32, 35, 36, 37, 54)]


@given(
    st.lists(st.tuples(st.sampled_from(KNOWN), st.binary(max_size=40), st.booleans()), min_size=1, max_size=4)
)
def test_whatever_a_ca_signed_nothing_but_evidence_error_comes_out(
    extensions: list[tuple[str, bytes, bool]],
) -> None:
    """Extensions of the standard's kinds with any content, rightly signed, in the leaf and in a CA."""
    parts = [extension(kind, value, critical=critical) for kind, value, critical in extensions]
    middle = ca_with(basic_constraints(ca=True), *parts)
    for chain in ([leaf(extensions=parts), CA.certificate], [leaf(middle), middle.certificate]):
        try:
            validate(chain)
        except EvidenceError:
            continue


@given(st.binary(max_size=60))
def test_whatever_the_subject_nothing_but_evidence_error_comes_out(content: bytes) -> None:
    """A Name of any bytes, and one attribute of any value."""
    serial_number = oid("2.5.4.5")
    tags = (0x03, 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E)
    values = [tlv(0x30, tlv(0x31, tlv(0x30, serial_number, tlv(tag, content)))) for tag in tags]
    for name in (content, *values):
        try:
            certificates = [leaf(name=name), CA.certificate]
            chain = validate_chain(certificates, [loaded(ROOT.certificate)], NOW)
            chip_id_of(chain.leaf, "serialNumber")
        except EvidenceError:
            continue


def test_every_changed_byte_signed_anew_holds_or_is_an_evidence_error() -> None:
    """What a CA could have signed, one byte from what it did sign: the readers behind the signature."""
    good = leaf(extensions=(*EXTENSIONS, extended_key_usage("2.5.29.37.0")))
    certificate = loaded(good)
    tbs, pinned = certificate.tbs, [loaded(ROOT.certificate)]
    held = 0
    for position in range(len(tbs)):
        for value in {0x00, 0x7F, 0x80, 0xFF, tbs[position] ^ 1, tbs[position] ^ 0x20}:
            changed = tbs[:position] + bytes([value]) + tbs[position + 1 :]
            try:
                chain = validate_chain([signed_with(CA_KEY, changed), CA.certificate], pinned, NOW)
                chip_id_of(chain.leaf, "serialNumber")
                held += 1
            except EvidenceError:
                continue
    assert held > 0  # other serial numbers, other names of the maker


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes_are_an_evidence_error(certificates: list[bytes]) -> None:
    refused(certificates)
    refused([leaf_once(), *certificates, b"\x30\x00"])


@cache
def leaf_once() -> bytes:
    return leaf()


@settings(max_examples=300)
@given(st.data())
def test_cut_doubled_and_spliced_certificates_are_an_evidence_error(data: st.DataObject) -> None:
    good = leaf_once()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    piece = data.draw(st.one_of(st.binary(max_size=8), st.just(good[start:end] * 2)))
    changed = good[:start] + piece + good[end:]
    if changed != good:
        refused([changed, CA.certificate])


def test_deep_and_boundless_structures_are_an_evidence_error() -> None:
    deep = b""
    for _ in range(2000):
        deep = tlv(0x30, deep)
    for content in (deep, b"\x30\x80" * 3000, b"\x30\x84\xff\xff\xff\xff" * 1000):
        refused([content[:8192], CA.certificate])
        for kind in KNOWN:
            part = extension(kind, content[:6000])
            sent = [leaf(extensions=(part,)), CA.certificate]
            try:
                validate(sent)
            except EvidenceError:
                continue
    names = subject(*[(NameOID.SERIAL_NUMBER, "A")] * 400)
    with pytest.raises(EvidenceError, match="400"):
        chip_id_of(loaded(leaf(name=names)), "serialNumber")
