"""Lists of chips: each chip once, in one spelling, and nothing that is no chip."""

from __future__ import annotations

import pytest

from signerd.core.chip_list import ChipListError, check_chip_id, check_macs, check_together, read_list

MAC, OTHER = "7c:df:a1:00:00:01", "7c:df:a1:00:00:02"


def test_a_list() -> None:
    assert read_list(f"{MAC}\n\n  {OTHER}\t\r\nCHIP-0001") == [MAC, OTHER, "CHIP-0001"]


@pytest.mark.parametrize("text", ["", "\n \r\n"])
def test_a_list_without_a_chip(text: str) -> None:
    with pytest.raises(ChipListError, match="no chip id"):
        read_list(text)


@pytest.mark.parametrize(
    "header",
    [
        "chip_id",
        "Chip-ID",
        "MAC",
        "mac_address",
        "macs",
        "BASE_MAC",
        "device.id",
        "UUID",
        "serial",
        "id",
        "EUI48",
    ],
)
@pytest.mark.parametrize("before", ["", f"{OTHER}\n"])
def test_no_header_becomes_a_chip(header: str, before: str) -> None:
    with pytest.raises(ChipListError, match="a list has no header"):
        read_list(f"{before}{header}\n{MAC}\n")


@pytest.mark.parametrize("header", ["baugruppe", "Etikett", "puce", "PCBA"])
def test_a_header_in_words_that_nobody_foresaw(header: str) -> None:
    with pytest.raises(ChipListError, match=f"its first line, {header}, looks like a header"):
        read_list(f"{header}\n{MAC}\n")
    assert read_list(f"{MAC}\n{header}\n") == [MAC, header]


def test_a_list_of_ids_without_digits_has_no_header() -> None:
    assert read_list("anna\nberta\n") == ["anna", "berta"]
    assert read_list(f"fe:df:ac:fe:ca:fe\n{MAC}\n") == ["fe:df:ac:fe:ca:fe", MAC]


@pytest.mark.parametrize("line", ["chip 1", "a,b", "", "7c:df:a1:00:00:01;", "ä", "a" * 65, "key=aa"])
def test_what_is_no_chip_id(line: str) -> None:
    with pytest.raises(ChipListError, match=r"not a chip id|no chip id"):
        read_list(line)


def test_the_line_is_named_and_one_chip_stands_once() -> None:
    with pytest.raises(ChipListError, match="line 3: A-1 is in line 1 too"):
        read_list("A-1\nA-2\nA-1\n")
    with pytest.raises(ChipListError, match="line 2: a-1 and line 1 differ by letter case alone"):
        read_list("A-1\na-1\n")
    with pytest.raises(ChipListError, match="line 2: 'x y'"):
        read_list("A-1\nx y\n")


@pytest.mark.parametrize("header", ["ESP32_MAC", "esp32-id", "mac48.address"])
def test_a_header_with_digits_that_count_nothing(header: str) -> None:
    with pytest.raises(ChipListError, match=f"its first line, {header}, looks like a header"):
        read_list(f"{header}\n{MAC}\n")


def test_chips_that_are_named_as_columns_are_and_counted() -> None:
    for chips in (["CHIP-1", "CHIP-2"], ["dev:1", "paper:1"], ["id1x", "id2x"], ["MAC1", MAC]):
        assert read_list("\n".join(chips)) == chips


@pytest.mark.parametrize("bare", ["7cdfa1000001", "7CDFA1000001"])
def test_one_mac_address_with_and_without_colons(bare: str) -> None:
    assert read_list(f"{bare}\n{OTHER}\n") == [bare, OTHER]
    for text in (f"{MAC}\n{bare}\n", f"{bare}\n{MAC}\n"):
        with pytest.raises(ChipListError, match="as one MAC address is written with and without colons"):
            read_list(text)
    with pytest.raises(ChipListError, match="one chip has one id"):
        check_together([bare, MAC])


@pytest.mark.parametrize("digit", "0fF")
@pytest.mark.parametrize("count", [12, 16, 24, 32])
def test_ids_that_were_not_read(digit: str, count: int) -> None:
    check_chip_id(digit * (count - 1) + "1")
    with pytest.raises(ChipListError, match="was not read"):
        check_chip_id(digit * count)
    with pytest.raises(ChipListError, match="was not read"):
        check_chip_id("-".join([digit * 2] * 8))


def test_ids_that_differ_by_letter_case_alone_in_a_call() -> None:
    check_together(["A-1", "A-1", "A-2"])
    with pytest.raises(ChipListError, match="letter case alone"):
        check_together(["A-1", "A-2", "a-1"])


@pytest.mark.parametrize(
    ("chip_id", "reason"),
    [
        ("00:00:00:00:00:00", "no chip's MAC"),
        ("00-00-00-00-00-00", "no chip's MAC"),
        ("ff:ff:ff:ff:ff:ff", "no chip's MAC"),
        ("FF:FF:FF:FF:FF:FF", "no chip's MAC"),
        ("01:00:5e:00:00:01", "multicast"),
        ("33:33:00:00:00:01", "multicast"),
        ("7C:DF:A1:00:00:01", "another spelling"),
        ("7c-df-a1-00-00-01", "another spelling"),
        ("7cdf.a100.0001", "another spelling"),
    ],
)
def test_mac_addresses_that_no_chip_has_or_that_are_spelled_otherwise(chip_id: str, reason: str) -> None:
    for check in (check_chip_id, lambda one: check_macs([one]), read_list):
        with pytest.raises(ChipListError):
            check(chip_id)
    with pytest.raises(ChipListError, match=reason):
        check_chip_id(chip_id)


@pytest.mark.parametrize(
    "chip_id", ["01:23:45:67:89:ab:cd", "0123456789ab", "7c:df:a1", "EUI:00-11", "de-ad"]
)
def test_ids_that_are_no_mac_addresses_are_as_they_are(chip_id: str) -> None:
    check_chip_id(chip_id)
    with pytest.raises(ChipListError, match="is not the MAC address of a chip: six pairs"):
        check_macs([MAC, chip_id])


def test_mac_addresses() -> None:
    check_macs([MAC, OTHER, "02:00:00:00:00:01"])
