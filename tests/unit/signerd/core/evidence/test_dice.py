from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.attesters.certificate_writer import (
    Authority,
    common_name,
    extension,
    integer,
    issue,
    make_key,
    oid,
    spki_of,
    tlv,
)
from boards.attesters.x509 import MULTI_TCB_INFO, SHA256_OID, TCB_INFO, tcb_info
from signerd.core.evidence.certificate import Certificate, read_certificate
from signerd.core.evidence.dice import EXTENSIONS, MeasuredFirmware, measured_firmware
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.rules import Measurement

VECTORS: dict[str, str] = json.loads(
    (Path(__file__).parents[4] / "vectors" / "dice" / "tcbinfo.json").read_text()
)
KEY = make_key("p256")
SELF = Authority(common_name("anyone"), KEY)
BOOT, APP, NEW_APP, EVIL = (hashlib.sha256(name).digest() for name in (b"boot", b"app", b"app 1.3", b"evil"))
SHA384_OID, SHA512_OID, SHA3_256_OID = (f"2.16.840.1.101.3.4.2.{number}" for number in (2, 3, 8))
GENUINE = MeasuredFirmware(present=True, versions={"app": "1.2.0", "boot": "2.0"})
UNACCEPTED = MeasuredFirmware(present=True)
NO_DICE = MeasuredFirmware(present=False)


def measurement(component: str, version: str, digest: bytes) -> Measurement:
    return Measurement.model_validate({"component": component, "version": version, "digest": digest.hex()})


ACCEPTED = (
    measurement("boot", "2.0", BOOT),
    measurement("app", "1.2.0", APP),
    measurement("app", "1.3.0", NEW_APP),
)


def layer(*infos: bytes, multi: bool = False, critical: bool = True) -> Certificate:
    """A certificate with these TcbInfo; signatures are of no matter here."""
    if multi:
        extensions = [extension(MULTI_TCB_INFO, tlv(0x30, *infos), critical=critical)]
    else:
        extensions = [extension(TCB_INFO, info, critical=critical) for info in infos]
    return read_certificate(issue(SELF, SELF.name, spki_of(KEY), extensions))


def firmware(*certificates: Certificate, accepted: Sequence[Measurement] = ACCEPTED) -> MeasuredFirmware:
    return measured_firmware(certificates, accepted)


VENDOR = layer()
BOOT_LAYER = layer(tcb_info([BOOT]))
APP_LAYER = layer(tcb_info([APP]))


def test_what_every_layer_measures_is_told_when_all_of_it_is_accepted() -> None:
    assert firmware(APP_LAYER, BOOT_LAYER, VENDOR) == GENUINE
    assert firmware(layer(tcb_info([NEW_APP])), BOOT_LAYER, VENDOR).versions == {
        "app": "1.3.0",
        "boot": "2.0",
    }
    assert firmware(layer(tcb_info([BOOT, APP])), VENDOR) == GENUINE
    assert firmware(layer(tcb_info([APP]), tcb_info([BOOT]), multi=True), VENDOR) == GENUINE
    assert firmware(layer(tcb_info([APP]), critical=False), BOOT_LAYER, VENDOR) == GENUINE
    # Both extensions in one certificate.
    both = [extension(MULTI_TCB_INFO, tlv(0x30, tcb_info([BOOT]))), extension(TCB_INFO, tcb_info([APP]))]
    certificate = read_certificate(issue(SELF, SELF.name, spki_of(KEY), both))
    assert firmware(certificate) == GENUINE


def test_certificates_that_speak_of_no_firmware_are_told_apart() -> None:
    assert firmware(VENDOR, VENDOR) == NO_DICE
    other = [extension("2.23.133.5.4.4", tlv(0x30, tlv(0x04, b"UEID")))]
    assert firmware(read_certificate(issue(SELF, SELF.name, spki_of(KEY), other))) == NO_DICE
    assert {TCB_INFO, MULTI_TCB_INFO, "2.23.133.5.4.4"} == EXTENSIONS


