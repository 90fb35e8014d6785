"""A vendor's promise about the keys that it certifies says nothing of keys that a chip's firmware holds."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from cryptography.x509.oid import NameOID

from boards.attesters.certificate_writer import (
    Authority,
    basic_constraints,
    common_name,
    extended_key_usage,
    extension,
    issue,
    key_usage,
    make_key,
    spki_of,
    subject,
    tlv,
)
from boards.attesters.x509 import X509Attester, X509Vendor
from signerd.core.evidence import METHODS
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import Proved, Request, Trust
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.names import Level

CHIP = "CHIP-1"
VENDOR = X509Vendor(measures=False, certifies_born_keys=True)
KEY = make_key("p256")
LEAF = (basic_constraints(ca=False), key_usage("digital_signature"))
CA = (basic_constraints(ca=True), key_usage("key_cert_sign"))
EMBEDDED_CA = "2.23.133.5.4.100.12"  # tcg-dice-kp-eca
UEID = extension("2.23.133.5.4.4", tlv(0x30, tlv(0x04, b"\x01" + bytes(16))))


def level(*chain: bytes) -> Level:
    text = '[evidence]\nmethods = ["x509"]\n' + VENDOR.product_section()
    rules = EvidenceRules.model_validate(tomllib.loads(text)["evidence"])
    trust = Trust(personalized=False, locked=False, listed=False, identity=None, rules=rules)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    request = Request(CHIP, b"a CSR", spki_of(KEY), Claims({}, {}), b"the transcript", now)
    evidence = X509Attester(KEY, chain).attest(request.transcript, request.csr)
    proved = METHODS["x509"].verify(request, evidence, trust)
    assert isinstance(proved, Proved)
    return proved.level


def leaf(issuer: Authority, *more: bytes) -> bytes:
    return issue(issuer, subject((NameOID.SERIAL_NUMBER, CHIP)), spki_of(KEY), (*LEAF, *more))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param((), Level.KEY, id="nothing"),
        pytest.param((UEID,), Level.KEY, id="UEID"),
        pytest.param((extension("2.23.133.5.4.8", b"\x30\x00"),), Level.CHIP, id="TcbInfoComp"),
        pytest.param((extension("2.23.133.5.4.9", b"\x30\x00"),), Level.CHIP, id="conceptual message"),
        pytest.param((extension("2.23.133.5.4.1", b"\x30\x00"),), Level.CHIP, id="TcbInfo"),
        pytest.param((extended_key_usage("2.23.133.5.4.100.8"),), Level.KEY, id="attestInit"),
        pytest.param((extended_key_usage("2.23.133.5.4.100.7"),), Level.CHIP, id="identityLoc"),
        pytest.param((extended_key_usage("2.23.133.5.4.100.9"),), Level.CHIP, id="attestLoc"),
    ],
)
def test_a_chip_that_speaks_of_firmware_in_any_form_has_keys_that_firmware_holds(
    more: tuple[bytes, ...], expected: Level
) -> None:
    assert level(leaf(VENDOR.intermediate, *more), VENDOR.intermediate.certificate) is expected


def test_what_an_embedded_ca_certifies_is_not_what_the_vendor_certified() -> None:
    """Whoever replaced the firmware of one such chip has its CA's key, and certifies a key of his own."""
    for usage, expected in (((), Level.KEY), ((extended_key_usage(EMBEDDED_CA),), Level.CHIP)):
        key = make_key("p256")
        name = common_name("CA 2")
        ca = Authority(name, key, issue(VENDOR.intermediate, name, spki_of(key), (*CA, *usage)))
        assert level(leaf(ca), ca.certificate, VENDOR.intermediate.certificate) is expected
