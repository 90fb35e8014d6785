"""Tables of the kinds that projects have, made by ESP-IDF's own program, are read as it wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.core.bundle import Role
from agent.core.bundle_checks import app_place
from agent.core.partition_table import PartitionTableError, parse_partition_table

VECTORS = Path(__file__).parents[3] / "vectors" / "partition-tables" / "tables.json"
TABLES = {table["case"]: table for table in json.loads(VECTORS.read_text(encoding="utf-8"))}
OWN_ROWS = next(name for name in TABLES if name.startswith("IDF-5-4"))
OTA_ONLY = next(name for name in TABLES if name.startswith("esp-idf-470"))
NO_MD5 = next(name for name in TABLES if name.startswith("no-MD5"))


def content(table: dict[str, Any]) -> bytes:
    return bytes.fromhex(table["entries"]).ljust(0xC00, b"\xff")


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_each_is_read_as_it_was_written(table: dict[str, Any]) -> None:
    read = parse_partition_table(content(table), table["table_offset"])
    assert [
        [one.label, one.type, one.subtype, one.offset, one.size, one.encrypted, one.readonly] for one in read
    ] == table["rows"]
    assert app_place(Role.APPLICATION, read) is not None
    assert app_place(Role.MANUFACTURING, read) is not None


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table["table_offset"] != 0x8000])
def test_a_table_does_not_reach_over_its_first_partition(name: str) -> None:
    table = TABLES[name]
    with pytest.raises(PartitionTableError, match="lies over"):
        parse_partition_table(content(table), table["table_offset"] + 0x1000)


@pytest.mark.parametrize("offset", [0x7000, 0x9000])
def test_a_table_whose_rows_name_another_place_is_refused(offset: int) -> None:
    with pytest.raises(PartitionTableError, match=r"built for a table at 0x8000|lies over"):
        parse_partition_table(content(TABLES[OWN_ROWS]), offset)


def test_a_layout_without_factory_has_the_manufacturing_firmware_in_its_second_slot() -> None:
    read = parse_partition_table(content(TABLES[OTA_ONLY]))
    places = [app_place(role, read) for role in (Role.APPLICATION, Role.MANUFACTURING)]
    assert [place and place.label for place in places] == ["ota_0", "ota_1"]


def test_a_table_without_md5_still_needs_its_end() -> None:
    entries = bytes.fromhex(TABLES[NO_MD5]["entries"])
    whole = entries + b"\x00" * (-len(entries) % 32)
    with pytest.raises(PartitionTableError, match="no end"):
        parse_partition_table(whole)
    with pytest.raises(PartitionTableError, match="not FF"):
        parse_partition_table(whole + b"\xff" * 32 + whole[:32])


def test_a_read_only_otadata_is_refused() -> None:
    entries = bytearray(content(TABLES[NO_MD5]))
    entries[32 + 28] |= 2  # the flags of the second row
    with pytest.raises(PartitionTableError, match="read-only"):
        parse_partition_table(bytes(entries))