@pytest.mark.parametrize(
    "certificates",
    [
        pytest.param([layer(tcb_info([EVIL])), BOOT_LAYER], id="the app is not accepted"),
        pytest.param([layer(tcb_info([APP, EVIL])), BOOT_LAYER], id="one digest of two is not accepted"),
        pytest.param([layer(tcb_info([EVIL, APP])), BOOT_LAYER], id="nor the other way round"),
        pytest.param(
            [layer(tcb_info([APP]), tcb_info([EVIL]), multi=True), BOOT_LAYER], id="one TcbInfo of two"
        ),
        pytest.param([APP_LAYER], id="a component that the product names was not measured"),
        pytest.param([BOOT_LAYER], id="nor was the other one"),
        pytest.param([layer(tcb_info([APP, NEW_APP])), BOOT_LAYER], id="one component in two versions"),
        pytest.param([VENDOR, APP_LAYER, BOOT_LAYER], id="the leaf is unmeasured"),
        pytest.param([layer(tcb_info([])), APP_LAYER, BOOT_LAYER], id="the leaf has a TcbInfo without FWIDs"),
        pytest.param([layer(tcb_info([APP], algorithm=SHA3_256_OID)), BOOT_LAYER], id="another hash"),
        pytest.param(
            [layer(tcb_info([APP], rest=tlv(0xAB, tlv(0x30, integer(1))))), BOOT_LAYER],
            id="integrity registers",
        ),
        *(
            pytest.param([layer(tcb_info([APP], flags=[bit])), BOOT_LAYER], id=f"flag {bit}")
            for bit in (*range(4, 7), 8, 9, 30, 32, 200)
        ),
    ],
)
def test_firmware_that_falls_short_measures_nothing(certificates: list[Certificate]) -> None:
    assert firmware(APP_LAYER, BOOT_LAYER) == GENUINE
    assert firmware(*certificates) == UNACCEPTED


@pytest.mark.parametrize(
    "above",
    [
        pytest.param([layer(tcb_info([EVIL]))], id="its firmware is not accepted"),
        pytest.param([layer(tcb_info([BOOT, EVIL]))], id="one digest of two is not"),
        pytest.param([layer(tcb_info([BOOT], algorithm=SHA3_256_OID))], id="another hash"),
        pytest.param([VENDOR, BOOT_LAYER], id="it is not measured below one that is"),
        pytest.param([layer(tcb_info([])), BOOT_LAYER], id="its TcbInfo has no FWIDs"),
        pytest.param([layer(tcb_info([]))], id="nor is one measured above it"),
        pytest.param([BOOT_LAYER, layer(tcb_info([EVIL]))], id="the one above it is not accepted"),
        pytest.param([layer(tcb_info([BOOT], flags=[4]))], id="flag 4"),
        pytest.param([layer(tcb_info([BOOT], rest=tlv(0xAB, tlv(0x30, integer(1)))))], id="registers"),
    ],
)
@pytest.mark.parametrize("leaf", [APP_LAYER, VENDOR, layer(tcb_info([EVIL]))])
def test_a_layer_that_could_certify_any_chip_is_refused(leaf: Certificate, above: list[Certificate]) -> None:
    """Other firmware in it would hold a CA's key: the name below it says nothing of a chip."""
    assert firmware(leaf, BOOT_LAYER) in (GENUINE, UNACCEPTED)
    with pytest.raises(EvidenceError, match="key of a CA"):
        firmware(leaf, *above)


def test_flags_that_take_nothing_away_are_let_pass() -> None:
    for flags in ([7], [31], [7, 31]):
        assert firmware(layer(tcb_info([APP], flags=flags)), BOOT_LAYER) == GENUINE
    # All flags written out and none set, and a mask that says which are meant.
    rest = tlv(0x87, bytes(5)) + tlv(0x88, b"any") + tlv(0x89, b"kind") + tlv(0x8A, b"\x00\xf0")
    assert firmware(layer(tcb_info([APP], rest=rest)), BOOT_LAYER) == GENUINE


