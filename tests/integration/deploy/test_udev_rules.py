"""What udev makes of the agent's rules, for adapters as they stand on factory floors."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.paper_usb import Adapter, evaluated, no_udev
from harness.process import REPOSITORY

NAME = "60-birthmark-agent.rules"
RULES = {NAME: (REPOSITORY / "deploy/packages/debian/birthmark-agent.udev").read_text("utf-8")}
FTDI = Adapter("0403", "6001", "ftdi_sio")
BOARDS = {
    "FTDI FT232R": FTDI,
    "FTDI FT4232H": Adapter("0403", "6011", "ftdi_sio"),
    "CP2102N": Adapter("10c4", "ea60", "cp210x"),
    "CP2105": Adapter("10c4", "ea70", "cp210x"),
    "CH340": Adapter("1a86", "7523", "ch341"),
    "CH9102": Adapter("1a86", "55d4", "cdc_acm"),
    "PL2303": Adapter("067b", "2303", "pl2303"),
    "ESP32-S3's own USB": Adapter("303a", "1001", "cdc_acm"),
    "nRF's own USB": Adapter("1915", "520f", "cdc_acm"),
    "J-Link of a kit": Adapter("1366", "1051", "cdc_acm"),
    "ST-LINK": Adapter("0483", "374b", "cdc_acm"),
    "Debug Probe": Adapter("2e8a", "000c", "cdc_acm"),
}
OTHERS = {
    "an LTE modem": Adapter("12d1", "1506", "option"),
    "a modem of Quectel": Adapter("2c7c", "0125", "option"),
    "a product of Silicon Labs' customer": Adapter("10c4", "8a5e", "cp210x"),
    "a product of ST's customer": Adapter("0483", "5740", "cdc_acm"),
}
# What somebody on the station writes who has another adapter, or a modem behind one of ours.
SITE = 'SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="%s", ENV{BIRTHMARK_BOARD}="%s"\n'


@pytest.fixture(autouse=True)
def udev() -> None:
    if missing := no_udev():
        pytest.skip(missing)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_left_alone_and_stays_awake(tmp_path: Path, name: str) -> None:
    said = evaluated(BOARDS[name], tmp_path, RULES)
    assert said.properties["ID_MM_DEVICE_IGNORE"] == "1"
    assert said.power == "on"
    assert said.latency == ("1" if BOARDS[name].driver == "ftdi_sio" else "")
    assert said.node == "GROUP 20 MODE 0660"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_board_stays_as_it_is(tmp_path: Path, name: str) -> None:
    said = evaluated(OTHERS[name], tmp_path, RULES)
    assert "ID_MM_DEVICE_IGNORE" not in said.properties
    assert said.power == ""


def test_without_the_rules_nothing_happens(tmp_path: Path) -> None:
    said = evaluated(FTDI, tmp_path, {})
    assert (said.power, said.latency, said.node) == ("", "", "")


def test_an_adapter_of_the_sites_own(tmp_path: Path) -> None:
    said = evaluated(
        Adapter("1234", "0001", "cdc_acm"), tmp_path, {**RULES, "59-boards.rules": SITE % ("1234", "1")}
    )
    assert (said.properties["ID_MM_DEVICE_IGNORE"], said.power) == ("1", "on")


def test_a_modem_behind_an_adapter_of_ours(tmp_path: Path) -> None:
    said = evaluated(FTDI, tmp_path, {**RULES, "59-boards.rules": SITE % ("0403", "0")})
    assert "ID_MM_DEVICE_IGNORE" not in said.properties
    assert said.power == ""


@pytest.mark.parametrize("action", ["bind", "change"])
def test_what_is_plugged_in_already(tmp_path: Path, action: str) -> None:
    """The driver may come after the device, and the package asks again for those that are there."""
    said = evaluated(FTDI, tmp_path, RULES, action=action)
    assert (said.power, said.latency) == ("on", "1")


def test_a_board_that_is_pulled_out(tmp_path: Path) -> None:
    said = evaluated(FTDI, tmp_path, RULES, action="remove")
    assert (said.power, said.latency, said.node) == ("", "", "")
