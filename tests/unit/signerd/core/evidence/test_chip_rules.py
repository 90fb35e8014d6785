"""Chip ids from where vendors really write them, and the anchors that a chain proves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from boards.attesters.certificate_writer import common_name, extension, oid, pem, subject, tlv
from boards.attesters.x509 import FWID
from harness.chip_chains import Chain, Made, alternative_names, directory_name
from signerd.core import strict_cbor
from signerd.core.anchors import Anchor, AnchorKind, spki_sha256
from signerd.core.evidence import x509
from signerd.core.evidence.certificate import read_certificate
from signerd.core.evidence.chip_rules import CertifiedChip, ChipIdRule
from signerd.core.evidence.errors import EvidenceError
from signerd.core.evidence.rules import EvidenceRules, X509Rules

NOW = datetime(2026, 11, 15, tzinfo=UTC)
CN, SERIAL = "2.5.4.3", "2.5.4.5"
UEID, OTHER_UEID = b"\x02" + bytes(16), b"\x02" + bytes(15) + b"\x01"
MEASURED = [{"component": "app", "version": "1.2.0", "digest": FWID.hex()}]
CA = Made("Example CA 1")
BLANK = tlv(0x30)


def rules(chain: Chain, **section: Any) -> X509Rules:
    found = EvidenceRules.model_validate(
        {"methods": ["x509"], "x509": {"roots": [pem(chain.root.certificate)], **section}}
    ).x509
    assert found is not None
    return found


def chip(chain: Chain, **section: Any) -> CertifiedChip:
    return x509.certified_chip(chain.certificates, rules(chain, **section), NOW)


def refused(chain: Chain, **section: Any) -> str:
    with pytest.raises(EvidenceError) as refusal:
        chip(chain, **section)
    return str(refusal.value)


def stated(kind: AnchorKind, value: str, chain: Chain, number: int) -> Anchor:
    """By the CA of this number, counted from the root."""
    return Anchor.stated(kind, value, chain.spki(number))


# Where vendors write names.

EUI = Made(None, subject=common_name("EUI:000D6FFFFE00AB01 S:SE0 ID:MCU"))
OPTIGA = Made(None, subject=common_name("Infineon IoT Node"), serial=0x0A1B2C)
TRUST_AND_GO = Made(
    None,
    more=[alternative_names(directory_name((SERIAL, "eui48_04_91_62_12_34_56")), tlv(0x82, b"sn01234567"))],
)
AK = Made(
    None,
    subject=BLANK,
    more=[alternative_names(directory_name((CN, "TPM-77"), ("2.23.133.2.1", "id:49465800")))],
)
HARDWARE = Made(
    None,
    more=[
        alternative_names(
            tlv(
                0xA0,
                oid("1.3.6.1.5.5.7.8.4"),
                tlv(0xA0, tlv(0x30, oid("1.3.6.1.4.1.32473.7"), tlv(0x04, b"HW-0007"))),
            ),
            tlv(0xA0, oid("1.3.6.1.4.1.32473.9"), tlv(0xA0, tlv(0x0C, b"x"))),
            tlv(0x86, b"urn:example:chip:A-000042"),
        )
    ],
)


@pytest.mark.parametrize(
    ("made", "rule", "chip_id"),
    [
        (Made("CHIP-1"), "serialNumber", "CHIP-1"),
        (Made(None, subject=common_name("CHIP-1")), "CN", "CHIP-1"),
        (
            EUI,
            {"from": "subject", "attribute": "CN", "pattern": "EUI:([0-9A-F]{16}) S:SE0 ID:MCU"},
            "000D6FFFFE00AB01",
        ),
        (OPTIGA, {"from": "certificate-serial"}, "0a1b2c"),
        (TRUST_AND_GO, {"from": "san-directory-name", "attribute": SERIAL}, "eui48_04_91_62_12_34_56"),
        (TRUST_AND_GO, {"from": "san-dns", "pattern": "sn([0-9]{8})"}, "01234567"),
        (AK, {"from": "san-directory-name", "attribute": "CN"}, "TPM-77"),
        (HARDWARE, {"from": "san-hardware-serial"}, "HW-0007"),
        (HARDWARE, {"from": "san-hardware-serial-hex"}, b"HW-0007".hex()),
        (HARDWARE, {"from": "san-uri", "pattern": ".*:([A-Z]-[0-9]{6})"}, "A-000042"),
        (Made(None, ueid=UEID), {"from": "ueid"}, UEID.hex()),
        (Made(None, ueid=b"\x01" + bytes(32)), {"from": "ueid"}, "AQ" + "A" * 42),
    ],
)
def test_a_name_is_read_where_the_product_says(made: Made, rule: Any, chip_id: str) -> None:
    chain = Chain(CA, made)
    found = chip(chain, chip_id=rule)
    assert (found.chip_id, found.name_is_label) == (chip_id, False)
    key = Anchor.of_key(chain.spki(2))
    if isinstance(rule, dict) and rule["from"] == "ueid":
        assert made.ueid is not None
        assert found.anchors == (key, stated(AnchorKind.UEID, made.ueid.hex(), chain, 1))
    else:
        assert found.anchors == (key, stated(AnchorKind.SERIAL, chip_id, chain, 1))


@pytest.mark.parametrize("rule", ["key", "device-id-key"])
def test_a_key_may_be_the_only_name(rule: str) -> None:
    chain = Chain(CA, OPTIGA)
    found = chip(chain, chip_id={"from": rule})
    assert found.chip_id == spki_sha256(chain.spki(2))
    assert found.anchors == (Anchor.of_key(chain.spki(2)),)


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        (OPTIGA, "CN"),  # blanks, and every chip's
        (EUI, "CN"),
        (EUI, {"from": "subject", "attribute": "CN", "pattern": "EUI:([0-9A-F]{16}) S:SE1 ID:MCU"}),
        (AK, "CN"),
        (AK, {"from": "san-directory-name", "attribute": "serialNumber"}),
        (AK, {"from": "san-uri"}),
        (HARDWARE, {"from": "ueid"}),
        (Made(None, more=[alternative_names(tlv(0x82, b"a"), tlv(0x82, b"a"))]), {"from": "san-dns"}),
        (Made(None, more=[alternative_names(tlv(0x82, b"\xff"))]), {"from": "san-dns"}),
        (Made(None, more=[extension("2.5.29.17", b"\x30\x05")]), {"from": "san-dns"}),
        (Made(None, more=[alternative_names(tlv(0xA0, b"\x06"))]), {"from": "san-hardware-serial"}),
        (Made(None, subject=subject((NameOID.COMMON_NAME, "A"), (NameOID.COMMON_NAME, "A"))), "CN"),
        (Made(None, ueid=b""), {"from": "ueid"}),
        (Made(None, ueid=bytes(49)), {"from": "ueid"}),
        (Made(None, ueid=bytes(65)), {"from": "ueid"}),
    ],
)
def test_no_name_or_two_there_is_no_chip(made: Made, rule: Any) -> None:
    refused(Chain(CA, made), chip_id=rule)


@pytest.mark.parametrize(
    "rule",
    [
        "OU",
        "",
        7,
        {},
        {"attribute": "CN"},
        {"from": "subject"},
        {"from": "subject", "attribute": "commonName"},
        {"from": "san-dns", "attribute": "CN"},
        {"from": "email"},
        {"from": "key", "pattern": "([0-9a-f]{64})"},
        {"from": "ueid", "of": "device-id"},
        {"from": "subject", "attribute": "CN", "of": "root"},
        {"from": "subject", "attribute": "CN", "pattern": "(Infineon IoT Node)"},
        {"from": "subject", "attribute": "CN", "pattern": "(a+)+"},
        {"from": "subject", "attribute": "CN", "pattern": 7},
        {"from": "subject", "attribute": "CN", "code": "eval"},
    ],
)
def test_what_is_no_rule_is_refused_at_the_desk(rule: Any) -> None:
    with pytest.raises(ValidationError, match="chip_id"):
        rules(Chain(CA, OPTIGA), chip_id=rule)


# DICE: what the vendor states, and what a layer does.

DEVICE_ID = Made("DEV-1", ueid=UEID)


def test_a_layers_name_is_a_label_and_counts_under_the_deviceid() -> None:
    chain = Chain(CA, DEVICE_ID, Made("layer 0").measured, Made("BUILD-1", ueid=OTHER_UEID).measured)
    found = chip(chain, measurements=MEASURED)
    assert (found.chip_id, found.name_is_label) == ("BUILD-1", True)
    assert set(found.anchors) == {
        Anchor.of_key(chain.spki(2)),
        stated(AnchorKind.UEID, UEID.hex(), chain, 1),
        stated(AnchorKind.UEID, OTHER_UEID.hex(), chain, 2),
        stated(AnchorKind.SERIAL, "BUILD-1", chain, 2),
    }


def test_one_chip_with_six_builds_has_the_same_vendors_anchors_each_time() -> None:
    first = Chain(CA, DEVICE_ID, Made("BUILD-0").measured)
    certified = {Anchor.of_key(first.spki(2)), stated(AnchorKind.UEID, UEID.hex(), first, 1)}
    found = chip(first, measurements=MEASURED)
    assert certified <= set(found.anchors)
    for build in range(1, 6):
        vendor = Chain._issue(  # the same DeviceID, another layer
            first.root, CA, first.keys[0], is_leaf=False
        )
        again = Chain(
            Made("DEV-1", ueid=UEID, key=first.keys[1]), Made(f"BUILD-{build}").measured, root=vendor
        )
        other = chip(again, measurements=MEASURED)
        assert other.chip_id != found.chip_id
        assert certified <= set(other.anchors)


def test_a_name_that_the_deviceids_certificate_has_too_is_the_vendors() -> None:
    chain = Chain(CA, DEVICE_ID, Made("DEV-1").measured)
    found = chip(chain, measurements=MEASURED)
    assert (found.chip_id, found.name_is_label) == ("DEV-1", False)
    assert stated(AnchorKind.SERIAL, "DEV-1", chain, 1) in found.anchors


@pytest.mark.parametrize(
    ("rule", "chip_id"),
    [
        ({"from": "ueid"}, UEID.hex()),
        ({"from": "subject", "attribute": "serialNumber", "of": "device-id"}, "DEV-1"),
    ],
)
def test_a_product_can_name_the_chip_by_what_the_vendor_states(rule: Any, chip_id: str) -> None:
    """Whatever a layer says: another chip's UEID, another chip's serial."""
    chain = Chain(CA, DEVICE_ID, Made("DEV-2", ueid=OTHER_UEID).measured)
    found = chip(chain, measurements=MEASURED, chip_id=rule)
    assert (found.chip_id, found.name_is_label) == (chip_id, False)
    assert stated(AnchorKind.UEID, OTHER_UEID.hex(), chain, 1) not in found.anchors


def test_a_ueid_that_a_layer_alone_states_is_a_label() -> None:
    chain = Chain(CA, Made("DEV-1", purposes=[12]), Made("x", ueid=UEID).measured)
    found = chip(chain, measurements=MEASURED, chip_id={"from": "ueid"})
    assert (found.chip_id, found.name_is_label) == (UEID.hex(), True)
    assert stated(AnchorKind.UEID, UEID.hex(), chain, 1) not in found.anchors


def test_the_deviceids_key_as_a_name_stays_whatever_the_firmware() -> None:
    chain = Chain(CA, DEVICE_ID, Made("x").measured)
    found = chip(chain, measurements=MEASURED, chip_id={"from": "device-id-key"})
    assert (found.chip_id, found.name_is_label) == (spki_sha256(chain.spki(2)), False)
    label = chip(chain, measurements=MEASURED, chip_id={"from": "key"})
    assert (label.chip_id, label.name_is_label) == (spki_sha256(chain.spki(3)), True)


def test_a_cas_own_certificate_says_nothing_of_a_chip() -> None:
    """Its serial number and UEID would be every chip's."""
    chain = Chain(Made("CA-SERIAL"), Made("CHIP-1"))
    assert {anchor.value for anchor in chip(chain).anchors} == {spki_sha256(chain.spki(2)), "CHIP-1"}


