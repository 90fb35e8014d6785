from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.attesters.certificate_writer import (
    KeyType,
    basic_constraints,
    extended_key_usage,
    extension,
    issue,
    key_usage,
    make_key,
    seal,
    sign,
    spki_of,
    sub_authority,
    subject,
)
from boards.attesters.x509 import FWID, MULTI_TCB_INFO, TCB_INFO, X509Attester, X509Vendor, tcb_info
from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.evidence import METHODS
from signerd.core.evidence.chip_rules import SERIAL_NUMBER
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import EvidenceError, Proved, Request, Trust
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.names import Level

# Serial numbers that are not positive: the package warns, signerd refuses.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

CHIP = "CHIP-1"
VENDOR = X509Vendor()
REQUEST = Request(
    chip_id=CHIP,
    csr=b"a CSR",
    spki=b"a key of its own",
    claims=Claims({}, {}),
    transcript=b"the transcript that signerd built",
    now=datetime(2026, 11, 1, tzinfo=UTC),
)


def trusting(vendor: X509Vendor, more: str = "") -> Trust:
    text = '[evidence]\nmethods = ["x509"]\n' + vendor.product_section() + more
    rules = EvidenceRules.model_validate(tomllib.loads(text)["evidence"])
    return Trust(personalized=False, locked=False, listed=False, identity=None, rules=rules)


TRUST = trusting(VENDOR)


def verify(evidence: bytes, trust: Trust = TRUST, request: Request = REQUEST) -> Proved:
    proved = METHODS["x509"].verify(request, evidence, trust)
    assert isinstance(proved, Proved)
    return proved


def evidence_of(attester: X509Attester, request: Request = REQUEST) -> bytes:
    return attester.attest(request.transcript, request.csr)


def anchors(attester: X509Attester, vendor: X509Vendor = VENDOR) -> tuple[Anchor, ...]:
    """The certified key, and the serial that the vendor's CA states."""
    serial = Anchor.stated(AnchorKind.SERIAL, CHIP, spki_of(vendor.intermediate.key))
    return Anchor.of_key(spki_of(attester.key)), serial


def refused(evidence: bytes, trust: Trust = TRUST, request: Request = REQUEST) -> str:
    with pytest.raises(EvidenceError) as refusal:
        verify(evidence, trust, request)
    return str(refusal.value)


@cache
def good_evidence() -> bytes:
    return evidence_of(VENDOR.attester(CHIP))


def test_measured_firmware_that_is_accepted_reaches_key() -> None:
    attester = VENDOR.attester(CHIP)
    proved = verify(evidence_of(attester))
    assert proved == Proved(Level.KEY, {"app": "1.2.0"}, spki_of(attester.key), anchors(attester))


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa2048", "rsa4096"])
def test_each_key_type_signs_with_its_own_algorithm(key_type: KeyType) -> None:
    attester = VENDOR.attester(CHIP, key_type=key_type)
    assert verify(evidence_of(attester)).level is Level.KEY
    others = {"p256": "sha384", "p384": "sha256", "p521": "sha256", "rsa2048": "sha384", "rsa4096": "sha1"}
    if key_type in others:
        signature = sign(attester.key, REQUEST.transcript, others[key_type])  # type: ignore[arg-type]
        assert "signature" in refused(cbor2.dumps([signature, list(attester.chain)]))


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa2048"])
def test_each_key_type_certifies(key_type: KeyType) -> None:
    vendor = X509Vendor(key_type=key_type)
    for critical in (True, False):
        attester = vendor.attester(CHIP, tcb_critical=critical)
        assert verify(evidence_of(attester), trusting(vendor)).level is Level.KEY


