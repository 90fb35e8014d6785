"""The queue of one token's operations over its key holders (`keyholder/turns.py` says in which order)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from signerd.adapters.keyholder.client import KeyHolderProcess
from signerd.adapters.keyholder.turns import LONGEST_SHARING_S, MOST_AHEAD, Pace, Turns, before, beside, due
from signerd.errors import Busy

T = TypeVar("T")
Ask = Callable[[KeyHolderProcess], Awaitable[T]]

# A call asks the token up to three times (a MAC, the certificate, the checkpoint over it), and is answered
# within 30 s (`adapters/rpc/gate.py`).
LONGEST_WAIT_S = 10.0
_LEAST_WANTED = 2  # certificates, however long each takes: one at work, one that follows


class OperationQueue:
    """Hands operations on to the least busy key holder, as many as keep it at work.

    A call that wants a certificate is followed to its end: from `demand_room` it wants one, from `signing` on
    it is to enter one, and from `checkpoint_awaited` it waits. Calls are tasks; one that ends is forgotten.
    """

    def __init__(self, holders: Sequence[KeyHolderProcess]) -> None:
        self._holders = holders
        self._turns: Turns[asyncio.Future[KeyHolderProcess]] = Turns()
        self._at_work = dict.fromkeys(holders, 0)
        self._beside = 0  # operations that wait for no turn
        self._answered_at = dict.fromkeys(holders, 0.0)  # the last time
        self._signatures, self._checks, self._checkpoints = Pace(), Pace(), Pace()
        self._wanted: dict[asyncio.Task[object], str] = {}  # calls whose certificate is to come, and whose
        self._entering: set[asyncio.Task[object]] = (
            set()
        )  # calls that have asked for theirs, until it is entered
        self._waiting: set[asyncio.Task[object]] = set()  # for a checkpoint whose text is not made yet
        self._changed = asyncio.Event()  # one of all these

    def demand_room(self, caller: str) -> None:
        """Lets this task want a certificate. Raises Busy if it would wait for too long.

        A call is counted from here on, not from when it asks the token: many may come before the first has.
        """
        wait_s = (
            before(Counter(self._wanted.values()), caller)
            * (self._signatures.operation_s or 0.0)
            / len(self._holders)
        )
        if wait_s > LONGEST_WAIT_S and len(self._wanted) >= _LEAST_WANTED:
            # Back before the token has done all that waits, so that it has something to do.
            raise Busy(f"{len(self._wanted)} certificates are to be signed", wait_s - LONGEST_WAIT_S / 2)
        task = asyncio.current_task()
        if task is not None:
            self._wanted[task] = caller
            task.add_done_callback(self._gone)

    def signing(self) -> None:
        """This task asks for its certificate's signature."""
        task = asyncio.current_task()
        if task is not None and task in self._wanted:
            self._entering.add(task)

    def certified(self) -> None:
        """This task has its certificate's signature, and is about to enter it."""
        self._wanted.pop(asyncio.current_task(), None)  # type: ignore[arg-type] # None is no key

    def checkpoint_awaited(self) -> None:
        """This task goes on when the next checkpoint is published."""
        task = asyncio.current_task()
        if task is not None:
            self._entering.discard(task)
            self._waiting.add(task)
            task.add_done_callback(self._gone)
        self._changed.set()

    def _gone(self, task: asyncio.Task[object]) -> None:
        self._wanted.pop(task, None)
        self._entering.discard(task)
        self._waiting.discard(task)
        self._changed.set()

    async def certify(self, caller: str, ask: Ask[T]) -> T:
        """Waits for the caller's turn, and asks for a certificate's signature. Raises what `ask` raises."""
        return await self._in_turn(caller, ask, self._signatures)

    async def sign(self, caller: str, ask: Ask[T]) -> T:
        """The same for any other signature: how long it takes says nothing of certificates."""
        return await self._in_turn(caller, ask, Pace())

    async def check(self, caller: str, ask: Ask[T]) -> T:
        """Asks for what most tokens do in no time. Raises what `ask` raises."""
        if not beside(self._checks, self._signatures) or self._beside >= MOST_AHEAD:
            return await self._in_turn(caller, ask, self._checks)
        # In its turn it would come behind every certificate that waits, and its call's own certificate behind
        # those that come meanwhile. It takes no place of what keeps the token at work either.
        self._beside += 1
        try:
            return await self._timed(self._least_busy(), ask, self._checks)
        finally:
            self._beside -= 1

    async def sign_checkpoint(self, holder: KeyHolderProcess, ask: Ask[T]) -> T:
        """Asks this one at once: what it waits for is `checkpoint_due`. Raises what `ask` raises."""
        return await self._timed(holder, ask, self._checkpoints)

    async def checkpoint_due(self) -> None:
        """Returns when it is a checkpoint's turn: its text is best made then.

        Never waits at a fast token, nor where a checkpoint costs it nothing.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SHARING_S):
                while self._signatures.slow and not beside(self._checkpoints, self._signatures):
                    if due(len(self._waiting), len(self._wanted), idle=self._idle()):
                        break
                    self._changed.clear()
                    await self._changed.wait()
        self._waiting.clear()

    def _idle(self) -> bool:
        """True if the token has nothing to do, and nobody is about to enter something."""
        return not (any(self._at_work.values()) or self._turns or self._entering)

    async def _in_turn(self, caller: str, ask: Ask[T], pace: Pace) -> T:
        turn: asyncio.Future[KeyHolderProcess] = asyncio.get_running_loop().create_future()
        self._turns.add(caller, turn)
        self._hand_on()
        holder = await self._came(turn)
        try:
            return await self._timed(holder, ask, pace)
        finally:
            self._end(holder)

    async def _timed(self, holder: KeyHolderProcess, ask: Ask[T], pace: Pace) -> T:
        loop = asyncio.get_running_loop()
        handed_on_at = loop.time()
        answer = await ask(holder)
        now = loop.time()
        pace.took(now - max(handed_on_at, self._answered_at[holder]))
        self._answered_at[holder] = now
        return answer

    async def _came(self, turn: asyncio.Future[KeyHolderProcess]) -> KeyHolderProcess:
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self._end(turn.result())
            raise

    def _end(self, holder: KeyHolderProcess) -> None:
        self._at_work[holder] -= 1
        self._changed.set()
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
        holder = self._least_busy()
        may = self._at_work[holder] < self._signatures.depth or not holder.serving
        return holder if may else None

    def _least_busy(self) -> KeyHolderProcess:
        ready = [holder for holder in self._holders if holder.serving] or self._holders
        return min(ready, key=self._at_work.__getitem__)