def test_what_was_recorded_is_read_again_without_a_clock() -> None:
    chain = Chain(CA, DEVICE_ID, Made("BUILD-1").measured)
    section = rules(chain, measurements=MEASURED)
    evidence = recorded(chain)
    assert x509.recorded_chip(evidence, section) == x509.certified_chip(chain.certificates, section, NOW)
    with pytest.raises(EvidenceError, match="pinned root"):
        x509.recorded_chip(evidence, rules(Chain(CA, DEVICE_ID), measurements=MEASURED))


def recorded(chain: Chain) -> bytes:
    return strict_cbor.encode([b"a signature", list(chain.certificates)])


@given(st.sampled_from(["2.5.29.17", "2.23.133.5.4.4"]), st.binary(max_size=60))
def test_whatever_an_extension_holds_nothing_but_evidence_error_comes_out(kind: str, content: bytes) -> None:
    leaf = read_certificate(Chain(CA, Made(None, more=[extension(kind, content)])).certificates[0])
    places = ("san-uri", "san-dns", "san-hardware-serial", "san-hardware-serial-hex", "certificate-serial")
    found = [ChipIdRule.model_validate({"from": place}) for place in places]
    found.append(ChipIdRule.model_validate({"from": "san-directory-name", "attribute": "CN"}))
    for rule in found:
        try:
            rule.read(leaf)
        except EvidenceError:
            continue
