"""Which serial ports are there now, under names that stay the same when a cable is plugged in again.

The name of a USB port is its place in the tree of hubs, `usb-1-1.4:1.0`: it stands for a place on the
needle bed whatever adapter is plugged in there, on Linux and on Windows. Ports of an adapter that has
several behind one interface are told apart by a number, `usb-1-1.4#2`, in the order of their devices. Where
a driver hides the place (FTDI's on Windows), the name is the device's, `COM7`, which stays with the adapter.
A port named in the configuration, by path or by pattern, keeps the path that matched, so
`/dev/serial/by-path/…` and other links stay themselves.
"""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path

from serial.tools import list_ports as pyserial_ports
from serial.tools.list_ports_common import ListPortInfo

from agent.core.port_names import by_place
from agent.errors import LineError
from agent.ports import PortInfo

_CUT = re.compile(r"(tty|cu\.|rfcomm|COM)[^/:]*")


def list_ports(patterns: Sequence[str] = (), *, discover: bool = True) -> tuple[PortInfo, ...]:
    """Lists ports by name. Blocks for some milliseconds: call it in a thread.

    Args:
        patterns: paths or glob patterns of ports to list besides, for example `/dev/pts/[0-9]*` or
            `COM7`. What a pattern with wildcards does not match now is not there; a plain name that is no
            path (`COM7` on Windows) is taken as it is.
        discover: list the USB serial ports that the system knows.

    Raises:
        LineError: a port vanished while they were listed.
    """
    found: dict[str, PortInfo] = {}
    if discover:
        for info in sorted(_known_to_system(), key=lambda info: by_place(info.device)):
            if info.vid is not None:  # not the motherboard's own ports: no board hangs on them unnamed
                name = _name(info, {port.name for port in found.values()})
                found[_target(info.device)] = PortInfo(info.device, name, info.description or "")
    for pattern in patterns:
        for device in _matches(pattern):
            found[_target(device)] = PortInfo(device, device, "named in the configuration")
    return tuple(sorted(found.values(), key=lambda port: by_place(port.name)))


def _known_to_system() -> list[ListPortInfo]:
    try:
        return list(pyserial_ports.comports())
    except (OSError, TypeError, ValueError) as error:  # pyserial reads of what may be gone by then
        detail = "a port vanished while ports were listed"
        raise LineError("port_gone", detail, remedy="Try again.") from error


def _name(info: ListPortInfo, taken: Collection[str]) -> str:
    """Its place; ports that have one in common each have a number of their own, the first excepted."""
    name = f"usb-{info.location}" if info.location else info.device
    numbered = (f"{name}#{number}" for number in count(2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def is_cut(name: str) -> bool:
    """True for a serial port's name without its /dev/, and for one of Windows on another system: no port has
    it here."""
    return sys.platform != "win32" and _CUT.fullmatch(name) is not None


def _matches(pattern: str) -> list[str]:
    if is_cut(pattern):
        return []
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern), key=by_place)  # noqa: PTH207 (the pattern may be absolute, which Path.glob refuses)
    return [pattern] if "/" not in pattern or _is_there(pattern) else []


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that no system would have, as one of 300 letters
        return False


def _target(device: str) -> str:
    """What the device name stands for: one port is listed once, however it is named."""
    return str(Path(device).resolve()) if "/" in device else device