WRONG: list[Any] = [
    pytest.param({"root": "another"}, "pinned root", id="another root"),
    pytest.param({"validity": "expired"}, "expired", id="expired"),
    pytest.param({"validity": "not-yet"}, "expired", id="not yet valid"),
    pytest.param({"leaf_ca": True}, "CA", id="CA as leaf"),
    pytest.param({"usage": ("key_agreement",)}, "usage", id="key usage"),
    pytest.param({"usage": ("digital_signature", "key_cert_sign")}, "usage", id="signs certificates"),
    pytest.param({"path": "too-long"}, "longer", id="path length"),
    pytest.param({"path": "cut"}, "pinned root", id="no intermediate"),
    pytest.param({"path": "with-root"}, "root's key", id="the root sent along"),
    pytest.param({"path": "reordered"}, "the leaf is a CA", id="reordered"),
    pytest.param({"path": "leaf-is-root"}, "pinned root", id="self-signed"),
    pytest.param({"names": ("CHIP-2",)}, "another chip", id="another chip"),
    pytest.param({"names": ("chip-1",)}, "another chip", id="another case"),
    pytest.param({"names": ("CHIP-1 ",)}, "chip id", id="not a chip id"),
    pytest.param({"names": ()}, "0 attributes", id="no chip id"),
    pytest.param({"names": ("CHIP-1", "CHIP-1")}, "2 attributes", id="two chip ids"),
    pytest.param({"names": ("CHIP-2", "CHIP-1")}, "2 attributes", id="two chips"),
    pytest.param({"key_type": "rsa1024"}, "neither", id="RSA of 1024 bits"),
    pytest.param({"key_type": "k256"}, "neither", id="secp256k1"),
    pytest.param({"signature_hash": "sha1"}, "algorithm", id="SHA-1"),
    pytest.param({"signature_hash": "sha224"}, "algorithm is not accepted", id="SHA-224"),
    *(pytest.param({"flags": [bit]}, "state", id=f"flag {bit}") for bit in range(4)),
]


@pytest.mark.parametrize(("wrong", "reason"), WRONG)
@pytest.mark.parametrize("critical", [True, False])
def test_one_thing_wrong_with_a_chip_and_it_is_refused(
    wrong: dict[str, Any], reason: str, critical: bool
) -> None:  # fmt: skip
    """Whether the package's own verifier sees the chain or not."""
    assert verify(evidence_of(VENDOR.attester(CHIP, tcb_critical=critical))).level is Level.KEY
    assert reason in refused(evidence_of(VENDOR.attester(CHIP, tcb_critical=critical, **wrong)))


def test_the_signature_is_over_this_transcript_by_this_key() -> None:
    attester, other = VENDOR.attester(CHIP), VENDOR.attester("CHIP-2")
    chain = list(attester.chain)
    for signature in (
        sign(attester.key, REQUEST.transcript + b"x", "sha256"),
        sign(attester.key, b"", "sha256"),
        sign(other.key, REQUEST.transcript, "sha256"),
        b"",
        bytes(64),
        bytes(16_000),
    ):
        assert refused(cbor2.dumps([signature, chain]))
    good = sign(attester.key, REQUEST.transcript, "sha256")
    assert verify(cbor2.dumps([good, chain])).level is Level.KEY
    assert "another chip" in refused(cbor2.dumps([good, list(other.chain)]))
    assert "another chip" in refused(evidence_of(attester), request=replace(REQUEST, chip_id="CHIP-2"))
    assert "signature" in refused(evidence_of(attester), request=replace(REQUEST, transcript=b"another"))


def test_the_chip_id_is_where_the_product_says() -> None:
    vendor = X509Vendor(attribute="CN")
    evidence = evidence_of(vendor.attester(CHIP))
    assert verify(evidence, trusting(vendor)).level is Level.KEY
    assert "0 attributes" in refused(evidence, in_serial_number(vendor))


def in_serial_number(vendor: X509Vendor) -> Trust:
    trust = trusting(vendor)
    assert trust.rules.x509 is not None
    rules = trust.rules.x509.model_copy(update={"chip_id": SERIAL_NUMBER})
    return replace(trust, rules=trust.rules.model_copy(update={"x509": rules}))


@pytest.mark.parametrize(
    "chip",
    [
        pytest.param({"digest": None}, id="no TcbInfo"),
        pytest.param({"digest": bytes(32)}, id="replaced firmware"),
        pytest.param({"flags": [4]}, id="a flag that weakens it"),
    ],
)
def test_firmware_that_is_not_accepted_reaches_chip(chip: dict[str, Any]) -> None:
    attester = VENDOR.attester(CHIP, **chip)
    assert verify(evidence_of(attester)) == Proved(Level.CHIP, {}, spki_of(attester.key), anchors(attester))


def test_a_product_without_measurements_reaches_chip() -> None:
    vendor = X509Vendor(measures=False)
    assert verify(evidence_of(vendor.attester(CHIP)), trusting(vendor)).level is Level.CHIP
    trust = TRUST.rules.x509
    assert trust is not None
    bare = replace(
        TRUST,
        rules=TRUST.rules.model_copy(update={"x509": trust.model_copy(update={"measurements": ()})}),
    )
    assert verify(good_evidence(), bare) == replace(verify(good_evidence()), level=Level.CHIP, measured={})


