"""Finds drivers by name: entry points of group `birthmark.drivers`, ours and other people's alike."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from agent.errors import ConfigError
from agent.ports import OpenDriver

GROUP = "birthmark.drivers"


def find_driver(name: str) -> OpenDriver:
    """Loads the driver of that name.

    Raises:
        ConfigError: there is none, there are two, or it cannot be loaded.
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
        return cast("OpenDriver", point.load())
    except (ImportError, AttributeError) as error:
        detail = f"driver {name!r} ({point.value}) cannot be loaded: {error}"
        raise ConfigError(detail, remedy="Install it anew: pip install birthmark[agent]") from error
