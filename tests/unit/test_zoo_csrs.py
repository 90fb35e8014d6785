"""CSRs as libraries and tools write them: signerd and the auditor come to the verdict beside each."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from auditor.core.csr import check_csr as auditors_check
from auditor.errors import CheckFailed
from boards.attesters.certificate_writer import (
    basic_constraints,
    common_name,
    integer,
    make_key,
    oid,
    seal,
    spki_of,
    tlv,
)
from harness import zoo
from signerd.core.certification_request import read_request
from signerd.core.csr import check_csr
from signerd.core.der import DerError
from signerd.core.names import KeyType
from signerd.errors import Refused

ITEMS = zoo.items("csr")
# The class of a reason, and words of signerd's log that tell it.
REASONS = {
    "ca": "it asks for",
    "algorithm": "algorithm",
    "twice": "twice",
    "form": "DerError",
    "key": "not in its canonical form",
    "signature": "does not fit the key in it",
}


def by_signerd(data: bytes) -> str | None:
    """Why it is refused, and what its reader raised; None where it is accepted."""
    try:
        check_csr(data, accepted=tuple(KeyType))
    except Refused as refusal:
        return f"{refusal} ({type(refusal.__cause__).__name__})"
    return None


def by_the_auditor(data: bytes) -> bool:
    """As one that holds a certificate for the CSR's own key."""
    try:
        spki = read_request(data).spki
    except DerError:
        spki = b""
    try:
        auditors_check(data, spki)
    except CheckFailed:
        return False
    return True


def test_nothing_lies_in_the_folder_without_a_verdict() -> None:
    files = {path.name for path in (zoo.FOLDER / "csr").iterdir()} - {"items.toml"}
    assert files == {item["file"] for item in ITEMS.values()}


@pytest.mark.parametrize("name", ITEMS)
def test_each_csr_gets_its_verdict(name: str) -> None:
    item: dict[str, Any] = ITEMS[name]
    data = zoo.content("csr", item)
    reason = by_signerd(data)
    assert by_the_auditor(data) is (reason is None)
    if item["verdict"] == "accepted":
        assert reason is None
        load_der_public_key(check_csr(data, accepted=tuple(KeyType)).spki)
    else:
        assert reason is not None
        assert REASONS[item["reason"]] in reason


KEY = make_key("p256")
EXTENSIONS = tlv(0x30, basic_constraints(ca=False))


def request(*attributes: bytes) -> bytes:
    info = tlv(0x30, integer(0), common_name("chip_1"), spki_of(KEY), tlv(0xA0, *attributes))
    return seal(KEY, info)


def asking(value: bytes) -> bytes:
    return request(tlv(0x30, oid("1.2.840.113549.1.9.14"), tlv(0x31, value)))


@pytest.mark.parametrize(
    "value",
    [
        b"\x30\x80\x00\x00",
        tlv(0x30, tlv(0x30, oid("2.5.29.19"))),
        tlv(0x30, tlv(0x30, oid("2.5.29.19"), tlv(0x01, b"\x01"), tlv(0x04, tlv(0x30)))),
        tlv(0x30, tlv(0x30, oid("2.5.29.19"), tlv(0x04, tlv(0x30, tlv(0x01, b"\x01"))))),
        tlv(0x30, tlv(0x30, oid("2.5.29.19"), tlv(0x04, tlv(0x30) + b"\x00"))),
        tlv(0x30, tlv(0x30, oid("2.5.29.15"), tlv(0x04, tlv(0x03)))),
        tlv(0x30, tlv(0x30, oid("2.5.29.15"), tlv(0x04, tlv(0x04, b"\x00\x04")))),
        tlv(0x31, basic_constraints(ca=False)),
        b"",
    ],
)
def test_what_is_asked_for_is_read_or_the_csr_is_refused(value: bytes) -> None:
    """An extensionRequest that cannot be read could ask for a CA. An empty one asks for nothing."""
    data = asking(value)
    assert (by_signerd(data) is None) is by_the_auditor(data) is (value == b"")
    assert by_signerd(asking(EXTENSIONS)) is None


def test_other_attributes_are_one_element_each() -> None:
    """Whatever is in them; but what is around them has one form."""
    kind = oid("1.2.840.113549.1.9.7")
    for values, accepted in (
        (tlv(0x31, b"\x30\x80 no DER at all"), True),
        (tlv(0x31), True),
        (tlv(0x30), False),
        (b"\x31\x81\x00", False),
        (b"", False),
        (tlv(0x31) + tlv(0x31), False),
    ):
        data = request(tlv(0x30, kind, values))
        assert (by_signerd(data) is None) is by_the_auditor(data) is accepted
