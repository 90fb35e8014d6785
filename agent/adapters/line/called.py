"""Which port a name means: its device, its name, its place on the line, or the short name of the screens.

    port_of_station("ttyUSB0", config)              # "/dev/ttyUSB0": a device, for `--port`
    port_to_trace("1.4:1.0", config, ("/dev/…",))   # its name, or ConfigError before the first board

A short name counts where it is one port's alone. The table's depend on its width, so that of any width does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

from agent.adapters.line.serial_port import list_ports
from agent.config import Config
from agent.core.port_names import by_place, short_names
from agent.errors import ConfigError, LineError
from agent.ports import PortInfo

_WIDTHS = (None, *range(6, 49))  # columns of a port's name, on any screen


def port_of_station(wanted: str, config: Config) -> str:
    """The device of the station's port that is called so; the same name where none is, or more than one."""
    if has_magic(wanted) or "/" in wanted or "\\" in wanted:
        return wanted
    found = _called(wanted, _ports(config.ports), config.places)
    return found[0].device if len(found) == 1 else wanted


def port_to_trace(wanted: str, config: Config, ports: Sequence[str]) -> str:
    """The name of the port that is called so among those that run. `ports`: those of the command, if any.

    One that is named whole may come later.

    Raises:
        ConfigError: none is called so, or more than one.
    """
    patterns = tuple(ports) or config.ports
    present = _ports(patterns)
    found = _called(wanted, present, config.places)
    if len(found) == 1:
        return found[0].name
    if not found and (
        wanted in {*config.places, *config.places.values()}
        or any(wanted == pattern or fnmatchcase(wanted, pattern) for pattern in patterns)
    ):
        return wanted
    meant = sorted((config.places.get(port.name, port.name) for port in found or present), key=by_place)
    names = ", ".join(meant if found else short_names(meant).values())
    if found:
        raise ConfigError(
            f"--trace: {wanted} is the short name of several ports", remedy=f"Name one of {names}."
        )
    raise ConfigError(
        f"--trace: no port that runs is called {wanted}",
        remedy=f"Name one of {names}." if names else "Plug it in: birthmark-agent ports shows the names.",
    )


def _ports(patterns: Sequence[str]) -> Sequence[PortInfo]:
    try:
        return list_ports(patterns, discover=not patterns)
    except LineError:  # one vanished meanwhile
        return list_ports(patterns, discover=not patterns)


def _called(wanted: str, ports: Sequence[PortInfo], places: Mapping[str, str]) -> list[PortInfo]:
    places = {port.name: places.get(port.name, port.name) for port in ports}
    whole = [port for port in ports if wanted in {port.device, port.name, places[port.name]}]
    return whole or [port for port in ports if wanted in _shorts(port, ports, places)]


def _shorts(port: PortInfo, ports: Sequence[PortInfo], places: Mapping[str, str]) -> set[str]:
    """What screens call this port beside the others, and its device's last part."""
    names = [places[other.name] for other in ports]
    return {short_names(names, width)[places[port.name]] for width in _WIDTHS} | {Path(port.device).name}
