"""Entries have exactly the members that docs/formats.md names, in canonical form."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from signerd.core.entry import (
    MAX_ENTRY,
    Entry,
    EntryError,
    Issued,
    OrderClosed,
    OrderOpened,
    digest_chips,
    encode,
    serial_bytes,
)

NOW = datetime(2026, 11, 15, 12, 30, 0, 999, tzinfo=UTC)
FORMATS = Path(__file__).parents[4] / "docs" / "formats.md"


def documented() -> dict[str, set[str]]:
    """Type to members, from the table under "Ledger"."""
    section = FORMATS.read_text().split("\n## Ledger\n")[1].split("\n## ")[0]
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
    built = {kind.type: {field.name for field in fields(kind)} - {"time"} for kind in Entry.__subclasses__()}
    assert built == documented()


def test_the_form_of_each_kind_of_member() -> None:
    order = OrderOpened(
        time=NOW,
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
    )
    data = encode(order)
    value = json.loads(data)
    assert (value["v"], value["type"]) == (1, "order_opened")
    assert value["time"] == value["not_before"] == value["not_after"] == "2026-11-15T12:30:00Z"
    assert value["settings_sha256"] == "ab" * 32
    assert value["stations"] == ["birthmark://x/station/a/b"]
    assert data == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def test_none_is_null() -> None:
    issued = {field.name: b"" for field in fields(Issued)}
    entry = Issued(**{**issued, "time": NOW, "number": 1, "supersedes": None})  # type: ignore[arg-type]
    assert json.loads(encode(entry))["supersedes"] is None


def test_an_entry_is_bounded() -> None:
    room = MAX_ENTRY - len(encode(OrderClosed(time=NOW, work_order="")))
    assert len(encode(OrderClosed(time=NOW, work_order="x" * room))) == MAX_ENTRY
    with pytest.raises(EntryError):
        encode(OrderClosed(time=NOW, work_order="x" * (room + 1)))


def test_an_integer_is_one_that_every_reader_knows() -> None:
    issued = {field.name: b"" for field in fields(Issued)}
    good = Issued(**{**issued, "time": NOW, "number": 2**53 - 1, "supersedes": None})  # type: ignore[arg-type]
    assert json.loads(encode(good))["number"] == 2**53 - 1
    with pytest.raises(EntryError, match="canonical"):
        encode(replace(good, number=2**53))


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
