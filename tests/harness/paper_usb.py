"""USB serial adapters on paper, shown to this machine's udev: what it makes of rules, without any device.

    adapter = Adapter("0403", "6001", "ftdi_sio")
    said = evaluated(adapter, folder, {"60-birthmark-agent.rules": text})
    said.properties["ID_MM_DEVICE_IGNORE"], said.power, said.latency, said.node

`udevadm test` runs in mounts of its own, whose /sys is a folder with what the kernel shows of one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_NEEDED = ("unshare", "udevadm")
_ASK = """
mount --bind {rules} /usr/lib/udev/rules.d
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev
mount --bind {sys} /sys
SYSTEMD_DEVICE_VERIFY_SYSFS=0 SYSTEMD_LOG_LEVEL=debug exec udevadm test --action={action} {path} 2>&1
"""
_DEVICE = "devices/usb1/1-1"
_UNTOUCHED = "-"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What the kernel shows of one: identifiers as USB has them, and the driver of its serial port."""

    vendor: str
    product: str
    driver: str

    @property
    def node(self) -> str:
        """The name of its terminal."""
        return "ttyACM0" if self.driver == "cdc_acm" else "ttyUSB0"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What udev did. An empty text: nothing."""

    properties: Mapping[str, str]
    power: str
    latency: str
    node: str


def no_udev() -> str:
    """Why it cannot be asked here; an empty text if it can."""
    if os.getuid() != 0:
        return "mounts of one's own take root"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)}"
    return ""


def evaluated(adapter: Adapter, folder: Path, rules: Mapping[str, str], *, action: str = "add") -> Evaluated:
    """The adapter is plugged in (`add`), or changes: its device, its port and its terminal."""
    place = folder / "rules"
    place.mkdir()
    for name, text in rules.items():
        (place / name).write_text(text, "utf-8")
    sys = _sysfs(adapter, folder / "sys")
    device = _asked(sys, place, f"/sys/{_DEVICE}", action)
    port = _port(adapter)
    _asked(sys, place, f"/sys/{port}", action)
    terminal = _asked(sys, place, f"/sys/{_terminal(adapter)}", action)
    # The kernel takes a value whole; a file keeps what is behind it.
    latency = sys / port / "latency_timer"
    return Evaluated(
        dict(line.partition("=")[::2] for line in re.findall(r"^[A-Z_]+=.*$", device, re.MULTILINE)),
        (sys / _DEVICE / "power/control").read_text("ascii").strip(_UNTOUCHED),
        latency.read_text("ascii").strip(_UNTOUCHED) if latency.exists() else "",
        " ".join(re.findall(r" ((?:GROUP|MODE) \d+)", terminal)),
    )


def _port(adapter: Adapter) -> str:
    interface = f"{_DEVICE}/1-1:1.0"
    return interface if adapter.driver == "cdc_acm" else f"{interface}/{adapter.node}"


def _terminal(adapter: Adapter) -> str:
    return f"{_port(adapter)}/tty/{adapter.node}"


def _sysfs(adapter: Adapter, sys: Path) -> Path:
    folder = sys / _DEVICE
    (folder / "power").mkdir(parents=True)
    (folder / "power/control").write_text(_UNTOUCHED * 4, "ascii")
    (folder / "idVendor").write_text(f"{adapter.vendor}\n", "ascii")
    (folder / "idProduct").write_text(f"{adapter.product}\n", "ascii")
    _described(sys, _DEVICE, "bus/usb", "usb", "DEVTYPE=usb_device\n")
    interface = f"{_DEVICE}/1-1:1.0"
    _described(sys, interface, "bus/usb", adapter.driver, "DEVTYPE=usb_interface\n")
    if adapter.driver != "cdc_acm":
        _described(sys, _port(adapter), "bus/usb-serial", adapter.driver, "")
        if adapter.driver == "ftdi_sio":
            (sys / _port(adapter) / "latency_timer").write_text(_UNTOUCHED * 2, "ascii")
    node = f"MAJOR=188\nMINOR=0\nDEVNAME={adapter.node}\n"
    _described(sys, _terminal(adapter), "class/tty", "", node)
    return sys


def _described(sys: Path, path: str, subsystem: str, driver: str, uevent: str) -> None:
    folder = sys / path
    folder.mkdir(parents=True, exist_ok=True)
    (sys / subsystem).mkdir(parents=True, exist_ok=True)
    folder.joinpath("subsystem").symlink_to(os.path.relpath(sys / subsystem, folder))
    if driver:
        at = sys / subsystem / "drivers" / driver
        at.mkdir(parents=True, exist_ok=True)
        folder.joinpath("driver").symlink_to(os.path.relpath(at, folder))
        uevent += f"DRIVER={driver}\n"
    folder.joinpath("uevent").write_text(uevent, "ascii")


def _asked(sys: Path, rules: Path, path: str, action: str) -> str:
    quoted = {
        name: shlex.quote(str(value)) for name, value in {"rules": rules, "sys": sys, "path": path}.items()
    }
    line = _ASK.format(action=action, **quoted)
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", line]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout
