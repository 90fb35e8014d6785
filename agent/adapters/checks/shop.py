"""What stands beside the boards: bundle, labels, places, page, results and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from agent.adapters.checks.finding import Examined
from agent.adapters.line.serial_port import list_ports
from agent.adapters.log.agent_log import check_log
from agent.adapters.parts import firmware_of, labels_of, places_of
from agent.adapters.results.place import check_results
from agent.adapters.shown.live_state import read_live
from agent.config import Config
from agent.errors import ConfigError, NotedError


async def bundle(station: Examined) -> str:
    """As at a station's start: signature, contents, and the driver's own look at the images."""
    firmware = await firmware_of(station.config)
    if firmware is None:
        detail = f"driver {station.config.driver} takes no bundle"
        raise ConfigError(detail, remedy="Take [bundle] out of agent.toml.")
    manifest = firmware.bundle.manifest
    return f"{manifest.product} {manifest.version} for {manifest.chip}, {firmware.bundle.digest.hex()}"


async def labels(station: Examined) -> str:
    """The template fits its sample, and folder and printer can be reached."""
    opened, place = labels_of(station.config), station.config.label
    if opened is None or place is None:
        return "none are made"
    await opened.check(await asyncio.to_thread(_names_on_labels, station.config))
    where = [str(one) for one in (place.folder, place.printer) if one is not None]
    return f"template fits its sample; {' and '.join(where)} can be reached"


async def places(station: Examined) -> str:
    """No adapter is a fault, nor is a place too many; both at once are a name that is not the port's, which
    holds no board up. Raises NotedError."""
    return await asyncio.to_thread(check_places, station.config, station.ports or station.config.ports)


async def log(station: Examined) -> str:
    """It can be written."""
    return await asyncio.to_thread(check_log, station.config)


async def page(station: Examined) -> str:
    """Its address can be listened on. That of a station that runs is taken, by that station."""
    wanted = station.config.page
    if wanted is None:
        return "none is served"
    live = read_live(station.config.state, datetime.now(UTC))
    if live is not None and live.alive:
        return f"{wanted.listen}, while this station runs (pid {live.pid})"
    from agent.adapters.shown.page.server import listen_on  # noqa: PLC0415 -- 5 MB that few stations need

    (await asyncio.to_thread(listen_on, wanted.listen)).close()
    return wanted.listen


async def results(station: Examined) -> str:
    """The folder takes files, and the command is a program; it is not run, for the MES would be told."""
    return await asyncio.to_thread(check_results, station.config.results)


def _names_on_labels(config: Config) -> list[str]:
    """What the ports that are there are called, and those that have a place."""
    found = list_ports(config.ports, discover=not config.ports)
    called = {config.places.get(port.name, port.name) for port in found}
    return sorted(called | set(config.places.values()))


def check_places(config: Config, patterns: Sequence[str]) -> str:
    """Says how many ports have one.

    Raises:
        ConfigError: a place is given twice, or is another port's name.
        NotedError: a port has none, and one that there is not has one.
    """
    called = places_of(config)
    names = [port.name for port in list_ports(patterns, discover=not patterns)]
    unknown = [name for name in called if name not in names]
    nameless = [name for name in names if name not in called]
    if unknown and nameless:
        detail = f"port {nameless[0]} has no place, and {unknown[0]} is no port's name"
        raise NotedError(detail, remedy="Name ports under [places] as birthmark-agent ports does.")
    return f"{len(names) - len(nameless)} of {len(names)} ports have one"
