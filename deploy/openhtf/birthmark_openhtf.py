"""Provisioning as one phase of an OpenHTF test.

    test = openhtf.Test(functional_test, provision_phase(port="/dev/ttyUSB0", order="WO-2026-001"))

`BirthmarkPlug` keeps the station open for one test: its own thread, its own event loop. `provision_phase`
makes a phase that takes the board through the recipe, sets measurements from the result, attaches it as JSON,
and makes the board's serial number the id of the device under test.

What holds: a board's failure is a failed phase, never an exception. A phase that OpenHTF ends, by its timeout
or because the operator aborts, parks the board, and the journal says so before the plug is torn down. What is
wrong with the station (`ConfigError`, `JournalError`, `BadAnswer`) is raised, and OpenHTF calls it an error.

Copy this file beside your test. It uses nothing of the agent but `agent.api`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

import openhtf
from openhtf import PhaseResult
from openhtf.plugs import BasePlug
from openhtf.util import configuration, units

from agent.api import Event, Outcome, Result, Station, StepProgress, StepStarted, Waiting

T = TypeVar("T")

CONF = configuration.CONF
CONF.declare(
    "birthmark_config",
    default_value="/etc/birthmark-agent/agent.toml",
    description="The station's configuration, as `birthmark-agent` has it.",
)

_POLL_S = 0.1  # OpenHTF ends a phase by an exception in its thread, which comes between two waits
_PARK_S = 30.0  # for a board to be parked and the journal to be written
PHASE_TIMEOUT_S = 900.0  # the recipe bounds each step; this is for what it does not know


class BirthmarkPlug(BasePlug):
    """The station, open while the test runs."""

    def __init__(self) -> None:
        """Opens it. Raises ConfigError or JournalError: OpenHTF does not begin the test then."""
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="birthmark", daemon=True)
        self._thread.start()
        self._running: set[asyncio.Task[Any] | None] = set()
        self._station: Station | None = None
        try:
            self._station = self._wait(self._open(CONF.birthmark_config))
        except BaseException:
            self._end()
            raise

    def provision(self, port: str, order: str, on_progress: Callable[[Event], None] | None = None) -> Result:
        """Takes the board on a port through the recipe. Ended from outside, it parks the board first.

        Args:
            port: the device, for example `/dev/ttyUSB0` or `COM7`.
            order: the work order's name.
            on_progress: called with each event, in the plug's thread.

        Raises:
            JournalError, BadAnswer: no further board may be begun.
        """
        if self._station is None:
            raise RuntimeError("the station is closed")
        return self._wait(self._station.provision(port, order, on_progress))

    def tearDown(self) -> None:
        """Closes the station; stamps that signerd has not answered stay in its journal."""
        station, self._station = self._station, None
        try:
            self._stop_all()  # OpenHTF does not wait long for a phase that it has ended
            if station is not None:
                self._wait(station.__aexit__(None, None, None))
        finally:
            self._end()

    @staticmethod
    async def _open(config: str) -> Station:
        return await Station(config).__aenter__()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it in the plug's thread; ended from outside, ends it first."""
        future = asyncio.run_coroutine_threadsafe(self._kept(work), self._loop)
        try:
            while not future.done():
                concurrent.futures.wait([future], timeout=_POLL_S)
            return future.result()
        except BaseException:
            self._stop_all()
            raise

    async def _kept(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        self._running.add(task)
        try:
            return await work
        finally:
            self._running.discard(task)

    def _stop_all(self) -> None:
        """Ends what runs, and waits: a board is parked then, and the journal says so."""

        async def stop() -> None:
            running = {task for task in self._running if task is not None}
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running, timeout=_PARK_S)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def provision_phase(
    *,
    port: str | Callable[[], str],
    order: str | Callable[[], str],
    name: str = "provision",
    timeout_s: float = PHASE_TIMEOUT_S,
    stop_on_failure: bool = False,
) -> openhtf.PhaseDescriptor:
    """A phase that provisions the board.

    | board | phase |
    |---|---|
    | PASS | passes |
    | FAIL or PARKED | fails, and the test goes on (`FAIL_AND_CONTINUE`); with `stop_on_failure` it stops |
    | FAIL, and no board can pass until something is mended | fails, and the test stops (`STOP`) |

    Args:
        port: the device, or what answers it when the phase begins.
        order: the work order's name, or what answers it.
        name: of the phase, and the beginning of its measurements' names: `<name>_outcome`, `_code`,
            `_serial_number`, `_chip_id`, `_seconds` and, by step, `_step_seconds`.
        timeout_s: after which OpenHTF ends the phase; the board is parked.
        stop_on_failure: do not go on with a board that has no identity.
    """

    @openhtf.PhaseOptions(name=name, timeout_s=timeout_s)
    @openhtf.measures(
        openhtf.Measurement(f"{name}_outcome").equals(str(Outcome.PASS)).doc("PASS, FAIL or PARKED"),
        openhtf.Measurement(f"{name}_code").doc("why it did not pass; empty otherwise"),
        openhtf.Measurement(f"{name}_serial_number"),
        openhtf.Measurement(f"{name}_chip_id"),
        openhtf.Measurement(f"{name}_seconds").with_units(units.SECOND),
        openhtf.Measurement(f"{name}_step_seconds").with_dimensions("step").with_units(units.SECOND),
    )
    @openhtf.plug(birthmark=BirthmarkPlug)
    def provision(test: openhtf.TestApi, birthmark: BirthmarkPlug) -> PhaseResult:
        result = birthmark.provision(_value(port), _value(order), _log(test))
        _measure(test, name, result)
        if result.outcome is Outcome.PASS:
            return PhaseResult.CONTINUE
        test.logger.error("%s: %s. %s", result.code, result.detail, result.remedy)
        stops = result.stop or stop_on_failure
        return PhaseResult.STOP if stops else PhaseResult.FAIL_AND_CONTINUE

    return provision


def _measure(test: openhtf.TestApi, name: str, result: Result) -> None:
    measurements = test.measurements
    measurements[f"{name}_outcome"] = str(result.outcome)
    for member in ("code", "serial_number", "chip_id"):
        measurements[f"{name}_{member}"] = getattr(result, member)
    measurements[f"{name}_seconds"] = round(result.seconds, 3)
    for time in result.times:
        measurements[f"{name}_step_seconds"][time.step] = round(time.seconds, 3)
    test.attach(f"{name}.json", json.dumps(asdict(result)).encode(), mimetype="application/json")
    if result.serial_number:
        test.dut_id = result.serial_number


def _log(test: openhtf.TestApi) -> Callable[[Event], None]:
    """Steps, waits, and each tenth of a step's way, in the test's log."""
    told: dict[str, int] = {}

    def on_progress(event: Event) -> None:
        if isinstance(event, StepStarted):
            told.pop(event.step, None)
            test.logger.info("%s", event.step)
        elif isinstance(event, Waiting):
            test.logger.warning("waits: %s", event.detail)
        elif isinstance(event, StepProgress) and event.total > 0:
            tenth = 10 * event.done // event.total
            if told.get(event.step, 0) != tenth:
                told[event.step] = tenth
                test.logger.info("%s %d %%", event.step, 10 * tenth)

    return on_progress


def _value(given: str | Callable[[], str]) -> str:
    return given if isinstance(given, str) else given()
