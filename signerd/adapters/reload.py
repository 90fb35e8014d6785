"""SIGHUP: the settings are read again, and what can change while signerd serves changes.

    the server's certificate, its key and the CA of its callers   at once: stations connect anew
    limits, but for those of connections                          at once
    the log's level                                               at once

Calls under way are answered. A new file that is wrong leaves all the old settings in force, and a line of the
log says what is wrong with it. What else was changed in the file waits for a restart, and is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from signerd.config import Config
from signerd.errors import ConfigError, NotNow

# Of the settings. All others are what signerd was started with.
RELOADED = frozenset(
    {
        "server.names",
        "server.certificate",
        "server.key",
        "server.client_ca",
        "limits.session_lifetime_s",
        "limits.station_calls_per_s",
        "limits.station_burst",
        "limits.auditor_calls_per_s",
        "limits.auditor_burst",
        "limits.refusals_per_h",
        "limits.concurrent_calls",
        "log.level",
    }
)

_log = structlog.get_logger(__name__)


class Reload:
    """What a hangup does. Lives on the event loop; until `begin`, a hangup is answered with a line alone."""

    def __init__(self, read: Callable[[], Config], started: Config) -> None:
        """`read` reads and checks the settings as a start would, and raises ConfigError."""
        self._read = read
        self._started = started
        self._first: Callable[[Config], Awaitable[None]] | None = None
        self._take: Sequence[Callable[[Config], None]] = ()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, first: Callable[[Config], Awaitable[None]], *take: Callable[[Config], None]) -> None:
        """From now on each gets the new settings. The first may refuse them with ConfigError."""
        self._first, self._take = first, take

    def hangup(self) -> None:
        """The signal's handler."""
        task = asyncio.get_running_loop().create_task(self._hung_up(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hung_up(self) -> None:
        with suppress(ConfigError):  # it stands in the log, and nobody waits for it
            await self.now()

    async def now(self) -> list[str]:
        """What a hangup does, for somebody who waits for it; returns what waits for a restart.

        Raises:
            ConfigError: the new settings are wrong, or signerd is starting; those of before are in force.
        """
        if self._first is None:
            detail = "signerd is starting, with the settings as they are"
            _log.warning("not_reloaded", detail=detail)
            raise NotNow(detail)
        async with self._turn:
            try:
                config = await asyncio.to_thread(self._read)
                await self._first(config)
                for take in self._take:
                    take(config)
            except ConfigError as error:
                _log.error("not_reloaded", detail=str(error), in_force="the settings of before")
                raise
            waiting = sorted(_differences(self._started, config) - RELOADED)
            _log.info("reloaded", needs_restart=waiting)
            return waiting


def _differences(old: Config, new: Config) -> set[str]:
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """By `section.name`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found
