"""Entries have exactly the members that docs/formats.md names, in canonical form."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from signerd.core import entry as entries
from signerd.core import strict_cbor
from signerd.core.entry import (
    ID_BYTES,
    MAX_ENTRY,
    MAX_SHARED_PRIMES,
    Entry,
    EntryError,
    Issued,
    OrderClosed,
    OrderOpened,
    SharedPrimesFound,
    digest_chips,
    digest_identities,
    serial_bytes,
)
from signerd.core.evidence import METHODS
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.evidence.rules import MAX_MEASUREMENTS

ID = bytes(range(ID_BYTES))
NOW = datetime(2026, 11, 15, 12, 30, 0, 999, tzinfo=UTC)
FORMATS = Path(__file__).parents[4] / "docs" / "formats.md"


def encode(entry: Entry) -> bytes:
    return entries.encode(entry, ID)


def types_below(kind: type[Entry]) -> list[type[Entry]]:
    """Those that are written: the ones that others only build on have no type."""
    below = kind.__subclasses__()
    return [found for one in below for found in [*([one] if hasattr(one, "type") else []), *types_below(one)]]


def documented() -> dict[str, set[str]]:
    """Type to members, from the table under "Ledger"."""
    section = FORMATS.read_text().split("\n## Ledger\n")[1].split("\n## ")[0]
    section = section.split("\n**Form 1**")[0].split("\n| member |")[0]
    table: dict[str, set[str]] = {}
    for line in section.splitlines():
        if not line.startswith("| `"):
            continue
        types, members = line.strip("|").split("|")
        without_remarks, remarks = members, 1
        while remarks:  # the innermost first
            without_remarks, remarks = re.subn(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}", "", without_remarks)
        for name in re.findall(r"`(\w+)`", types):
            table[name] = set(re.findall(r"`(\w+)`", without_remarks))
    return table


def test_every_documented_type_has_exactly_its_members() -> None:
    built = {kind.type: {field.name for field in fields(kind)} - {"time"} for kind in types_below(Entry)}
    assert built == documented()


def test_the_form_of_each_kind_of_member() -> None:
    order = OrderOpened(
        time=NOW,
        by="ann",
        work_order="WO-1",
        product="sensor",
        product_sha256=bytes(32),
        quantity=1000,
        not_before=NOW,
        not_after=NOW.astimezone(timezone(timedelta(hours=5))),
        stations=("birthmark://x/station/a/b",),
        level="chip",
        minimum_firmware={"b": "1", "a": "2"},
        serial_pattern="BM-{number:06d}",
        serial_start=1,
        reissue="never",
        settings_sha256=bytes.fromhex("AB" * 32),
        bundle_sha256=bytes.fromhex("CD" * 32),
        firmware={"boot": ("2.0", bytes.fromhex("EF" * 32)), "app": ("1.4.0", bytes(32))},
        rehearsed=True,
    )
    data = encode(order)
    value = json.loads(data)
    assert (value["v"], value["type"]) == (3, "order_opened")
    assert (value["id"], value["by"]) == (ID.hex(), "ann")
    assert value["time"] == value["not_before"] == value["not_after"] == "2026-11-15T12:30:00Z"
    assert value["settings_sha256"] == "ab" * 32
    assert value["stations"] == ["birthmark://x/station/a/b"]
    assert value["minimum_firmware"] == {"a": "2", "b": "1"}
    assert value["bundle_sha256"] == "cd" * 32
    assert value["firmware"] == {"app": ["1.4.0", "00" * 32], "boot": ["2.0", "ef" * 32]}
    assert data == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def test_none_is_null() -> None:
    assert json.loads(encode(issued_entry()))["supersedes"] is None


def test_an_entry_is_bounded() -> None:
    room = MAX_ENTRY - len(encode(OrderClosed(time=NOW, by=None, work_order="")))
    assert len(encode(OrderClosed(time=NOW, by=None, work_order="x" * room))) == MAX_ENTRY
    with pytest.raises(EntryError):
        encode(OrderClosed(time=NOW, by=None, work_order="x" * (room + 1)))


def test_an_integer_is_one_that_every_reader_knows() -> None:
    good = issued_entry(number=2**53 - 1)
    assert json.loads(encode(good))["number"] == 2**53 - 1
    with pytest.raises(EntryError, match="canonical"):
        encode(replace(good, number=2**53))


def issued_entry(**members: Any) -> Issued:
    digest = bytes(32)
    good: dict[str, Any] = {
        "time": NOW,
        "work_order": "WO-1",
        "product": "sensor",
        "number": 1,
        "chip_id": "chip",
        "serial_number": "BM-1",
        "certificate_serial": b"\x01",
        "certificate_sha256": digest,
        "spki_sha256": digest,
        "csr_sha256": digest,
        "settings_sha256": digest,
        "level": "key",
        "method": "x509",
        "claims": Claims({}, {}),
        "measured": {},
        "attester_sha256": None,
        "evidence_sha256": digest,
        "challenge": digest,
        "station": "birthmark://x/station/a/b",
        "supersedes": None,
        "anchors": (),
        "certificate_name": "device",
        "versions": {"signerd": "1.0", "agent": None},
    }
    return Issued(**good | members)


def test_anchors_and_versions_stand_as_they_are() -> None:
    anchors = (("key", None, "ab" * 32), ("serial", "cd" * 32, "S 1"))
    value = json.loads(encode(issued_entry(anchors=anchors)))
    assert value["anchors"] == [["key", None, "ab" * 32], ["serial", "cd" * 32, "S 1"]]
    assert value["versions"] == {"signerd": "1.0", "agent": None}


@pytest.mark.parametrize("entry_id", [b"", bytes(15), bytes(17)])
def test_an_id_has_sixteen_bytes(entry_id: bytes) -> None:
    with pytest.raises(EntryError, match="id"):
        entries.encode(issued_entry(), entry_id)


def test_claims_and_measurements_stand_in_clear() -> None:
    claims = Claims({"app": ("1.2.0", b"\xab" * 32)}, {"secure_boot": True, "debug_closed": False})
    entry = issued_entry(claims=claims, measured={"boot": "2.0"}, attester_sha256=b"\xcd" * 32)
    value = json.loads(encode(entry))
    assert value["claims"] == {
        "firmware": {"app": ["1.2.0", "ab" * 32]},
        "security_state": {"secure_boot": True, "debug_closed": False},
    }
    assert (value["measured"], value["attester_sha256"]) == ({"boot": "2.0"}, "cd" * 32)
    assert json.loads(encode(issued_entry()))["claims"] == {"firmware": {}, "security_state": {}}


def test_the_largest_certificate_fits_an_entry() -> None:
    claims = parse_claims(
        strict_cbor.encode(
            [
                {f"{number:032}": [f"1-{'x' * 30}", bytes(32)] for number in range(16)},
                {f"{number:032}": False for number in range(16)},
            ]
        )
    )
    name = "n" * 64
    entry = issued_entry(
        work_order=name,
        product=name,
        number=2**53 - 1,
        chip_id=name,
        serial_number=name,
        certificate_serial=bytes(20),
        method=max(METHODS, key=len),
        claims=claims,
        measured={f"{number:032}": f"1-{'x' * 30}" for number in range(MAX_MEASUREMENTS)},
        attester_sha256=bytes(32),
        station=f"birthmark://{name}/station/{name}/{name}",
        supersedes=bytes(32),
        anchors=tuple(("serial", "ab" * 32, f"{number:0512}") for number in range(32)),
        versions={"signerd": "1" * 64, "agent": "1" * 64},
    )
    assert len(encode(entry)) < MAX_ENTRY // 2


def test_the_largest_list_of_shared_primes_fits_an_entry() -> None:
    certificates = (bytes(32),) * MAX_SHARED_PRIMES
    data = encode(SharedPrimesFound(time=NOW, count=MAX_SHARED_PRIMES, certificates=certificates))
    assert len(data) < MAX_ENTRY
    assert json.loads(data)["certificates"] == ["00" * 32] * MAX_SHARED_PRIMES


def test_identities_are_digested_as_sorted_lines() -> None:
    one, two = ("a", b"\x01", b"\xaa" * 32), ("b", b"\x02\x03", b"\xbb" * 32)
    text = f"a 01 {'aa' * 32}\nb 0203 {'bb' * 32}\n"
    assert digest_identities([two, one]) == hashlib.sha256(text.encode()).digest()
    assert digest_identities([]).hex().startswith("e3b0c442")


def test_chips_are_digested_sorted() -> None:
    assert digest_chips(["b", "a"]) == digest_chips(["a", "b"])
    assert digest_chips([]).hex().startswith("e3b0c442")
    # printf 'a\nb\n' | sha256sum
    assert (
        digest_chips(["a", "b"]).hex() == "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"
    )


@pytest.mark.parametrize(
    ("serial", "data"), [(1, "01"), (255, "ff"), (256, "0100"), (1 << 127, "80" + "00" * 15)]
)
def test_serials_are_unsigned_and_shortest(serial: int, data: str) -> None:
    assert serial_bytes(serial).hex() == data
