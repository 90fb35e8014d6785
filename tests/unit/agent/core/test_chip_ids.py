"""Ids that more than one chip would have are refused."""

from __future__ import annotations

import pytest

from agent.core.chip_ids import ChipIdError, check_chip_id


@pytest.mark.parametrize(
    "chip_id", ["7c:df:a1:00:01:00", "7C-DF-A1-00-01-00", "CHIP-0001", "0a1b", "f0", "7cdfa1fffe000100"]
)
def test_ids_of_chips(chip_id: str) -> None:
    check_chip_id(chip_id)


@pytest.mark.parametrize(
    ("chip_id", "why"),
    [
        ("00:00:00:00:00:00", "zeros"),
        ("0000000000000000", "zeros"),
        ("-", "zeros"),
        ("ff:ff:ff:ff:ff:ff", "Fs"),
        ("FFFFFFFF", "Fs"),
        ("01:00:5e:00:00:01", "multicast"),
        ("7d:df:a1:00:01:00", "multicast"),
        ("7d:df:a1:ff:fe:00:01:00", "multicast"),
        ("22:22:22:22:22:22", "one octet"),
        ("a4-a4-a4-a4-a4-a4-a4-a4", "one octet"),
        ("00:00:00:00:01:00", "no maker"),
    ],
)
def test_ids_of_no_chip(chip_id: str, why: str) -> None:
    with pytest.raises(ChipIdError, match=why):
        check_chip_id(chip_id)


def test_a_family_whose_ids_are_macs_has_no_others() -> None:
    check_chip_id("7c:df:a1:00:01:00", mac=True)
    for other in ("CHIP-0001", "7C:DF:A1:00:01:00", "7c-df-a1-00-01-00", "7c:df:a1:ff:fe:00:01:00"):
        with pytest.raises(ChipIdError, match="no MAC address in lower case"):
            check_chip_id(other, mac=True)
