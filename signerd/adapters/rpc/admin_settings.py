"""The part of `AdminService` about the settings: a SIGHUP that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from birthmark.v1 import admin_pb2
from signerd.errors import Code, ConfigError, Refused


class SettingsAdministration:
    """Reads the settings again."""

    def __init__(self, reload: Callable[[], Awaitable[list[str]]]) -> None:
        """`reload` returns what waits for a restart, and raises ConfigError."""
        self._reload = reload

    async def reload(self, _caller: None, _request: admin_pb2.ReloadRequest) -> admin_pb2.ReloadResponse:
        """Answers when they are in force."""
        try:
            waiting = await self._reload()
        except ConfigError as error:
            raise Refused(
                Code.INVALID, f"the settings are not reloaded, and the old ones stay in force: {error}"
            ) from error
        return admin_pb2.ReloadResponse(needs_restart=waiting)