def test_a_key_that_is_certified_as_born_in_the_chip_reaches_key_for_itself_alone() -> None:
    vendor = X509Vendor(measures=False, certifies_born_keys=True)
    attester = vendor.attester(CHIP)
    own = replace(REQUEST, spki=spki_of(attester.key))
    evidence = evidence_of(attester)
    proved = Proved(Level.KEY, {}, own.spki, anchors(attester, vendor))
    assert verify(evidence, trusting(vendor), own) == proved
    # A CSR for another key, beside the certified one: the chip took part.
    assert verify(evidence, trusting(vendor), REQUEST).level is Level.CHIP
    intermediate = vendor.intermediate.key
    another = replace(REQUEST, spki=spki_of(intermediate))
    assert verify(evidence, trusting(vendor), another).level is Level.CHIP
    # Where the vendor promises nothing, the same CSR is worth no more than another.
    silent = trusting(vendor)
    assert silent.rules.x509 is not None
    rules = silent.rules.x509.model_copy(update={"certifies_born_keys": False})
    silent = replace(silent, rules=silent.rules.model_copy(update={"x509": rules}))
    assert verify(evidence, silent, own).level is Level.CHIP


def test_a_born_key_in_firmware_that_is_not_accepted_reaches_chip() -> None:
    vendor = X509Vendor(certifies_born_keys=True)
    for chip, level in (({"digest": None}, Level.KEY), ({"digest": bytes(32)}, Level.CHIP), ({}, Level.KEY)):
        attester = vendor.attester(CHIP, **chip)
        own = replace(REQUEST, spki=spki_of(attester.key))
        assert verify(evidence_of(attester), trusting(vendor), own).level is level


def test_replaced_firmware_cannot_certify_a_key_as_the_genuine_ones() -> None:
    """Its own layer's certificate stays in the chain, whatever it certifies below."""
    key, lower = make_key("p256"), make_key("p256")
    name = subject((NameOID.SERIAL_NUMBER, CHIP))
    leaf_extensions = [basic_constraints(ca=False), extension(TCB_INFO, tcb_info(), critical=True)]

    def chain_below(digest: bytes) -> bytes:
        layer = sub_authority(VENDOR.intermediate, "Layer 1", key)
        extensions = [basic_constraints(ca=True), extension(TCB_INFO, tcb_info([digest]), critical=True)]
        certificate = issue(VENDOR.intermediate, layer.name, spki_of(key), extensions)
        leaf = issue(layer, name, spki_of(lower), leaf_extensions)
        chain = (leaf, certificate, VENDOR.intermediate.certificate)
        return evidence_of(X509Attester(lower, chain))

    assert verify(chain_below(FWID)).level is Level.KEY
    # Nor any key at all: with another name below it, one chip would be as many as it likes.
    assert "key of a CA" in refused(chain_below(bytes(32)))


def leaf_with(*extensions: bytes) -> bytes:
    """Evidence by a leaf of the vendor with these extensions."""
    key = make_key("p256")
    name = subject((NameOID.SERIAL_NUMBER, CHIP))
    leaf = issue(VENDOR.intermediate, name, spki_of(key), extensions)
    return evidence_of(X509Attester(key, (leaf, VENDOR.intermediate.certificate)))


def test_critical_extensions() -> None:
    tcb = extension(TCB_INFO, tcb_info(), critical=True)
    assert verify(leaf_with(tcb)).level is Level.KEY
    several = extension(MULTI_TCB_INFO, b"\x30" + bytes([len(tcb_info())]) + tcb_info(), critical=True)
    assert verify(leaf_with(several)).level is Level.KEY
    assert "critical" in refused(leaf_with(tcb, extension("2.23.133.5.4.8", b"\x30\x00", critical=True)))
    assert "malformed" in refused(leaf_with(extension(TCB_INFO, b"\x30")))
    assert refused(leaf_with(tcb, tcb))


def test_an_extended_key_usage_is_one_for_attestation() -> None:
    tcb = extension(TCB_INFO, tcb_info())
    for last in (6, 7, 8, 9):
        assert verify(leaf_with(tcb, extended_key_usage(f"2.23.133.5.4.100.{last}"))).level is Level.KEY
    assert verify(leaf_with(tcb, extended_key_usage("1.3.6.1.5.5.7.3.2"))).level is Level.KEY
    assert "purpose" in refused(leaf_with(tcb, extended_key_usage("1.3.6.1.5.5.7.3.9")))
    assert "purpose" in refused(leaf_with(tcb, extended_key_usage("2.23.133.8.3")))


