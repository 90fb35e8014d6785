"""Finds drivers by name: entry points of group `birthmark.drivers`, ours and other people's alike."""

from __future__ import annotations

from importlib.metadata import entry_points

from agent.errors import ConfigError
from agent.ports import DriverKind

GROUP = "birthmark.drivers"


def find_driver(name: str) -> DriverKind:
    """Loads the driver of that name.

    Raises:
        ConfigError: there is none, there are two, or it cannot be loaded, or is no `DriverKind`.
    """
    found = entry_points(group=GROUP, name=name)
    if len(found) != 1:
        known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)})) or "none"
        detail = f"{len(found)} drivers are called {name!r}; known: {known}"
        raise ConfigError(
            detail, remedy="Set `driver` to a known one, or install the package that brings it."
        )
    point = next(iter(found))
    try:
        kind = point.load()
    except (ImportError, AttributeError) as error:
        detail = f"driver {name!r} ({point.value}) cannot be loaded: {error}"
        raise ConfigError(
            detail, remedy="Install the station from a wheelhouse of `agent-esp32` (docs/stations.md)."
        ) from error
    if not isinstance(kind, DriverKind):
        detail = f"driver {name!r} ({point.value}) is no agent.ports.DriverKind"
        raise ConfigError(detail, remedy="It was made for another version of the agent: install a newer one.")
    return kind
