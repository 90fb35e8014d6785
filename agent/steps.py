"""Runs the steps of one board: each bounded, tried again within its recipe's bounds, timed and shown.

A step's time is that of all its tries, and it is kept also where the step failed or was broken off: a line
loses its seconds there.

Two kinds of failure are waited out differently. A board that does not answer gets the step's `retries`.
A signerd that does not answer is nobody's fault on the needle bed: the board waits for it, up to
`Bounds.signer_wait_s`, and each wait is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.core.events import Progress, StepDone, StepProgress, StepStarted, Waiting
from agent.core.recipe import Recipe, Step, StepName
from agent.core.result import StepTime
from agent.errors import (
    BoardError,
    DriverFaultError,
    LabelError,
    LineError,
    SignerBusy,
    SignerLineDown,
    SignerUnavailable,
)
from agent.ports import Clock, Journal

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0  # a line that is back is noticed within it
_SLOW_S = (3, 10, 30)  # after which it is said that a call is slow
_LINE_DOWN = "the connection to signerd is down"
_ANSWER = "to answer"
_WHAT = {"session": "to open a session", "sign": "to sign", "record": "to record the stamp"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a board is held up by a signerd that does not answer, in seconds."""

    signer_wait_s: float = 120.0  # before there is a certificate
    stamp_wait_s: float = 10.0  # for the answer to a stamp: it is in the outbox, the board may go


async def await_signer(
    call: Callable[[], Awaitable[T]],
    *,
    wait_s: float,
    clock: Clock,
    on_wait: Callable[[str], None],
    what: str = _ANSWER,
) -> T:
    """Makes the call until signerd answers, with growing pauses, for `wait_s` seconds.

    A signerd that is busy has answered: the call comes back when it says, and has its time anew then. A call
    under way is waited for, and after `_SLOW_S` it is said that signerd is slow. While the line is down it is
    not: nobody knows that then.

    Args:
        what: the call, as it is said after "signerd takes more than 3 s".

    Raises:
        SignerUnavailable: it did not answer in that time; at once, where only a person can help.
    """
    end_s = clock.now_s() + wait_s
    pause_s, is_down = _FIRST_PAUSE_S, False
    while True:
        try:
            return await (call() if is_down else _named_where_slow(call, on_wait, what))
        except SignerBusy as busy:
            on_wait(busy.detail)
            await clock.sleep(busy.delay_s)
            end_s, pause_s, is_down = clock.now_s() + wait_s, _FIRST_PAUSE_S, False
            continue
        except SignerUnavailable as error:
            if error.stops_line or clock.now_s() + pause_s > end_s:
                raise
            # Why it is down is the line's to say, once for all ports.
            is_down = isinstance(error, SignerLineDown)
            on_wait(_LINE_DOWN if is_down else error.detail)
        await clock.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _named_where_slow(call: Callable[[], Awaitable[T]], on_wait: Callable[[str], None], what: str) -> T:
    answer = asyncio.ensure_future(call())
    try:
        for slow_s in _SLOW_S:
            if (await asyncio.wait({answer}, timeout=slow_s - _before(slow_s)))[0]:
                break
            on_wait(f"signerd takes more than {slow_s} s {what}")
        return await answer
    finally:
        if not answer.done():
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)


def _before(slow_s: int) -> int:
    return max((each for each in _SLOW_S if each < slow_s), default=0)


class StepRunner:
    """The steps of one board on one port."""

    def __init__(
        self, port: str, *, recipe: Recipe, journal: Journal, progress: Progress, clock: Clock
    ) -> None:
        self._port = port
        self._recipe = recipe
        self._journal = journal
        self._progress = progress
        self._clock = clock
        self._times: dict[str, float] = {}
        self._failed: tuple[Exception, str] | None = None  # the last failure and its step
        self._current = ""
        self.run = 0  # of the journal; 0 until the board has said who it is

    @property
    def times(self) -> tuple[StepTime, ...]:
        """How long each step took that was begun and has ended, all its tries together, in seconds."""
        return tuple(StepTime(step, seconds) for step, seconds in self._times.items())

    def step_of(self, error: Exception | None) -> str:
        """The step at which this failure happened; without one, the last that was begun.

        Two steps may run at once: the one that was begun last need not be the one that failed.
        """
        if self._failed is not None and error is not None and self._failed[0] in {error, error.__cause__}:
            return self._failed[1]
        return self._current

    def has(self, name: StepName) -> bool:
        """True if the recipe takes this step."""
        return self._recipe.step(name) is not None

    async def take(self, name: StepName, action: Callable[[], Awaitable[T]]) -> T:
        """Takes a step with the board.

        Raises:
            AgentError: what the last try raised; `BoardError("step_timeout")` if it took too long.
        """
        return await self.timed(name, lambda: self.tries(name, action))

    async def ask(self, name: str, call: Callable[[], Awaitable[T]], *, wait_s: float) -> T:
        """Asks signerd, as a step of that name, and waits for it `wait_s` seconds.

        Raises:
            AgentError: `Refused`, or `SignerUnavailable` if it did not answer in that time.
        """
        return await self.timed(
            name,
            lambda: await_signer(
                call,
                wait_s=wait_s,
                clock=self._clock,
                on_wait=self.on_wait,
                what=_WHAT.get(name, "to answer"),
            ),
        )

    async def timed(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        """Runs the action as a step of that name: shown, timed and put into the journal."""
        self._current = name
        self._progress(StepStarted(self._port, name))
        started_s = self._clock.now_s()
        try:
            outcome = await action()
        except Exception as error:
            self._failed = error, name
            raise
        finally:
            seconds = self._clock.now_s() - started_s
            self.count(name, seconds)
        self._progress(StepDone(self._port, name, seconds))
        return outcome

    def count(self, name: str, seconds: float) -> None:
        """Adds to the step's time."""
        self._times[name] = self._times.get(name, 0.0) + seconds
        if self.run:
            self._journal.step_done(self.run, name, self._times[name])

    def _step(self, name: StepName) -> Step:
        step = self._recipe.step(name)
        if step is None:
            raise ValueError(f"the recipe leaves out {name}")
        return step

    async def tries(self, name: StepName, action: Callable[[], Awaitable[T]]) -> T:
        """Tries a step within its bounds, neither shown nor timed. Raises as `take` does."""
        step = self._step(name)
        left = step.retries
        while True:
            try:
                return await _bounded(step, action)
            except (LineError, BoardError, LabelError) as error:
                if left == 0 or not error.retryable:
                    raise
                self._progress(Waiting(self._port, f"{step.name} again: {error.code}"))
            left -= 1
            await self._clock.sleep(_FIRST_PAUSE_S)

    def on_progress(self, name: StepName) -> Callable[[int, int], None]:
        """What a driver calls while a step moves on."""
        return lambda done, total: self._progress(StepProgress(self._port, name, done, total))

    def on_wait(self, detail: str) -> None:
        """What is called while signerd is waited for."""
        self._progress(Waiting(self._port, detail))


async def _bounded(step: Step, action: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(step.timeout_s):
            return await action()
    except SystemExit as error:  # of a library that is a program too; it would end the station
        raise DriverFaultError("SystemExit") from error
    except TimeoutError as error:
        detail = f"{step.name} took longer than {step.timeout_s:g} s"
        raise BoardError("step_timeout", detail, retryable=True) from error


async def both(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Runs both; the first failure ends the other, and is raised once that one has ended."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
