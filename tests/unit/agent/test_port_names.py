"""What ports are called, as the system describes them: by their place, each otherwise than all others."""

from __future__ import annotations

import pytest
from serial.tools import list_ports as pyserial_ports
from serial.tools.list_ports_common import ListPortInfo

from agent.adapters.line.serial_port import list_ports


def known(device: str, location: str | None, *, vid: int | None = 0x0403) -> ListPortInfo:
    info = ListPortInfo(device, skip_link_detection=True)
    info.vid, info.location, info.description = vid, location, "adapter"
    return info


LISTS = {
    "two devices of one hub": (
        [known("/dev/ttyUSB0", "1-1.1"), known("/dev/ttyUSB1", "1-1.2")],
        {"/dev/ttyUSB0": "usb-1-1.1", "/dev/ttyUSB1": "usb-1-1.2"},
    ),
    "the same two, numbered otherwise": (
        [known("/dev/ttyUSB5", "1-1.1"), known("/dev/ttyUSB4", "1-1.2")],
        {"/dev/ttyUSB5": "usb-1-1.1", "/dev/ttyUSB4": "usb-1-1.2"},
    ),
    "two interfaces of one adapter": (
        [known("/dev/ttyUSB0", "1-1.4:1.0"), known("/dev/ttyUSB1", "1-1.4:1.1")],
        {"/dev/ttyUSB0": "usb-1-1.4:1.0", "/dev/ttyUSB1": "usb-1-1.4:1.1"},
    ),
    "four ports behind one interface": (
        [known(f"/dev/ttyUSB{number}", "1-2") for number in (10, 8, 9, 11)],
        {
            "/dev/ttyUSB8": "usb-1-2",
            "/dev/ttyUSB9": "usb-1-2#2",
            "/dev/ttyUSB10": "usb-1-2#3",
            "/dev/ttyUSB11": "usb-1-2#4",
        },
    ),
    "a driver that hides the place": (
        [known("COM7", None), known("COM12", "1-3:x.0")],
        {"COM7": "COM7", "COM12": "usb-1-3:x.0"},
    ),
    "no USB": ([known("/dev/ttyS0", None, vid=None)], {}),
}


@pytest.mark.parametrize("case", LISTS)
def test_names(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    infos, names = LISTS[case]
    monkeypatch.setattr(pyserial_ports, "comports", lambda: infos)
    assert {port.device: port.name for port in list_ports()} == names
