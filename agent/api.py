"""The station as a library: for test programs that provision a board as one phase among others.

    from agent.api import Station, StepProgress

    async with Station("agent.toml") as station:
        result = await station.provision("/dev/ttyUSB0", "WO-2026-001", on_progress=print)
    assert result.outcome is Outcome.PASS

    result = provision_board("agent.toml", "/dev/ttyUSB0", "WO-2026-001")   # the same, without asyncio

What holds:

* A board's failure is a `Result`, never an exception, whatever the board, its driver or signerd does.
* Exceptions are the station's own: `ConfigError` and `JournalError`, and `BadAnswer` where signerd's answers
  prove nothing, so that no further board may be begun.
* One station takes any number of ports at once, each with its own callback. A callback that raises does not
  harm the board: its exception goes to the logger `birthmark.agent.api`, and the board goes on.
* Stamps that signerd has not answered wait in the station's journal, and are sent while a `Station` is open.
* Results go where `[results]` says, at the latest when the `Station` is closed.

Names in `__all__` stay; events and results may gain members.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.adapters.results.desk import ResultsDesk
from agent.adapters.shown.fan_out import fan_out
from agent.adapters.signer.outbox import OutboxSender
from agent.config import Config, is_name, load
from agent.core.events import (
    BoardEvent,
    BoardSeen,
    Finished,
    LineDown,
    LineUp,
    StampSettled,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
)
from agent.core.result import Outcome, Result, StepTime
from agent.errors import AgentError, BadAnswer, ConfigError, JournalError
from agent.provision import provision
from agent.wiring import OpenStation, open_line

__all__ = [
    "BadAnswer",
    "BoardSeen",
    "ConfigError",
    "Event",
    "Finished",
    "JournalError",
    "OnEvent",
    "Outcome",
    "Result",
    "Station",
    "StepDone",
    "StepProgress",
    "StepStarted",
    "StepTime",
    "Waiting",
    "provision_board",
]

_LOG = logging.getLogger("birthmark.agent.api")


Event = BoardEvent
OnEvent = Callable[[Event], None]
"""Called in the thread that provisions. It must return soon: other ports of the same station wait for it."""


class Station:
    """A station that is open: its configuration, journal and connection to signerd.

    Use it as an asynchronous context manager, once, in one event loop.

    Args:
        config: the path of an agent.toml, or a configuration that was loaded.

    Raises, on entering:
        ConfigError: the configuration, the enrolment, the recipe or the firmware bundle is wrong.
        JournalError: the journal cannot be opened.
        AgentError: `results`: what an earlier run left out cannot be written.
    """

    def __init__(self, config: Path | str | Config) -> None:
        self._config = config if isinstance(config, Config) else load(Path(config))
        self._events = _EventsByPort()
        self._stack = AsyncExitStack()
        self._line: OpenStation | None = None
        self._fault: AgentError | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            results = await stack.enter_async_context(ResultsDesk(self._config, _LOG.warning))
            line = await stack.enter_async_context(open_line(self._config, fan_out(results, self._events)))
            sending = asyncio.create_task(self._send_stamps(OutboxSender(line.station)), name="outbox")
            stack.push_async_callback(_ended, sending)
            self._stack = stack.pop_all()
        self._line = line
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line = None
        await self._stack.aclose()

    async def provision(self, port: str, order: str, on_progress: OnEvent | None = None) -> Result:
        """Takes the board on a port through the recipe.

        Args:
            port: the device, for example `/dev/ttyUSB0` or `COM7`.
            order: the work order's name.
            on_progress: called with each event, in order; the last is `Finished`.

        Returns:
            PASS, FAIL or PARKED, with code, remedy and the time of each step. Cancelled, it parks the board,
            keeps that in the journal, and is cancelled.

        Raises:
            JournalError: the journal cannot be written; the board must not go on.
            BadAnswer: signerd's answer to an earlier stamp proved nothing: stop, and call the company.
            ValueError: the port is being provisioned already; or `order` can be no work order's name.
            RuntimeError: the station is not open.
        """
        if self._line is None:
            raise RuntimeError("the station is not open: async with Station(...) as station")
        if self._fault is not None:
            raise self._fault
        if not is_name(order):
            raise ValueError(f"{order[:80]!r} can be no work order's name")
        place = await self._line.place_of(port)
        with self._events.given_to(place, on_progress):
            return await provision(self._line.station, place, self._line.open_driver(port), order)

    async def _send_stamps(self, outbox: OutboxSender) -> None:
        try:
            await outbox.run()
        except AgentError as error:
            self._fault = error


def provision_board(
    config: Path | str | Config, port: str, order: str, on_progress: OnEvent | None = None
) -> Result:
    """Opens the station, takes the board on one port through the recipe, and closes the station again.

    For programs without an event loop. Arguments, result and exceptions as of `Station` and
    `Station.provision`; for several boards, one `Station` that stays open saves the opening.
    """

    async def once() -> Result:
        async with Station(config) as station:
            return await station.provision(port, order, on_progress)

    return asyncio.run(once())


class _EventsByPort:
    """A `Progress` that hands each port's events to the callback that asked for them."""

    def __init__(self) -> None:
        self._callbacks: dict[str, OnEvent | None] = {}

    def given_to(self, port: str, callback: OnEvent | None) -> _Given:
        """Until it is left, that port's events go to the callback."""
        return _Given(self._callbacks, port, callback)

    def __call__(self, event: BoardEvent | StampSettled | LineDown | LineUp) -> None:
        """See `Progress`. The board of a stamp has gone, so no callback is for it: the log has it."""
        match event:
            case Finished(result):
                self._tell(result.port, event)
            case StampSettled(chip_id=chip_id, serial_number=serial_number, code=code):
                if code:
                    _LOG.error("stamp of %s (%s) refused: %s", serial_number, chip_id, code)
                else:
                    _LOG.info("stamp of %s (%s) recorded", serial_number, chip_id)
            case LineDown(code, detail, remedy):
                _LOG.error("line down: %s: %s. %s", code, detail, remedy)
            case LineUp():
                _LOG.info("line up")
            case _:
                self._tell(event.port, event)

    def _tell(self, port: str, event: Event) -> None:
        callback = self._callbacks.get(port)
        if callback is None:
            return
        try:
            callback(event)
        except Exception:  # noqa: BLE001  (a caller's code may raise anything: the board goes on)
            _LOG.exception("the callback for port %s failed at %s", port, type(event).__name__)


class _Given:
    def __init__(self, callbacks: dict[str, OnEvent | None], port: str, callback: OnEvent | None) -> None:
        self._callbacks = callbacks
        self._port = port
        self._callback = callback

    def __enter__(self) -> None:
        if self._port in self._callbacks:
            raise ValueError(f"port {self._port} is being provisioned already")
        self._callbacks[self._port] = self._callback

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._callbacks[self._port]


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
