"""Watches the ports: every board that is put on one is taken, and no port waits for another.

A port whose board is finished waits until that board is gone or another chip answers; meanwhile it is only
asked whether it is there. A board that answers, and not as its protocol says, fails once and is left alone
until it is lifted. So does one at which the driver fails. A port that is away for a moment has not lost its
board: a chip on USB takes the port along when it resets. A board that was parked because signerd is away is
taken up again where it stands.
Ports are shown and journalled under their place on the line, where the configuration names one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from agent.core.events import PortReady, Waiting
from agent.core.recipe import StepName
from agent.core.result import Outcome, Result
from agent.core.said_once import SaidOnce
from agent.driver_fault import driver_fault, is_known
from agent.errors import AgentError, BoardError, DriverFaultError, LineError
from agent.ports import Driver, Found, ListPorts, PortInfo
from agent.provision import unidentified, work
from agent.station import StationContext

T = TypeVar("T")

_MISSES = 2  # unanswered hellos until a finished board counts as gone: some restart after their seal
_SURE = 3  # looks with the same wrong answer until the board fails: a bootloader answers so for a moment
_AWAY_LOOKS = (
    6  # at the list of ports, 3 s, until one that is not on it has lost its board: USB takes 1 to 2 s
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `boards`: stop after that many; `once`: one board a port; neither: until told to stop."""

    work_order: str
    boards: int | None = None
    once: bool = False
    stop_s: float = 20.0  # boards under way when told to stop
    look_s: float = 0.5  # between two looks at the list of ports, and at an idle port
    places: Mapping[str, str] = field(default_factory=dict)  # a port's name to what it is called on the line


@dataclass(slots=True)
class _Wrong:
    """A board that answers, and does not say who it is."""

    looks: int = 0  # at which it answered so, one after the other
    failed: bool = False  # it had its verdict, and has not been lifted
    misses: int = 0  # looks since it answered


