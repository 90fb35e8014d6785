"""agent.toml: what is taken, and what is named when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load
from agent.errors import ConfigError

GOOD = """\
deployment = "example"
state = "state"
ports = ["/dev/ttyUSB*"]

[signerd]
address = "signer.example.com:8443"
certificate = "station.pem"
key = "/keys/station.key"
operations_ca = "ca.pem"
log_vkey = "log.vkey"
device_root = "root.pem"

[drivers.smp]
baudrate = 921600

[timeouts]
call_s = 5
"""


@pytest.fixture(name="file")
def make_file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def test_paths_are_relative_to_the_file(file: Path) -> None:
    file.write_text(GOOD, encoding="utf-8")
    config = load(file)
    assert config.state == file.parent / "state"
    assert config.signerd.key == Path("/keys/station.key")
    assert config.drivers == {"smp": {"baudrate": 921_600}}
    assert (config.driver, config.recipe, config.timeouts.signer_wait_s) == ("smp", None, 120.0)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("ports", "colour = 1\nports", "colour"),
        ("call_s", "cal_s", "timeouts.cal_s"),
        ("address =", "adress =", "signerd.adress"),
        ('deployment = "example"', "", "deployment"),
        ("ports", 'shifts = ["06:00", "24:00"]\nports', "shifts.1: .*HH:MM"),
        ("[timeouts]", '[page]\nlisten = "8480"\n[timeouts]', "page.listen"),
        ("[timeouts]", "[results]\ncommand = []\nretries = 1\n[timeouts]", "results.retries"),
        ('"example"', '"exa mple"', "deployment"),
        (":8443", "", "signerd.address"),
        ('"station.pem"', '""', "signerd.certificate: must not be empty"),
        ('"station.pem"', '"a\\u0000b"', "signerd.certificate: is no path"),
        ('state = "state"', f'state = "{"x" * 256}"', "state: is no path"),
        ("/dev/ttyUSB*", "", "ports.0: must not be empty"),
        ("/dev/ttyUSB*", " /dev/ttyUSB0", "ports.0: must have no blanks at its ends"),
        ("/dev/ttyUSB*", "/dev/\\u0000", "ports.0: is no path"),
        ("[timeouts]", '[places]\n"" = "A"\n[timeouts]', "places.*: must not be empty"),
        ("[timeouts]", '[drivers."no such"]\n[timeouts]', "drivers.no such.*: must be 1 to 64"),
        (":8443", ":70000", "signerd.address"),
        ("call_s = 5", "call_s = 0", "timeouts.call_s"),
        ("call_s = 5", "call_s = [", "TOML"),
    ],
)
def test_what_is_wrong_is_named(file: Path, old: str, new: str, names: str) -> None:
    file.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=names):
        load(file)


def test_all_wrong_keys_are_named_at_once(file: Path) -> None:
    file.write_text(GOOD.replace("ports", "prots").replace("call_s", "cal_s"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prots.*cal_s|cal_s.*prots"):
        load(file)


def test_missing_file_names_the_command(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert "enroll" in caught.value.remedy


PLACE = '[places]\n"usb-1-1.1:1.0" = "{}"\n'


@pytest.mark.parametrize("place", ["1.1", "left, above", "Fixture 3", "下 2", "x" * 64])
def test_places_are_texts_for_people(file: Path, place: str) -> None:
    file.write_text(GOOD + PLACE.format(place), encoding="utf-8")
    assert load(file).places == {"usb-1-1.1:1.0": place}


@pytest.mark.parametrize(
    "place",
    [
        "",
        " ",
        "left ",
        "x" * 65,
        "a\\nb",
        "a\\u001bb",
        "a\\u202eb",
        "usb-1-1.2",
        "COM7",
        "com7",
        "/dev/ttyUSB1",
    ],
    ids=["empty", "blank", "end", "long", "line", "escape", "bidi", "usb", "com", "lower", "path"],
)
def test_places_that_cannot_be_shown_or_are_ports_own_names(file: Path, place: str) -> None:
    file.write_text(GOOD + PLACE.format(place), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"places\.usb-1-1\.1:1\.0: "):
        load(file)
