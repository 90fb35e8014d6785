"""Ports that vanish, drivers that raise anything, a second signal: the line goes on, or ends in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from serial.tools import list_ports as pyserial_ports

from agent.adapters.line.serial_port import list_ports
from agent.adapters.line.watch import Plan, PortWatch
from agent.core.result import Outcome, Result
from agent.errors import BoardError, LineError
from agent.ports import Driver, PortInfo
from harness.agent_world import ORDER, AgentWorld, Gate, opened

PORT = PortInfo("port-0", "port-0", "")


async def test_second_signal_parks_boards_at_once() -> None:
    world = AgentWorld()
    board = world.board("A")
    gate = board.gates["install"] = Gate()
    plan = Plan(ORDER, stop_s=3600, look_s=0.001)
    winding_down = asyncio.Event()

    class Watched(PortWatch):
        async def _wind_down(self, patience_s: float) -> None:
            winding_down.set()
            await super()._wind_down(patience_s)

    watch = Watched(world.station, lambda _port: opened(board), lambda: (PORT,), plan)
    watching = asyncio.create_task(watch.run())
    await gate.arrived.wait()
    watch.stopping.set()
    await winding_down.wait()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert world.journal.runs[1].outcome is Outcome.PARKED
    assert [result.code for result in world.progress.results] == ["stopped"]


async def test_once_leaves_the_next_board_of_a_port_alone() -> None:
    world = AgentWorld()
    sockets = {"port-0": world.board("A"), "port-1": world.board("B")}
    gate = sockets["port-1"].gates["install"] = Gate()
    looks = 0
    looked = asyncio.Event()  # often enough for C to be taken

    def look() -> tuple[PortInfo, ...]:
        nonlocal looks
        if world.progress.results:  # A is done: another board takes its place while B is under way
            sockets["port-0"].board = world.board("C").board
            looks += 1
        if looks == 20:
            looked.set()
        return tuple(PortInfo(name, name, "") for name in sockets)

    plan = Plan(ORDER, once=True, look_s=0.001)
    watch = PortWatch(world.station, lambda port: opened(sockets[port]), look, plan)
    watching = asyncio.create_task(watch.run())
    async with asyncio.timeout(20):
        await looked.wait()
        gate.open.set()
        await watching
    assert [result.chip_id for result in world.progress.results] == ["A", "B"]


async def test_once_waits_for_a_board_whose_port_is_away_for_a_moment() -> None:
    """A chip on USB takes its port along when it resets, also on its way."""
    world = AgentWorld()
    sockets = {"port-0": world.board("A"), "port-1": world.board("B")}
    gate = sockets["port-1"].gates["install"] = Gate()
    looks = 0

    def look() -> tuple[PortInfo, ...]:
        nonlocal looks
        away = [result.chip_id for result in world.progress.results] == ["A"]
        looks += away
        if looks == 20:
            gate.open.set()
        return tuple(PortInfo(name, name, "") for name in sockets if not (away and name == "port-1"))

    plan = Plan(ORDER, once=True, look_s=0.001, stop_s=0.0)
    watch = PortWatch(world.station, lambda port: opened(sockets[port]), look, plan)
    async with asyncio.timeout(20):
        await watch.run()
    assert {result.chip_id: result.outcome for result in world.progress.results} == {
        "A": Outcome.PASS,
        "B": Outcome.PASS,
    }


async def test_port_that_vanishes_while_ports_are_listed() -> None:
    world = AgentWorld()
    failures = [LineError("port_gone", "vanished")] * 3

    def look() -> tuple[PortInfo, ...]:
        if failures:
            raise failures.pop()
        return (PORT,)

    watch = PortWatch(
        world.station, lambda _port: opened(world.board("A")), look, Plan(ORDER, boards=1, look_s=0.001)
    )
    async with asyncio.timeout(20):
        await watch.run()
    assert [result.outcome for result in world.progress.results] == [Outcome.PASS]


def test_what_pyserial_raises_of_a_vanished_port_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished() -> object:
        return int(None, 16)  # type: ignore[call-overload]  # as pyserial does with a sysfs file that is gone

    monkeypatch.setattr(pyserial_ports, "comports", vanished)
    with pytest.raises(LineError, match="vanished"):
        list_ports()


async def test_driver_that_raises_anything_is_shown_and_tried_again() -> None:
    world = AgentWorld()
    board = world.board("A")
    faults: list[Exception] = [RuntimeError("of another package")]

    @asynccontextmanager
    async def open_driver(_port: str) -> AsyncIterator[Driver]:
        if faults:
            raise faults.pop()
        yield board

    watch = PortWatch(world.station, open_driver, lambda: (PORT,), Plan(ORDER, boards=1, look_s=0.001))
    async with asyncio.timeout(20):
        await watch.run()
    (said,) = (event[2] for event in world.progress.events if event[0] == "waiting")
    assert said.startswith("the driver failed with RuntimeError. Try another board.")
    assert "agent.log" in said
    assert [result.outcome for result in world.progress.results] == [Outcome.PASS]


async def test_result_that_is_known_is_told_even_when_the_end_comes_meanwhile() -> None:
    world = AgentWorld()
    board = world.board("A")
    board.before["install"] = [BoardError("storage_full", "no room")]
    finishing, on = asyncio.Event(), asyncio.Event()
    finish = world.journal.finish

    async def slow(run: int, result: Result) -> None:
        finishing.set()
        await on.wait()
        await finish(run, result)

    world.journal.finish = slow  # type: ignore[method-assign]
    working = asyncio.create_task(world.provision(board))
    await finishing.wait()
    working.cancel()
    on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert [result.code for result in world.progress.results] == ["storage_full"]
    assert world.journal.runs[1].outcome is Outcome.FAIL
