"""Names in agent.toml that stand for nothing: of drivers, of their options, and of ports.

`doctor` and a start call these functions (test_wrong_stations.py)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters.checks.ports import check_names
from agent.adapters.drivers.registry import check_tables, find_driver
from agent.adapters.enrolment.credentials import parse_cas, read_file, read_trust
from agent.adapters.journal.schema import is_there
from agent.adapters.line.serial_port import list_ports
from agent.errors import ConfigError, LineError
from harness.paper_company import PaperCompany

LISTS = "birthmark-agent ports"


def test_a_driver_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"^configuration: no driver is called 'nrf'; known: ") as refused:
        find_driver("nrf")
    assert "Set `driver`" in refused.value.remedy


@pytest.mark.parametrize("used", ["smp", "esp32"])
@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ("smpp", {"baudrate": 9600}, r"[drivers.smpp]: no driver is called 'smpp'; known: "),
        ("esp32", {"keygen_timeout": 9.0}, "drivers.esp32.keygen_timeout: no such key"),
        ("esp32", {"before": "usb"}, "drivers.esp32.before: must be 'default-reset' or 'usb-reset'"),
        ("smp", {"flash_baudrate": 9600}, "drivers.smp.flash_baudrate: no such key"),
        ("smp", {"baudrate": "fast"}, "drivers.smp.baudrate: must be a whole number"),
    ],
)
def test_a_table_of_no_driver_and_options_of_none(
    used: str, table: str, options: dict[str, object], said: str
) -> None:
    check_tables({"smp": {"baudrate": 9600}, "esp32": {"flash_baudrate": 460_800}}, used)
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        check_tables({table: options}, used)
    assert refused.value.remedy.startswith("Mend ")


@pytest.mark.skipif(sys.platform == "win32", reason="names of devices on Linux")
@pytest.mark.parametrize(
    ("name", "said", "remedy"),
    [
        ("ttyUSB0", "no serial port is called ttyUSB0", "Write /dev/ttyUSB0. "),
        ("ttyACM*", r"no serial port is called ttyACM\*", "Write /dev/ttyACM*. "),
        ("COM7", "no serial port is called COM7", "Run birthmark-agent ports"),
        ("/dev/ptmx", "/dev/ptmx is not a serial port", LISTS),
        ("/dev/tty", "/dev/tty is not a serial port", LISTS),
        ("/dev/null", "/dev/null is not a serial port", LISTS),
    ],
)
def test_names_that_are_no_serial_ports(name: str, said: str, remedy: str) -> None:
    if "*" not in name and name.startswith("/") and not Path(name).exists():
        pytest.skip(f"there is no {name} here")
    with pytest.raises(ConfigError, match=said) as refused:
        check_names((name,))
    assert remedy in refused.value.remedy
    assert name.startswith("/") or list_ports((name,), discover=False) == ()  # nor does `ports` list it


@pytest.mark.skipif(sys.platform == "win32", reason="names of devices on Linux")
def test_a_pseudo_terminal_is_a_serial_port() -> None:
    ours, theirs = os.openpty()
    try:
        assert [port.device for port in check_names((os.ttyname(theirs),))] == [os.ttyname(theirs)]
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_name_that_no_system_has_is_that_of_no_port() -> None:
    with pytest.raises(LineError, match="no serial port is called /dev/xxx") as gone:
        check_names((f"/dev/{'x' * 300}",))
    assert LISTS in gone.value.remedy


def test_what_stands_in_the_way_of_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "state" / "journal.sqlite"
    assert not is_there(journal)
    journal.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"journal.sqlite is a folder, and must be the journal's file"):
        is_there(journal)
    journal.rmdir()
    journal.write_bytes(b"")
    assert is_there(journal)
    with pytest.raises(ConfigError, match=r"journal.sqlite is a file, and must be a folder"):
        is_there(journal / "state" / "journal.sqlite")


def test_text_of_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes("-----BEGIN".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"ca.pem: it is UTF-16") as refused:
        read_file(file)
    assert refused.value.remedy == "Save the file as UTF-8."
    file.write_bytes(b"# B\xfcro\n")
    root = tmp_path / "root.pem"
    root.write_bytes(PaperCompany().tree.root.public_bytes(Encoding.PEM))
    with pytest.raises(ConfigError, match=r"ca.pem: line 1 has a byte that is not UTF-8 \(0xfc\)"):
        read_trust(file, root)


def test_a_file_whose_lines_grpc_does_not_take_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"ca.pem: line 1: a -----BEGIN or -----END must stand alone"
    ) as refused:
        parse_cas(b" -----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "ca.pem")
    assert "a line break between them" in refused.value.remedy
