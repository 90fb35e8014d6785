"""The part of `AdminService` about what ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from birthmark.v1 import admin_pb2
from signerd.adapters.rpc import fields
from signerd.core.ends import End, due, in_order
from signerd.errors import Code, ConfigError, Refused


class CalendarAdministration:
    """Every date on which something stops."""

    def __init__(
        self, read: Callable[[], Awaitable[Sequence[End]]], clock: Callable[[], datetime], deployment: str
    ) -> None:
        """`read` finds what ends, and raises ConfigError."""
        self._read = read
        self._clock = clock
        self._deployment = deployment

    async def list_ends(
        self, _caller: None, _request: admin_pb2.ListEndsRequest
    ) -> admin_pb2.ListEndsResponse:
        """The next one first."""
        now = self._clock()
        try:
            ends = in_order(await self._read())
        except ConfigError as error:
            raise Refused(Code.INVALID, str(error)) from error
        soon = set(due(ends, now))
        return admin_pb2.ListEndsResponse(
            deployment=self._deployment,
            now=fields.timestamp(now),
            ends=[
                admin_pb2.ListEndsResponse.End(
                    which=end.what.value,
                    name=end.name,
                    at=fields.timestamp(end.at),
                    soon=end in soon,
                    stops=end.stops,
                    remedy=end.remedy,
                )
                for end in ends
            ],
        )