@pytest.mark.parametrize("bit", [0, 1, 2, 3])
def test_a_chip_that_says_it_is_not_secure_is_refused(bit: int) -> None:
    wrong = tcb_info([APP], flags=[bit])
    chains = (
        [layer(wrong), BOOT_LAYER],
        [APP_LAYER, layer(tcb_info([BOOT], flags=[bit]))],
        [layer(tcb_info([]), tcb_info([], flags=[bit, 31]), multi=True), APP_LAYER, BOOT_LAYER],
        # Not hidden by a mask that leaves it out, nor by firmware that is not accepted.
        [layer(tcb_info([APP], flags=[bit], rest=tlv(0x8A, b"\x04\x00"))), BOOT_LAYER],
        [layer(tcb_info([EVIL], flags=[bit])), BOOT_LAYER],
    )
    for chain in chains:
        with pytest.raises(EvidenceError, match="state"):
            firmware(*chain)


@pytest.mark.parametrize(
    ("algorithm", "size"), [(SHA256_OID, 32), (SHA384_OID, 48), (SHA512_OID, 64)], ids=["256", "384", "512"]
)
def test_a_digest_is_of_its_algorithms_length(algorithm: str, size: int) -> None:
    digest = bytes(range(size))
    accepted = [measurement("app", "1.0", digest)]
    assert firmware(layer(tcb_info([digest], algorithm=algorithm)), accepted=accepted).versions == {
        "app": "1.0"
    }
    for other in {SHA256_OID, SHA384_OID, SHA512_OID} - {algorithm}:
        with pytest.raises(EvidenceError, match="length"):
            firmware(layer(tcb_info([digest], algorithm=other)), accepted=accepted)
    for wrong in (digest[:-1], digest + b"\x00", b"", digest[:16]):
        with pytest.raises(EvidenceError, match="length"):
            firmware(layer(tcb_info([wrong], algorithm=algorithm)), accepted=accepted)


def test_without_accepted_measurements_nothing_is_accepted() -> None:
    assert firmware(APP_LAYER, accepted=()) == UNACCEPTED
    assert firmware(VENDOR, accepted=()) == NO_DICE


def test_a_digest_that_stands_for_two_things_says_neither() -> None:
    once = [measurement("app", "1.2.0", APP)]
    assert firmware(APP_LAYER, accepted=[*once, *once]).versions == {"app": "1.2.0"}
    for other in (measurement("app", "1.3.0", APP), measurement("boot", "1.2.0", APP)):
        assert firmware(APP_LAYER, accepted=[*once, other]) == UNACCEPTED


GOOD = tcb_info([APP])


@pytest.mark.parametrize(
    "info",
    [
        GOOD[:-1],
        GOOD + b"\x00",
        GOOD + GOOD,
        b"",
        b"\x31" + GOOD[1:],
        b"\x30\x81" + GOOD[1:],  # a length of one octet too many
        b"\x30\x80" + GOOD[2:] + b"\x00\x00",  # indefinite
        b"\x30\x84\xff\xff\xff\xff",
        tlv(0x30, tlv(0xA6)),  # SIZE (1..MAX)
        tlv(0x30, tlv(0x86, b"")),  # FWIDLIST is constructed
        tlv(0x30, tlv(0xA6, tlv(0x30, oid(SHA256_OID)))),
        tlv(0x30, tlv(0xA6, tlv(0x30, tlv(0x04, APP), oid(SHA256_OID)))),
        tlv(0x30, tlv(0xA6, tlv(0x30, oid(SHA256_OID), tlv(0x24, tlv(0x04, APP))))),
        tlv(0x30, tlv(0xA6, tlv(0x30, oid(SHA256_OID), tlv(0x04, APP), tlv(0x05)))),
        tlv(0x30, tlv(0x87)),  # a BIT STRING has its first octet
        tlv(0x30, tlv(0x87, b"\x08\x00")),
        tlv(0x30, tlv(0x87, b"\x04\x0f")),  # padding is zero
        tlv(0x30, tlv(0x83)),
        tlv(0x30, tlv(0x83, b"\x00\x01")),
        tlv(0x30, tlv(0x80, b"\xff")),
        tlv(0x30, tlv(0x81, b"m"), tlv(0x80, b"v")),  # out of order
        tlv(0x30, tlv(0x80, b"v"), tlv(0x80, b"v")),
        tlv(0x30, tlv(0x8C, b"v")),
        tlv(0x30, tlv(0x0C, b"v")),
    ],
)
def test_tcb_info_is_strict_der(info: bytes) -> None:
    assert firmware(layer(GOOD), BOOT_LAYER) == GENUINE
    with pytest.raises(EvidenceError):
        firmware(layer(info), BOOT_LAYER)
    if info not in (b"", GOOD + GOOD):  # which are no and two elements there
        with pytest.raises(EvidenceError):
            firmware(layer(GOOD, info, multi=True), BOOT_LAYER)


