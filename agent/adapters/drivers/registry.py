"""Finds drivers by name: entry points of group `birthmark.drivers`, ours and other people's alike."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from agent.errors import ConfigError
from agent.ports import DriverKind

GROUP = "birthmark.drivers"
_SET = "Set `driver` to a known one, or install the package that brings it."
_TABLE = "Mend the name of the table [drivers.…] in agent.toml, or take it out."


def find_driver(name: str) -> DriverKind:
    """Loads the driver of that name.

    Raises:
        ConfigError: there is none, there are two, or it cannot be loaded, or is no `DriverKind`.
    """
    return _load(_entry_of(name, "", _SET))


def check_tables(drivers: Mapping[str, Mapping[str, object]], used: str) -> None:
    """The tables `[drivers.*]`: each is a driver's, and has options of it. A file may serve several stations.

    A driver that this station does not use, and of which a part is not installed here, is not asked.

    Raises:
        ConfigError: no driver is called so, or an option is unknown or wrong; the table is named.
    """
    for name, options in drivers.items():
        point = _entry_of(name, f"[drivers.{name}]: ", _TABLE)
        try:
            kind = _load(point)
        except _NotInstalledError:
            if name == used:
                raise
            continue
        if kind.check_options is not None:
            kind.check_options(options)


def _entry_of(name: str, where: str, remedy: str) -> EntryPoint:
    found = entry_points(group=GROUP, name=name)
    if len(found) != 1:
        known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)})) or "none"
        how_many = f"{len(found)} drivers are" if found else "no driver is"
        raise ConfigError(f"{where}{how_many} called {name!r}; known: {known}", remedy=remedy)
    return next(iter(found))


class _NotInstalledError(ConfigError):
    """What the driver needs is not on this PC."""


def _load(point: EntryPoint) -> DriverKind:
    name = point.name
    try:
        kind = point.load()
    except (ImportError, AttributeError) as error:
        detail = f"driver {name!r} ({point.value}) cannot be loaded: {error}"
        raise _NotInstalledError(
            detail, remedy="Install the station from a wheelhouse of `agent-esp32` (docs/stations.md)."
        ) from error
    if not isinstance(kind, DriverKind):
        detail = f"driver {name!r} ({point.value}) is no agent.ports.DriverKind"
        raise ConfigError(detail, remedy="It was made for another version of the agent: install a newer one.")
    return kind
