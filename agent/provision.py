"""A board's visit at a station, from the opened port to the result in the journal.

    result = await provision(station, "/dev/ttyUSB0", open_driver("/dev/ttyUSB0", {}), "WO-2026-001")

A board that said who it is ends as PASS, FAIL or PARKED, and the journal says so. The steps between are in
`board_run`. A board that failed and may pass is taken again from the beginning, up to
`StationContext.board_retries` times. That is one run of the journal, and one result.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from agent.board_run import BoardRun
from agent.core.events import BoardSeen, Finished, StepDone, StepStarted, Waiting
from agent.core.recipe import StepName
from agent.core.result import Outcome, Result
from agent.driver_fault import driver_fault, is_known
from agent.errors import AgentError, StoppedError
from agent.ports import Driver, Found
from agent.program import program_version
from agent.recorder import Tape, basis_of, recorded
from agent.station import StationContext
from agent.steps import StepRunner

_SILENT = frozenset({"no_answer", "no_firmware"})
_PAUSE_S = 1.0  # before a board is taken again: an adapter that vanished is back by then


async def provision(
    station: StationContext, port: str, opened: AbstractAsyncContextManager[Driver], work_order: str
) -> Result:
    """Opens the port, asks the board who it is and takes it through the recipe."""
    started_s = station.clock.now_s()
    steps = _steps(station, port)
    result: Result | None = None
    try:
        async with opened as driver:
            found = await steps.tries(StepName.IDENTIFY, driver.identify)
            result = await work(station, port, driver, found, work_order, started_s)
    except (Exception, SystemExit) as failure:  # noqa: BLE001  (drivers may raise anything: it ends one board)
        error = _agent_error(failure, port)
        if result is None:  # no board said who it is; a port that fails to close changes no result
            result = await unidentified(station, port, work_order, error, started_s)
    return result


async def work(
    station: StationContext, port: str, driver: Driver, found: Found, work_order: str, started_s: float
) -> Result:
    """Takes a board that has just said who it is through the recipe. `started_s`: when it was asked.

    Cancelled, it parks the board, puts that into the journal, and is cancelled.
    """
    if found.chip_id in station.busy_chips:
        return await _work(station, port, driver, found, work_order, started_s, busy=True)
    station.busy_chips.add(found.chip_id)
    try:
        return await _work(station, port, driver, found, work_order, started_s, busy=False)
    finally:
        station.busy_chips.discard(found.chip_id)


async def _work(
    station: StationContext,
    port: str,
    driver: Driver,
    found: Found,
    work_order: str,
    started_s: float,
    *,
    busy: bool,
) -> Result:
    tape: Tape | None = None
    if station.keep_recording is not None:
        basis = basis_of(
            station,
            port,
            work_order,
            found,
            busy=busy,
            version=program_version(),
            started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        tape = Tape(basis, station.clock.now_s)
        station, driver = recorded(station, driver, tape, found.chip_id)
    steps = _steps(station, port)
    board_run = BoardRun(station, port, driver, found, work_order, steps, busy=busy)
    station.progress(BoardSeen(port, found.chip_id))
    station.progress(StepStarted(port, StepName.IDENTIFY))
    steps.run = await station.journal.begin(port, work_order, found.chip_id)
    seconds = station.clock.now_s() - started_s
    steps.count(StepName.IDENTIFY, seconds)
    station.progress(StepDone(port, StepName.IDENTIFY, seconds))
    try:
        error = await _take(station, port, board_run)
    except asyncio.CancelledError:
        result = board_run.result(StoppedError(), station.clock.now_s() - started_s)
        await _finish_surely(station, steps.run, result, tape)
        raise
    result = board_run.result(error, station.clock.now_s() - started_s)
    await _finish_surely(station, steps.run, result, tape)
    return result


async def _take(station: StationContext, port: str, board_run: BoardRun) -> AgentError | None:
    """The run, and again where the board may pass; what it failed with in the end."""
    error = await _take_once(board_run, again=False)
    for _ in range(station.board_retries):
        if error is None or not board_run.may_be_taken_again(error):
            break
        station.progress(Waiting(port, f"the board again: {error.code}"))
        await station.clock.sleep(_PAUSE_S)
        error = await _take_once(board_run, again=True)
    return error


async def _take_once(board_run: BoardRun, *, again: bool) -> AgentError | None:
    try:
        await board_run.take(again=again)
    except Exception as failure:  # noqa: BLE001  (a driver of others may raise anything: it ends one board)
        return _agent_error(failure, *board_run.place)  # its cause says at which step
    return None


def _agent_error(failure: BaseException, port: str, chip_id: str = "") -> AgentError:
    if is_known(failure):
        return failure
    return driver_fault(failure, port, chip_id)


async def unidentified(
    station: StationContext, port: str, work_order: str, error: AgentError, started_s: float
) -> Result:
    """The FAIL of a board that does not say who it is: in the journal, under no chip id.

    Of one that is silent nobody can say who it is. Which board was here before, the journal knows.
    """
    detail = error.detail
    if error.code in _SILENT and (last := await station.journal.last_on(port)) is not None:
        detail += f"; the last board on this port was {last[0]}, which ended as {last[1]}"
    run = await station.journal.begin(port, work_order, "")
    result = Result(
        port=port,
        work_order=work_order,
        chip_id="",
        serial_number="",
        certificate_sha256="",
        outcome=Outcome.FAIL,
        step=StepName.IDENTIFY,
        code=error.code,
        detail=detail,
        remedy=error.remedy,
        seconds=station.clock.now_s() - started_s,
        times=(),
        stop=error.stops_line,
    )
    await _finish(station, run, result)
    return result


async def _finish_surely(station: StationContext, run: int, result: Result, tape: Tape | None) -> None:
    """Finishes also when it is cancelled meanwhile: a result that is known is never lost."""
    finishing = asyncio.ensure_future(_finish(station, run, result))
    try:
        await asyncio.shield(finishing)
    except asyncio.CancelledError:
        await finishing
        raise
    finally:
        _keep(station, run, result, tape)


async def _finish(station: StationContext, run: int, result: Result) -> None:
    await station.journal.finish(run, result)
    station.progress(Finished(result))


def _keep(station: StationContext, run: int, result: Result, tape: Tape | None) -> None:
    data = None if tape is None else tape.encode(result)
    if data is not None and station.keep_recording is not None:
        station.keep_recording(run, result.outcome, data)


def _steps(station: StationContext, port: str) -> StepRunner:
    return StepRunner(
        port,
        recipe=station.recipe,
        journal=station.journal,
        progress=station.progress,
        clock=station.clock,
    )
