"""The part of `AdminService` about the clock. It answers while the clock is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from birthmark.v1 import admin_pb2
from signerd.adapters.clock import ClockGuard
from signerd.adapters.rpc import fields
from signerd.adapters.store import SqlStore
from signerd.core.clock import ClockState
from signerd.core.names import is_administrator
from signerd.errors import Code, Refused

_STATES = {
    ClockState.RIGHT: admin_pb2.CLOCK_STATE_RIGHT,
    ClockState.BEHIND: admin_pb2.CLOCK_STATE_BEHIND,
    ClockState.JUMPED: admin_pb2.CLOCK_STATE_JUMPED,
}


class ClockAdministration:
    """Shows the clock, and accepts one that is right where signerd cannot know it."""

    def __init__(
        self, *, store: SqlStore, clock: ClockGuard, on_accept: Callable[[int], Awaitable[None]]
    ) -> None:
        """`on_accept` is called with the entry's index when the time has changed for good."""
        self._store = store
        self._clock = clock
        self._on_accept = on_accept

    async def show_clock(
        self, _caller: None, _request: admin_pb2.ShowClockRequest
    ) -> admin_pb2.ShowClockResponse:
        """Both moments, and the verdict."""
        judged = self._clock.look()
        return admin_pb2.ShowClockResponse(
            state=_STATES[judged.state],
            wall=fields.timestamp(judged.wall),
            expected=fields.timestamp(judged.expected),
            newest=fields.timestamp(self._store.newest),
            detail=str(judged),
        )

    async def accept_clock(
        self, _caller: None, request: admin_pb2.AcceptClockRequest
    ) -> admin_pb2.AcceptClockResponse:
        """Enters that the clock is right as it is, and goes on.

        A crash after the entry and before the reference is written leaves a clock that has jumped: accepting
        it once more enters it once more, and contradicts nothing.
        """
        if not is_administrator(request.by):
            raise Refused(Code.INVALID, "by must be 1 to 64 of [A-Za-z0-9._@-]")
        judged = self._clock.look()
        if judged.state is ClockState.RIGHT:
            raise Refused(
                Code.INVALID, "signerd sees nothing wrong with the clock: there is nothing to accept"
            )
        before = max(judged.expected, self._store.newest or judged.expected)
        index = await self._store.accept_clock(by=request.by, before=before, now=judged.wall)
        self._clock.accept()
        await self._on_accept(index)
        return admin_pb2.AcceptClockResponse(
            ledger_index=index,
            clock_from=fields.timestamp(before),
            clock_to=fields.timestamp(judged.wall),
        )
