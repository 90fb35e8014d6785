"""The station's ports: they are there, are serial ports, and can be opened with the driver."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.checks.finding import Examined
from agent.adapters.drivers.open_line import PORT_MISSING
from agent.adapters.drivers.registry import find_driver
from agent.adapters.line.port_lock import port_lock
from agent.adapters.line.serial_port import is_cut, list_ports
from agent.adapters.shown.live_state import read_live
from agent.config import Config
from agent.errors import ConfigError, JournalError, LineError
from agent.ports import PortInfo

_NONE = "Plug one in, or name it under `ports` or with --port. Linux: the group dialout may open it."
_LISTS = "Run birthmark-agent ports: it lists those that are there."
_SERIAL = "Name serial ports alone, under `ports` or with --port: birthmark-agent ports lists them."
_ACCESS = "Give this user access to serial ports (Linux: the group dialout), and log in again."
# Linux, Documentation/admin-guide/devices.txt
_PTY_MAJORS = range(136, 144)  # they stand in no /sys
_SCREENS = (4, range(64))  # the first serial port of this major is 64
_OF_THE_PROCESS = (5, range(3))  # /dev/tty, /dev/console and /dev/ptmx


async def ports(station: Examined) -> str:
    """Opens each port with the driver and closes it again. That no board is on it is not a fault.

    Ports of a station that runs are its own, and left alone.
    """
    config = station.config
    found = await asyncio.to_thread(check_names, station.ports or config.ports)
    live = read_live(config.state, datetime.now(UTC))
    if live is not None and live.alive:
        return f"this station runs already (pid {live.pid}): its ports are not opened"
    busy = [port.device for port in found if not await _opens(config, port)]
    listed = ", ".join(port.device for port in found)
    return f"{listed}; another birthmark-agent works on {', '.join(busy)}" if busy else listed


def check_names(patterns: Sequence[str]) -> tuple[PortInfo, ...]:
    """The ports that are meant.

    Raises:
        ConfigError: there is none and none is named; or a name is that of something else than a serial port.
        LineError: `port_gone`: a name or pattern that nothing answers to now.
    """
    _check_not_cut(patterns)
    found = list_ports(patterns, discover=not patterns)
    for port in found:
        _check_serial(port.device)
    missing = [pattern for pattern in patterns if not _matches(pattern)]
    if missing:
        raise LineError("port_gone", f"no serial port is called {', '.join(missing)}", remedy=PORT_MISSING)
    if not found:
        raise ConfigError("no serial port", remedy=_NONE)
    return found


def _check_not_cut(patterns: Sequence[str]) -> None:
    """Raises ConfigError for names that would be waited for in vain."""
    cut = [name for name in patterns if is_cut(name)]
    if cut:
        named = ", ".join(f"/dev/{name}" for name in cut if not name.upper().startswith("COM"))
        remedy = f"Write {named}. {_LISTS}" if named else _LISTS
        raise ConfigError(f"no serial port is called {', '.join(cut)}", remedy=remedy)


def _matches(pattern: str) -> bool:
    found = list_ports((pattern,), discover=False)
    if sys.platform == "win32" and found and "\\" not in pattern:  # a plain name is taken as it is
        from serial.tools import list_ports as known  # noqa: PLC0415 -- Windows alone

        return any(port.device.upper() == pattern.upper() for port in known.comports())
    return bool(found)


def _check_serial(device: str) -> None:
    """Raises ConfigError for what no driver could use: found without opening it, which resets some boards."""
    if sys.platform == "win32":
        return
    try:
        about = Path(device).stat()
    except FileNotFoundError:
        return  # gone meanwhile, or a plain name of another system's
    except OSError as error:
        raise ConfigError(f"{device} cannot be looked at: {error.strerror}", remedy=_ACCESS) from error
    if not stat.S_ISCHR(about.st_mode) or not _is_terminal(about.st_rdev):
        detail = f"{device} is not a serial port"
        raise ConfigError(detail, remedy=_SERIAL)
    if not os.access(device, os.R_OK | os.W_OK):
        raise ConfigError(f"this user may not open {device}", remedy=_ACCESS)


if sys.platform == "win32":

    def _is_terminal(_device: int) -> bool:
        return True

else:

    def _is_terminal(device: int) -> bool:
        major, minor = os.major(device), os.minor(device)
        if sys.platform != "linux" or major in _PTY_MAJORS:
            return True
        if any(major == one and minor in minors for one, minors in (_SCREENS, _OF_THE_PROCESS)):
            return False
        subsystem = Path(f"/sys/dev/char/{major}:{minor}/subsystem")
        return not subsystem.exists() or subsystem.resolve().name == "tty"


async def _opens(config: Config, port: PortInfo) -> bool:
    """False if another program of this station works on it. Raises AgentError if it cannot be opened."""
    kind = find_driver(config.driver)
    with _held(config.state, port.device) as held:
        if held:
            async with kind.open(port.device, config.drivers.get(config.driver, {}), None):
                return True
    return False


@contextmanager
def _held(state: Path, device: str) -> Iterator[bool]:
    with ExitStack() as stack:
        try:
            stack.enter_context(port_lock(state, device))
        except JournalError:
            yield True  # what is wrong with the folder, the journal's line says
        except LineError:
            yield False
        else:
            yield True