def test_the_evidence_is_its_one_cbor() -> None:
    signature, chain = cbor2.loads(good_evidence())
    assert verify(cbor2.dumps([signature, chain])).level is Level.KEY
    wrong: list[Any] = [
        [], [signature], [signature, chain, b""], [chain, signature], [signature, chain[0]],
        [signature, [*chain, 1]], [signature, ["text", *chain]], [signature, [*chain, []]], [None, chain],
        {"a": 1}, signature, 7, [signature, {"a": chain[0]}], [[signature], chain],
    ]  # fmt: skip
    for item in wrong:
        assert "the evidence is not" in refused(cbor2.dumps(item))
    for count in (0, 4):
        assert "1 to 6" in refused(cbor2.dumps([signature, chain * count]))
    encoded = cbor2.dumps([signature, chain])
    assert encoded[0] == 0x82
    for data in (
        b"",
        encoded + b"\x00",
        encoded[:-1],
        b"\x9f" + encoded[1:] + b"\xff",  # indefinite length
        b"\x98\x02" + encoded[1:],  # a length of one octet too many
        b"\xd8\x18" + encoded,  # a tag
        b"\x82\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x82" * 10_000,
        b"\x81" * 16_384,
    ):
        refused(data)


@pytest.mark.parametrize(
    ("name", "flips"), [("critical", range(8)), ("plain", (0, 7)), ("ed25519", (0, 7)), ("rsa", (0,))]
)
def test_every_changed_byte_is_refused(name: str, flips: Any) -> None:
    chips: dict[str, Callable[[], X509Attester]] = {
        "critical": lambda: VENDOR.attester(CHIP),
        "plain": lambda: VENDOR.attester(CHIP, tcb_critical=False),
        "ed25519": lambda: VENDOR.attester(CHIP, key_type="ed25519"),
        "rsa": lambda: VENDOR.attester(CHIP, key_type="rsa2048"),
    }
    evidence = evidence_of(chips[name]())
    assert verify(evidence).level is Level.KEY
    for position in range(len(evidence)):
        for bit in flips:
            changed = bytearray(evidence)
            changed[position] ^= 1 << bit
            with pytest.raises(EvidenceError):
                verify(bytes(changed))


def test_every_changed_byte_of_the_leaf_signed_anew_reaches_no_more() -> None:
    """What the vendor could have certified, one byte from what it did: another chip, key or firmware."""
    attester = VENDOR.attester(CHIP)
    signature, chain = cbor2.loads(evidence_of(attester))
    tbs = x509.load_der_x509_certificate(chain[0]).tbs_certificate_bytes
    for position in range(len(tbs)):
        for value in {0x00, 0x7F, 0x80, 0xFF, tbs[position] ^ 1, tbs[position] ^ 0x80}:
            changed = tbs[:position] + bytes([value]) + tbs[position + 1 :]
            leaf = seal(VENDOR.intermediate.key, changed)
            try:
                proved = verify(cbor2.dumps([signature, [leaf, *chain[1:]]]))
            except EvidenceError:
                continue
            assert proved.attester == spki_of(attester.key)
            assert CHIP.encode() in changed
            assert (proved.level is Level.KEY) == (FWID in changed and proved.measured == {"app": "1.2.0"})


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_evidence_error(data: bytes) -> None:
    refused(data)
    refused(cbor2.dumps([data, [data, data]]))
    refused(cbor2.dumps([data, cbor2.loads(good_evidence())[1]]))


@settings(max_examples=300)
@given(
    st.recursive(
        st.one_of(st.binary(max_size=40), st.integers(), st.text(max_size=5), st.booleans(), st.none()),
        lambda items: st.one_of(
            st.lists(items, max_size=4), st.dictionaries(st.text(max_size=3), items, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_structure_is_an_evidence_error(item: Any) -> None:
    refused(cbor2.dumps(item, canonical=True))
    refused(cbor2.dumps([cbor2.loads(good_evidence())[0], item], canonical=True))


@settings(max_examples=300)
@given(st.data())
def test_cut_doubled_and_spliced_evidence_is_an_evidence_error(data: st.DataObject) -> None:
    good = good_evidence()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    piece = data.draw(st.one_of(st.binary(max_size=8), st.just(good[start:end] * 2)))
    changed = good[:start] + piece + good[end:]
    if changed != good:
        refused(changed)


def test_a_product_without_rules_for_it_accepts_nothing() -> None:
    rules = EvidenceRules.model_validate({"methods": ["none"]})
    assert "rules" in refused(good_evidence(), replace(TRUST, rules=rules))


def test_key_usage_may_be_absent() -> None:
    assert verify(evidence_of(VENDOR.attester(CHIP, usage=()))).level is Level.KEY
    assert verify(leaf_with(key_usage("digital_signature"))).level is Level.CHIP