class PortWatch:
    """The ports of one station."""

    def __init__(
        self,
        station: StationContext,
        open_driver: Callable[[str], AbstractAsyncContextManager[Driver]],
        list_ports: ListPorts,
        plan: Plan,
    ) -> None:
        self._station = replace(station, progress=SaidOnce(station.progress))
        self._open = open_driver
        self._list_ports = list_ports
        self._plan = plan
        self._present: dict[str, PortInfo] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._working: set[str] = set()
        self._served: set[str] = set()  # ports that had their one board
        self._done: dict[str, str] = {}  # by port, the chip that is finished and has not been away
        self._wrong: dict[str, _Wrong] = {}  # by port, the board that does not say who it is
        self._faults: dict[str, str] = {}  # by port, the driver's fault that the log has already
        self._away: dict[str, int] = {}  # by port, looks since it was on the list
        self._finished = 0
        self.stopping = asyncio.Event()
        self.fault: AgentError | None = None

    async def run(self) -> None:
        """Serves ports until the plan is fulfilled or `stopping` is set, then lets boards finish.

        A result that says that no board can pass stops it; `fault` holds a failure of the station itself.
        Cancelled, it waits for no board.
        """
        patience_s = self._plan.stop_s
        try:
            while not self.stopping.is_set():
                await self._look()
                if (
                    self._plan.once
                    and self._present
                    and self._served >= set(self._present) | set(self._tasks)
                ):
                    break
                await self._pause()
        except asyncio.CancelledError:
            patience_s = 0.0
            raise
        finally:
            self.stopping.set()
            await self._wind_down(patience_s)

    async def _look(self) -> None:
        try:
            ports = await asyncio.to_thread(self._list_ports)
        except LineError:
            return  # a port vanished while they were listed: the next look tells
        self._present = {port.name: port for port in ports}
        self._note_absent()
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}
        for name in self._present:
            if name not in self._tasks and not (self._plan.once and name in self._served):
                self._tasks[name] = asyncio.create_task(self._serve(name), name=f"port {name}")

    def _note_absent(self) -> None:
        for name in {*self._done, *self._wrong}:
            self._away[name] = 0 if name in self._present else self._away.get(name, 0) + 1
            if self._away[name] >= _AWAY_LOOKS:
                del self._away[name]
                self._done.pop(name, None)
                self._wrong.pop(name, None)

    async def _pause(self) -> None:
        # Not wait_for: before Python 3.12 it swallows the second signal when it comes right after the first.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._plan.look_s):
                await self.stopping.wait()

    async def _wind_down(self, patience_s: float) -> None:
        idle = [task for name, task in self._tasks.items() if name not in self._working]
        busy = [task for name, task in self._tasks.items() if name in self._working]
        for task in idle:
            task.cancel()
        try:
            if busy:
                await asyncio.wait(busy, timeout=patience_s)
        finally:  # also when a second signal ends the wait
            for task in busy:
                task.cancel()  # parks its board
            await asyncio.gather(*idle, *busy, return_exceptions=True)

    async def _serve(self, name: str) -> None:
        """One port, as long as it is there."""
        place = self._plan.places.get(name, name)
        while self._is_served(name):
            try:
                async with self._open(self._present[name].device) as driver:
                    await self._serve_boards(name, place, driver)
            except LineError as error:
                self._station.progress(Waiting(place, error.detail))
            except (Exception, SystemExit) as error:  # noqa: BLE001  (a driver of others may raise anything: other ports go on)
                if is_known(error):
                    self.fault = error  # journal or configuration: no port can work
                    self.stopping.set()
                else:
                    self._note_fault(name, place, error)
            await self._pause()

    def _note_fault(self, name: str, place: str, error: BaseException) -> None:
        """A driver's fault that repeats at each look is one line of the log, until a board is taken."""
        fault = self._fault(name, place, error)
        self._station.progress(Waiting(place, f"{fault.detail}. {fault.remedy}"))

    def _fault(self, name: str, place: str, error: BaseException) -> DriverFaultError:
        said = f"{type(error).__name__}: {error}"
        fault = driver_fault(error, place, log=self._faults.get(name) != said)
        self._faults[name] = said
        return fault

    def _is_served(self, name: str) -> bool:
        done = self._plan.once and name in self._served
        return name in self._present and not done and not self.stopping.is_set()

    async def _serve_boards(self, name: str, place: str, driver: Driver) -> None:
        """The boards that come while the port stays open. Raises LineError when it is gone.

        A finished board that answers no longer may have been lifted, or may hang: only a place where nothing
        at all is found is empty, and lets the same chip begin anew.
        """
        misses, first = 0, True
        while self._is_served(name):
            finished = self._done.get(name, "")
            present = await self._is_there(name, place, driver) if finished and not first else None
            misses = misses + 1 if finished and present is None else 0
            if first or not finished or misses >= _MISSES or present not in {None, finished}:
                if not await self._take_what_stands(name, place, driver, first=first):
                    return
                misses, first = 0, False
            await self._pause()

    async def _is_there(self, name: str, place: str, driver: Driver) -> str | None:
        try:
            return await self._look_at(driver.present)
        except BoardError:
            return None  # not the finished board; who it is, `identify` asks next
        except Exception as error:
            if is_known(error):
                raise
            self._fault(name, place, error)
            return None

    async def _take_what_stands(self, name: str, place: str, driver: Driver, *, first: bool) -> bool:
        """The board on the port, unless it is the finished one. `first`: the port was just opened, and one
        that resets as it is opened may not be there yet. False: the driver failed, and is opened anew.
        """
        started_s = self._station.clock.now_s()
        try:
            found = await self._look_at(driver.identify)
        except BoardError as error:
            await self._answers_wrongly(name, place, error, started_s)
            return True
        except Exception as error:
            if is_known(error):
                raise
            await self._answers_wrongly(name, place, self._fault(name, place, error), started_s)
            return False
        if found is None:
            if not first:
                self._done.pop(name, None)
                self._note_silence(name)
        else:
            self._wrong.pop(name, None)
            self._faults.pop(name, None)
        self._station.progress(PortReady(place))
        if found is not None and found.chip_id != self._done.get(name):
            result = await self._work(name, place, driver, found, started_s)
            self._done.pop(name, None)
            if not self._goes_on(result) and result.code != "port_gone":
                self._done[name] = found.chip_id
            self._account(name, result)
        return True

    async def _answers_wrongly(
        self, name: str, place: str, error: BoardError | DriverFaultError, started_s: float
    ) -> None:
        """The FAIL of a board that does not say who it is: once it is sure, and once until it is lifted.

        A finished board that is heard and answers no more has its verdict, unless its place was empty since.
        """
        if error.code == "no_firmware" and name in self._done:
            return
        wrong = self._wrong.setdefault(name, _Wrong())
        wrong.looks, wrong.misses = wrong.looks + 1, 0
        if wrong.failed or wrong.looks < _SURE:
            return
        wrong.failed = True
        self._done.pop(name, None)
        self._account(name, await unidentified(self._station, place, self._plan.work_order, error, started_s))

    def _note_silence(self, name: str) -> None:
        wrong = self._wrong.get(name)
        if wrong is not None:
            wrong.misses += 1
            if wrong.misses >= _MISSES:
                del self._wrong[name]

    async def _look_at(self, look: Callable[[], Awaitable[T]]) -> T | None:
        """What stands on the port, in bounded time; None for nothing. BoardError: it answers wrongly."""
        step = self._station.recipe.step(StepName.IDENTIFY)
        try:
            async with asyncio.timeout(step.timeout_s if step else None):
                return await look()
        except TimeoutError:
            return None
        except SystemExit as error:  # of a library that is a program too; it would end the station
            raise DriverFaultError("SystemExit") from error
        except LineError as error:
            if error.code in {"port_gone", "port_busy"}:
                raise
            return None  # nothing is on the port

    async def _work(self, name: str, place: str, driver: Driver, found: Found, started_s: float) -> Result:
        self._working.add(name)
        try:
            return await work(self._station, place, driver, found, self._plan.work_order, started_s)
        finally:
            self._working.discard(name)

    def _account(self, name: str, result: Result) -> None:
        if result.stop:
            self.stopping.set()
        if self._goes_on(result) and not self._plan.once:
            return
        self._finished += 1
        self._served.add(name)
        if self._finished == self._plan.boards:
            self.stopping.set()

    def _goes_on(self, result: Result) -> bool:
        """True for a parked board that has more before it than the answer to its stamp."""
        if result.outcome is not Outcome.PARKED:
            return False
        return result.step != "record" or self._station.recipe.step(StepName.LABEL) is not None
