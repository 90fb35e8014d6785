"""What is wrong with the connection to signerd, said once for all ports.

    state = LineState(progress, lambda: diagnose(config.signerd, timeout_s=5))
    raise await state.explained()        # a call had no answer: why
    state.answered()                     # a call was answered: LineUp, if it was down

gRPC says that a line does not stand. Why, is asked beside it, once for all ports that fail at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agent.core.events import LineDown, LineUp, Progress
from agent.errors import STATION_REFUSED, AgentError, Refused, SignerLineDown, SignerUnavailable

_BROKE_OFF = "the connection to signerd broke off, and is made anew"
_FRESH_S = 5.0  # a diagnosis holds so long: the ports of a station fail one after the other


class LineState:
    """Of one station."""

    def __init__(
        self,
        progress: Progress,
        diagnose: Callable[[], AgentError | None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`diagnose` says why there is no line; None: there is one. It may block."""
        self._progress = progress
        self._diagnose = diagnose
        self._now_s = now_s
        self._said: str = ""  # the code of the last LineDown; empty while the line is up
        self._stood = 0  # how often the line was seen to stand: an answer to `ask` may be from before
        self._connects = True  # False while it is signerd's answer that stops this station
        self._asking: asyncio.Task[AgentError | None] | None = None
        self._asked_s = 0.0

    def answered(self) -> None:
        """signerd has answered this station."""
        self._connects = True
        self.connected()

    def connected(self) -> None:
        """The line stands. What signerd has said of this station may still hold."""
        self._asking = None
        self._stood += 1
        if self._said and self._connects:
            self._said = ""
            self._progress(LineUp())

    def refused(self, error: Refused) -> None:
        """signerd has refused. It stops all ports where it is about the station."""
        if error.code in STATION_REFUSED:
            self._connects = False
            self._down(error, stop=True)
        else:
            self.answered()

    async def explained(self) -> SignerUnavailable:
        """The error for a board whose call had no answer: the line's, where the line is at fault."""
        stood = self._stood
        found = await self.ask()
        if found is None or stood != self._stood:  # what was found is of before
            return SignerUnavailable(_BROKE_OFF)
        self._down(found, stop=found.stops_line)
        return SignerLineDown(found.code, found.detail, found.remedy, found.verdict)

    def ask(self) -> asyncio.Future[AgentError | None]:
        """Begins to ask why there is no line, if nobody does. Nobody who waits for the answer ends it."""
        asking, fresh = self._asking, self._now_s() - self._asked_s < _FRESH_S
        if asking is None or (asking.done() and not fresh):
            asking = asyncio.create_task(asyncio.to_thread(self._diagnose), name="why there is no line")
            self._asking, self._asked_s = asking, self._now_s()
        return asyncio.shield(asking)

    def close(self) -> None:
        """Asks no longer."""
        if self._asking is not None:
            self._asking.cancel()

    def _down(self, error: AgentError, *, stop: bool) -> None:
        if error.code != self._said:
            self._said = error.code
            self._progress(LineDown(error.code, error.detail, error.remedy, stop))