def test_multi_tcb_info_has_one_or_more() -> None:
    assert firmware(layer(GOOD, multi=True), BOOT_LAYER) == GENUINE
    for wrong in (tlv(0x30), b"", tlv(0x30, GOOD) + b"\x00", tlv(0x31, GOOD), GOOD):
        certificate = read_certificate(
            issue(SELF, SELF.name, spki_of(KEY), [extension(MULTI_TCB_INFO, wrong)])
        )
        with pytest.raises(EvidenceError):
            firmware(certificate, BOOT_LAYER)


@pytest.mark.check
def test_every_changed_byte_of_a_tcb_info_still_accepts_no_other_digest() -> None:
    """Content that means nothing to the rules may change; a digest or a flag may not."""
    for position in range(len(GOOD)):
        for value in range(256):
            changed = GOOD[:position] + bytes([value]) + GOOD[position + 1 :]
            try:
                found = firmware(layer(changed), BOOT_LAYER)
            except EvidenceError:
                continue
            if found == GENUINE:
                assert APP in changed


@settings(max_examples=300)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_read_or_are_an_evidence_error(data: bytes, multi: bool) -> None:
    for value in (data, tlv(0x30, data), tlv(0x30, tlv(0xA6, data)), tlv(0x30, tlv(0xAB, data)), GOOD + data):
        try:
            assert firmware(layer(value, multi=multi), accepted=()) == UNACCEPTED
        except EvidenceError:
            continue


@pytest.mark.parametrize("tag", [0x30, 0xA6, 0xAB, 0x24, 0x87, 0x83, 0x80])
def test_deep_and_large_values_are_read_or_are_an_evidence_error(tag: int) -> None:
    deep = b""
    for _ in range(2000):
        deep = tlv(tag, deep)
    for content in (deep, bytes(7000), b"\xff" * 7000, b"\x30\x80" * 3000, tlv(tag, bytes(7000))):
        for value in (tlv(0x30, content), tlv(0x30, tlv(tag, content))):
            try:
                assert firmware(layer(value)) == UNACCEPTED
            except EvidenceError:
                continue


def test_many_digests_and_layers() -> None:
    many = layer(tcb_info([APP] * 150))
    assert firmware(many, layer(*[tcb_info([BOOT])] * 70, multi=True), *[BOOT_LAYER] * 4) == GENUINE


@pytest.mark.parametrize(("name", "size"), [("sha256", 32), ("sha384", 48), ("sha512", 64), ("svn-zero", 32)])
def test_a_published_tcb_info_is_read_and_no_other_digest_accepted(name: str, size: int) -> None:
    info = bytes.fromhex(VECTORS[name])
    accepted = [measurement("layer", "1.2.3.4", info[-size:])]
    assert firmware(layer(info), accepted=accepted).versions == {"layer": "1.2.3.4"}
    for position in range(len(info) - size, len(info)):
        changed = bytearray(info)
        changed[position] ^= 1
        assert firmware(layer(bytes(changed)), accepted=accepted) == UNACCEPTED


def test_a_published_tcb_info_with_sha_1_is_read_and_never_accepted() -> None:
    info = bytes.fromhex(VECTORS["sha1"])
    assert firmware(layer(info), accepted=()) == UNACCEPTED
    named = [measurement("layer", "1.2.3.4", bytes.fromhex(VECTORS["sha256"])[-32:])]
    assert firmware(layer(info), accepted=named) == UNACCEPTED
