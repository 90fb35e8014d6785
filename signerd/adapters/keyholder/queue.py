"""The queue of one token's operations over its key holders (`keyholder/turns.py` says in which order)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from signerd.adapters.keyholder.client import KeyHolderProcess
from signerd.adapters.keyholder.turns import Pace, Turns, before, due
from signerd.errors import Busy

T = TypeVar("T")
Ask = Callable[[KeyHolderProcess], Awaitable[T]]

# A call asks the token up to three times (a MAC, the certificate, the checkpoint over it), and is answered
# within 30 s (`adapters/rpc/gate.py`).
LONGEST_WAIT_S = 10.0
_LEAST_WANTED = 2  # certificates, however long each takes: one at work, one that follows


class OperationQueue:
    """Hands operations on to the least busy key holder, as many as keep it at work."""

    def __init__(self, holders: Sequence[KeyHolderProcess]) -> None:
        self._holders = holders
        self._turns: Turns[asyncio.Future[KeyHolderProcess]] = Turns()
        self._at_work = dict.fromkeys(holders, 0)
        self._pace = Pace()
        self._wanted: dict[asyncio.Task[object], str] = {}  # calls whose certificate is to come, and whose
        self._ended = 0  # operations
        self._one_ended = asyncio.Event()

    def demand_room(self, caller: str) -> None:
        """Lets this task want a certificate. Raises Busy if it would wait for too long.

        A call is counted from here on, not from when it asks the token: many may come before the first has.
        """
        wait_s = (
            before(Counter(self._wanted.values()), caller)
            * (self._pace.operation_s or 0.0)
            / len(self._holders)
        )
        if wait_s > LONGEST_WAIT_S and len(self._wanted) >= _LEAST_WANTED:
            # Back before the token has done all that waits, so that it has something to do.
            raise Busy(f"{len(self._wanted)} certificates are to be signed", wait_s - LONGEST_WAIT_S / 2)
        task = asyncio.current_task()
        if task is not None:
            self._wanted[task] = caller
            task.add_done_callback(lambda done: self._wanted.pop(done, None))

    def certified(self) -> None:
        """This task has its certificate's signature."""
        self._wanted.pop(asyncio.current_task(), None)  # type: ignore[arg-type] # None is no key

    async def ask(self, caller: str, ask: Ask[T], *, measured: bool = False) -> T:
        """Waits for the caller's turn, and asks. Raises what `ask` raises. What is `measured` says how slow
        the token is: signatures of certificates, for a MAC is fast at any token."""
        turn: asyncio.Future[KeyHolderProcess] = asyncio.get_running_loop().create_future()
        self._turns.add(caller, turn)
        self._hand_on()
        holder = await self._came(turn)
        loop = asyncio.get_running_loop()
        handed_on_at = loop.time()
        try:
            answer = await ask(holder)
            if measured:
                self._pace.ended(handed_on_at, loop.time())
        finally:
            self._end(holder)
        return answer

    async def checkpoint_due(self) -> None:
        """Returns when it is a checkpoint's turn: its text is best made then. Never waits at a fast token."""
        ended = self._ended
        while self._pace.slow and not due(self._ended - ended, len(self._turns)):
            self._one_ended.clear()
            await self._one_ended.wait()

    async def _came(self, turn: asyncio.Future[KeyHolderProcess]) -> KeyHolderProcess:
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self._end(turn.result())
            raise

    def _end(self, holder: KeyHolderProcess) -> None:
        self._at_work[holder] -= 1
        self._ended += 1
        self._one_ended.set()
        self._hand_on()

    def _hand_on(self) -> None:
        while (holder := self._free()) is not None:
            turn = self._turns.take()
            if turn is None:
                return
            if not turn.done():  # else its caller has gone
                self._at_work[holder] += 1
                turn.set_result(holder)

    def _free(self) -> KeyHolderProcess | None:
        """The least busy, if it may be given one more. Where none serves, whoever asks is told so at once."""
        ready = [holder for holder in self._holders if holder.serving] or self._holders
        holder = min(ready, key=self._at_work.__getitem__)
        may = self._at_work[holder] < self._pace.depth or not holder.serving
        return holder if may else None
