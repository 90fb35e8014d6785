"""Partition tables: genuine ones are read; wrong ones are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.partition_table import (
    APP,
    DATA,
    FACTORY,
    NVS_KEYS,
    OTA_0,
    OTADATA,
    PartitionTableError,
    find,
    parse_partition_table,
)
from boards.esp32.partitions import Partition, default_partitions, partition_table

NVS = Partition("nvs", 1, 2, 0x9000, 0x6000)
APPLICATION = Partition("ota_0", 0, 0x10, 0x20000, 0x100000)


def test_the_lines_layout_is_read() -> None:
    partitions = parse_partition_table(partition_table(default_partitions()))
    assert [one.label for one in partitions] == ["nvs", "otadata", "nvs_keys", "factory", "ota_0"]
    factory, ota_0 = find(partitions, APP, FACTORY), find(partitions, APP, OTA_0)
    assert factory is not None
    assert ota_0 is not None
    assert (factory.offset, factory.end) == (0x20000, ota_0.offset)
    otadata, keys = find(partitions, DATA, OTADATA), find(partitions, DATA, NVS_KEYS)
    assert otadata is not None
    assert keys is not None
    assert (otadata.size, otadata.encrypted, keys.encrypted) == (0x2000, False, True)


def test_a_table_that_fills_its_sector_is_read() -> None:
    data = partition_table([NVS]).ljust(0x1000, b"\xff")
    assert [one.label for one in parse_partition_table(data)] == ["nvs"]


@pytest.mark.parametrize(
    ("partitions", "text"),
    [
        pytest.param([], "no partition", id="none"),
        pytest.param([NVS, Partition("nvs", 1, 0x82, 0x10000, 0x1000)], "one label", id="label-twice"),
        pytest.param([NVS, Partition("fs", 1, 0x82, 0xE000, 0x1000)], "lies over", id="overlap"),
        pytest.param([Partition("fs", 1, 0x82, 0x8000, 0x1000)], "lies over", id="over-the-table"),
        pytest.param([Partition("ota_0", 0, 0x10, 0x21000, 0x1000)], "multiple", id="app-not-aligned"),
        pytest.param([Partition("fs", 1, 0x82, 0x9800, 0x1000)], "multiple", id="data-not-aligned"),
        pytest.param([Partition("ota_0", 0, 0x10, 0x20000, 0x800)], "whole sectors", id="half-a-sector"),
        pytest.param([Partition("fs", 1, 0x82, 0x9000, 0)], "whole sectors", id="empty"),
        pytest.param([Partition("f\ts", 1, 0x82, 0x9000, 0x1000)], "label", id="label"),
        pytest.param([Partition("", 1, 0x82, 0x9000, 0x1000)], "label", id="no-label"),
    ],
)
def test_partitions_that_cannot_be_are_refused(partitions: list[Partition], text: str) -> None:
    with pytest.raises(PartitionTableError, match=text):
        parse_partition_table(partition_table(partitions))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(lambda table: table[:-1], "whole entries", id="cut-in-an-entry"),
        pytest.param(lambda table: table[:64], "no end", id="cut-before-the-md5"),
        pytest.param(lambda table: b"\xab" + table[1:], "no partition", id="magic"),
        pytest.param(lambda table: table[:8] + b"\x01" + table[9:], "MD5 is wrong", id="size"),
        pytest.param(lambda table: table[:-1] + b"\x00", "not FF", id="byte-behind"),
        pytest.param(lambda table: table + b"\xff" * 0x1000, "at most", id="larger-than-a-sector"),
        pytest.param(lambda _table: b"", "no end", id="nothing"),
    ],
)
def test_wrong_tables_are_refused(change: Callable[[bytes], bytes], text: str) -> None:
    with pytest.raises(PartitionTableError, match=text):
        parse_partition_table(change(partition_table([NVS, APPLICATION])))


@given(st.binary(max_size=320))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PartitionTableError):
        parse_partition_table(data)
