"""Where a chip id comes from, and what a chain proves of its chip: signerd and the auditor, which share no
code, come to one verdict on rules, patterns and chains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.core.chip_pattern import read_pattern
from auditor.core.chip_rule import read_chip_rule
from auditor.core.evidence import certificate as auditors
from auditor.core.evidence.chain import check_chain, issuers_of
from auditor.core.evidence.chip import device_id, shown_by
from auditor.errors import CheckFailed, Malformed
from boards.attesters.certificate_writer import common_name, extension, oid, pem, tlv
from boards.attesters.x509 import FWID
from harness.chip_chains import Chain, Made, alternative_names, directory_name
from signerd.core.evidence import dice, x509
from signerd.core.evidence.chip_pattern import PatternError, parse_pattern
from signerd.core.evidence.errors import EvidenceError
from signerd.core.evidence.rules import EvidenceRules

NOW = datetime(2026, 11, 15, tzinfo=UTC)
UEID, OTHER = b"\x02" + bytes(16), b"\x01" + bytes(32)
MEASURED = [{"component": "app", "version": "1.2.0", "digest": FWID.hex()}]
EUI = {"from": "subject", "attribute": "CN", "pattern": "EUI:([0-9A-F]{16}) S:SE0 ID:MCU"}
PLACES = (
    "san-uri", "san-dns", "san-hardware-serial", "san-hardware-serial-hex", "certificate-serial", "ueid",
    "device-id-key", "key",
)  # fmt: skip
RULES: list[Any] = [
    "serialNumber", "CN", "OU", "", 7, {}, EUI, EUI | {"of": "device-id"}, EUI | {"of": "root"},
    EUI | {"code": "eval"}, EUI | {"pattern": "(a+)+"}, EUI | {"pattern": 7}, EUI | {"attribute": 7},
    {"from": "subject"}, {"from": "subject", "attribute": "commonName"}, {"from": "email"}, {"from": 7},
    {"from": "subject", "attribute": "serialNumber", "of": "device-id"},
    {"from": "san-dns", "attribute": "CN"}, {"from": "san-dns", "pattern": "sn([0-9]{8})"},
    {"from": "san-directory-name", "attribute": "2.5.4.5"}, {"from": "san-directory-name", "attribute": "CN"},
    {"from": "key", "pattern": "([0-9a-f]{64})"}, {"from": "ueid", "of": "device-id"}, {"attribute": "CN"},
    *({"from": place} for place in PLACES),
]  # fmt: skip
HARDWARE = tlv(
    0xA0, oid("1.3.6.1.5.5.7.8.4"), tlv(0xA0, tlv(0x30, oid("1.3.6.1.4.1.32473.7"), tlv(0x04, b"HW-0007")))
)
CHAINS = {
    "a leaf": Chain(Made("CA"), Made("CHIP-1")),
    "a leaf under the root": Chain(Made("CHIP-1")),
    "a name in a longer one": Chain(
        Made("CA"), Made(None, subject=common_name("EUI:000D6FFFFE00AB01 S:SE0 ID:MCU"))
    ),
    "every chip's name": Chain(
        Made("CA"), Made(None, subject=common_name("Infineon IoT Node"), serial=0x0A1B2C)
    ),
    "names in a SAN": Chain(
        Made("CA"),
        Made(
            None,
            more=[
                alternative_names(
                    directory_name(("2.5.4.5", "eui48_04"), ("2.5.4.3", "TPM-77")), tlv(0x82, b"sn01234567"),
                    tlv(0x86, b"urn:chip:A"), HARDWARE,
                )
            ],
        ),
    ),
    "a name twice": Chain(Made("CA"), Made(None, more=[alternative_names(tlv(0x82, b"a"), tlv(0x82, b"a"))])),
    "a SAN that cannot be read": Chain(
        Made("CA"), Made("CHIP-1", more=[extension("2.5.29.17", b"\x30\x05")])
    ),
    "a UEID": Chain(Made("CA"), Made("CHIP-1", ueid=UEID)),
    "a long UEID": Chain(Made("CA"), Made("CHIP-1", ueid=OTHER)),
    "a UEID that is too long to name a chip": Chain(Made("CA"), Made("CHIP-1", ueid=bytes(49))),
    "a UEID that is too long": Chain(Made("CA"), Made("CHIP-1", ueid=bytes(65))),
    "an empty UEID": Chain(Made("CA"), Made("CHIP-1", ueid=b"")),
    "a layer": Chain(Made("CA"), Made("DEV-1", ueid=UEID), Made("BUILD-1").measured),
    "two layers": Chain(
        Made("CA"), Made("DEV-1", ueid=UEID), Made("L0").measured, Made("BUILD-1", ueid=OTHER).measured
    ),
    "a layer with its chip's name": Chain(Made("CA"), Made("DEV-1", ueid=UEID), Made("DEV-1").measured),
    "an embedded CA": Chain(Made("CA"), Made("DEV-1", purposes=[12]), Made("x", ueid=UEID).measured),
    "a local key": Chain(Made("CA"), Made("DEV-1"), Made("x", purposes=[7])),
    "an initial key": Chain(Made("CA"), Made("DEV-1", purposes=[6]), Made("x", purposes=[8]).measured),
    "two silent CAs": Chain(Made("CA"), Made("DEV-1"), Made("x").measured),
    "two silent CAs, not measured": Chain(Made("CA"), Made("DEV-1"), Made("x")),
    "three silent CAs": Chain(Made("CA"), Made("DEV-1"), Made("L0"), Made("x").measured),
    "three silent CAs, not measured": Chain(Made("CA"), Made("DEV-1"), Made("L0"), Made("x")),
    "three silent CAs above a layer": Chain(
        Made("CA"), Made("DEV-1"), Made("L0"), Made("L1").measured, Made("x").measured
    ),
    "one silent CA": Chain(Made("DEV-1"), Made("x").measured),
}  # fmt: skip


NOBODYS = {"a UEID that is too long", "an empty UEID"}  # refused by any rule


def by_signerd(chain: Chain, rule: Any, vendor_cas: int | None, *, measures: bool) -> Any:
    section: dict[str, Any] = {"roots": [pem(chain.root.certificate)], "chip_id": rule}
    section |= {} if vendor_cas is None else {"vendor_cas": vendor_cas}
    section |= {"measurements": MEASURED} if measures else {}
    try:
        rules = EvidenceRules.model_validate({"methods": ["x509"], "x509": section}).x509
    except ValidationError:
        return "no rule"
    assert rules is not None
    try:
        chip = x509.certified_chip(chain.certificates, rules, NOW)
    except EvidenceError:
        return "refused"
    return chip.chip_id, tuple((one.kind.value, one.issuer, one.value) for one in chip.anchors)


def by_the_auditor(chain: Chain, rule: Any, vendor_cas: int | None, *, measures: bool) -> Any:
    try:
        read = read_chip_rule(rule)
    except Malformed:
        return "no rule"
    roots = [auditors.read_certificate(chain.root.certificate)]
    try:
        path = check_chain(
            chain.certificates, roots, NOW, purposes=x509.PURPOSES, issuing=x509.ISSUING_PURPOSES,
            critical=dice.EXTENSIONS,
        )  # fmt: skip
        shown = shown_by(path, issuers_of(path, roots), read, device_id(path, vendor_cas, measures=measures))
    except CheckFailed:
        return "refused"
    return shown.chip_id, tuple((one.kind, one.issuer, one.value) for one in shown.anchors)


@pytest.mark.parametrize("name", CHAINS)
def test_both_read_chip_and_anchors_of_a_chain_by_every_rule(name: str) -> None:
    chain, verdicts = CHAINS[name], set()
    for rule, vendor_cas, measures in itertools.product(RULES, (None, 0, 1, 2, 5), (True, False)):
        verdict = by_signerd(chain, rule, vendor_cas, measures=measures)
        assert by_the_auditor(chain, rule, vendor_cas, measures=measures) == verdict, (rule, vendor_cas)
        verdicts.add(str(verdict))
    assert len(verdicts) > 3 or name in NOBODYS


def _tokens() -> st.SearchStrategy[str]:
    atoms = [
        "a",
        "0",
        "-",
        ":",
        ".",
        "\\.",
        "\\(",
        "[0-9A-F]",
        "[^ ]",
        "[a-c-]",
        "[]",
        "[^]",
        "[b-a]",
        "[\\]x]",
        "[[]",
    ]
    times = ["", "", "", "?", "*", "+", "{2}", "{0}", "{1,}", "{16}", "{2,4}", "{4,2}", "{,2}", "{999}"]
    return st.builds(str.__add__, st.sampled_from(atoms), st.sampled_from(times))


def _patterns() -> st.SearchStrategy[str]:
    part = st.lists(_tokens(), max_size=3).map("".join)
    whole = st.builds("{}({}){}".format, part, part, part)
    return whole | part | st.text(st.sampled_from("a0.[]()^-\\{}*+?,"), max_size=12)


NAMES = st.text(st.sampled_from("a0bF-: .()]x[\u00e9\n"), max_size=20)


def _cut(read: Any, pattern: str, name: str) -> Iterator[str]:
    try:
        made = read(pattern)
    except (PatternError, Malformed):
        yield "no pattern"
        return
    try:
        yield made.cut(name)
    except (PatternError, Malformed):
        yield "not cut"


@given(_patterns(), NAMES)
def test_both_cut_names_alike(pattern: str, name: str) -> None:
    assert list(_cut(read_pattern, pattern, name)) == list(_cut(parse_pattern, pattern, name))


@given(
    st.sampled_from(["", "EUI:", "a"]),
    st.sampled_from("0Fa-"),
    st.integers(0, 20),
    st.sampled_from(["", " x"]),
)
def test_both_cut_what_a_pattern_is_made_for(before: str, character: str, count: int, after: str) -> None:
    pattern = f"{before}([0-9A-Fa-]{{4,16}}){after}"
    name = f"{before}{character * count}{after}"
    found = list(_cut(read_pattern, pattern, name))
    assert found == list(_cut(parse_pattern, pattern, name))
    assert found == [character * count if 4 <= count <= 16 else "not cut"] or before == "a"
