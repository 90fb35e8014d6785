"""Watching ports: what is put on one is taken, what was taken is left alone, and everything ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.adapters.line.watch import Plan
from agent.adapters.signer.outbox import OutboxSender
from agent.core.events import BoardSeen, Finished, StampSettled
from agent.core.recipe import StepName, default_recipe
from agent.core.remedies import error_for
from agent.core.result import Outcome, Result
from agent.errors import BoardError, JournalError, LineError, SignerUnavailable
from agent.ports import PortInfo
from harness.agent_world import ORDER, SMP_STEPS, Gate
from harness.watch_bench import Bench

AWAY = SignerUnavailable("the line is down")


def outcomes(results: list[Result]) -> dict[str, Outcome]:
    return {result.chip_id: result.outcome for result in results}


async def test_boards_on_all_ports() -> None:
    bench = Bench("A", "B", "C")
    assert outcomes(await bench.run()) == dict.fromkeys("ABC", Outcome.PASS)
    assert bench.tally.all_passed


async def test_no_port_waits_for_another() -> None:
    bench = Bench("A", "B")
    gate = bench.sockets["port-0"].gates["install"] = Gate()

    def open_gate(_looks: int) -> None:
        if any(result.chip_id == "B" for result in bench.world.progress.results):
            gate.open.set()

    bench.sockets["port-1"].on_look = open_gate
    assert outcomes(await bench.run()) == dict.fromkeys("AB", Outcome.PASS)
    assert [result.chip_id for result in bench.world.progress.results] == ["B", "A"]


async def test_port_that_is_plugged_in_later() -> None:
    bench = Bench("A", "B")
    bench.present = ["port-0"]
    bench.sockets["port-0"].on_look = lambda looks: bench.present.append("port-1") if looks == 11 else None
    assert set(outcomes(await bench.run())) == {"A", "B"}


async def test_finished_board_is_left_alone() -> None:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    bench.sockets["port-0"].on_look = lambda looks: bench.stop() if looks == 11 else None
    assert len(await bench.run()) == 1


async def test_next_board_on_the_same_port() -> None:
    bench = Bench("A", plan=Plan(ORDER, boards=2, look_s=0.001))
    socket = bench.sockets["port-0"]

    def exchange(looks: int) -> None:
        if looks == 8:
            socket.board = bench.world.board("B").board

    socket.on_look = exchange
    assert outcomes(await bench.run()) == dict.fromkeys("AB", Outcome.PASS)


async def test_same_board_taken_out_and_put_in_again() -> None:
    bench = Bench("A", plan=Plan(ORDER, boards=2, look_s=0.001))
    socket = bench.sockets["port-0"]

    def take_out(looks: int) -> None:
        if looks == 8:
            socket.before["present"] = [LineError("no_answer", "nothing there")] * 2
            socket.before["identify"] = [LineError("no_answer", "nothing there")]

    socket.on_look = take_out
    results = await bench.run()
    assert [result.outcome for result in results] == [Outcome.PASS] * 2
    assert len(bench.world.company.boards) == 1


async def test_board_that_restarts_after_its_seal_is_not_a_new_one() -> None:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    socket = bench.sockets["port-0"]

    def restart(looks: int) -> None:
        if looks == 8:
            socket.before["present"] = [LineError("no_answer", "starting")]
        if looks == 13:
            bench.stop()

    socket.on_look = restart
    assert len(await bench.run()) == 1


async def test_port_that_cannot_be_opened_is_tried_again() -> None:
    bench = Bench("A")
    bench.open_errors["port-0"] = [LineError("port_busy", "another program has it")] * 3
    assert outcomes(await bench.run()) == {"A": Outcome.PASS}
    assert ("waiting", "port-0", "another program has it") in bench.world.progress.events


async def test_once_is_one_board_a_port() -> None:
    bench = Bench("A", "B", plan=Plan(ORDER, once=True, look_s=0.001))
    assert set(outcomes(await bench.run())) == {"A", "B"}


async def test_parked_board_is_taken_up_again() -> None:
    bench = Bench("A")
    bench.world.company.before["sign_csr"] = [AWAY] * 20
    assert outcomes(await bench.run()) == {"A": Outcome.PASS}
    assert bench.tally.all_passed
    assert len(bench.world.progress.results) == 2


async def test_order_that_is_full_stops_the_line() -> None:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    bench.world.company.before["open_session"] = [error_for("order_full")]
    (result,) = await bench.run()
    assert (result.outcome, result.code) == (Outcome.FAIL, "order_full")
    assert not bench.tally.all_passed


async def test_journal_that_fails_stops_the_station() -> None:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    bench.world.journal.before["begin"] = [JournalError("disk full")]
    assert await bench.run() == []
    assert isinstance(bench.watch.fault, JournalError)


@pytest.mark.parametrize(("stop_s", "outcome"), [(20.0, Outcome.PASS), (0.0, Outcome.PARKED)])
async def test_boards_under_way_when_told_to_stop(stop_s: float, outcome: Outcome) -> None:
    bench = Bench("A", plan=Plan(ORDER, stop_s=stop_s, look_s=0.001))
    gate = bench.sockets["port-0"].gates["install"] = Gate()
    running = asyncio.create_task(bench.run())
    await gate.arrived.wait()
    bench.stop()
    if outcome is Outcome.PASS:
        gate.open.set()
    assert outcomes(await running) == {"A": outcome}
    assert bench.world.journal.runs[1].outcome is outcome


@pytest.mark.parametrize("between", [0, 1, 5])
async def test_told_twice_it_waits_for_no_board(between: int) -> None:
    """Also when the second signal comes before the first has taken effect; `between`: turns of the loop."""
    bench = Bench("A", plan=Plan(ORDER, stop_s=3_600.0, look_s=3_600.0))
    gate = bench.sockets["port-0"].gates["install"] = Gate()
    watching = asyncio.create_task(bench.watch.run())
    await gate.arrived.wait()
    bench.stop()
    for _turn in range(between):
        await asyncio.sleep(0)
    watching.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([watching])
    assert watching.cancelled()
    assert outcomes(bench.world.progress.results) == {"A": Outcome.PARKED}


@pytest.mark.parametrize(("code", "outcome"), [("", Outcome.PASS), ("stamp_conflict", Outcome.FAIL)])
async def test_outbox_changes_the_verdict_of_a_parked_board(code: str, outcome: Outcome) -> None:
    bench = Bench("A")
    bench.world.company.before["record_stamp"] = [AWAY] * 100
    assert outcomes(await bench.run()) == {"A": Outcome.PARKED}
    assert not bench.tally.all_passed
    bench.world.company.before["record_stamp"] = [error_for(code)] if code else []
    await OutboxSender(bench.station).flush()
    summary = bench.tally.summary()
    assert (summary.passed, summary.failed, summary.parked) == ((0, 1, 0) if code else (1, 0, 0))
    assert summary.codes == ({code: 1} if code else {})
    assert bench.tally.all_passed is (outcome is Outcome.PASS)


# ports with places, boards with labels, boards that are taken again


async def test_place_on_the_line_is_shown_instead_of_the_port() -> None:
    bench = Bench("A", "B", plan=Plan(ORDER, boards=2, look_s=0.001, places={"port-0": "left"}))
    results = await bench.run()
    assert {result.chip_id: result.port for result in results} == {"A": "left", "B": "port-1"}
    assert {run.port for run in bench.world.journal.runs.values()} == {"left", "port-1"}
    assert {event[1] for event in bench.world.progress.named("step_started")} == {"left", "port-1"}


async def test_finished_board_is_only_asked_whether_it_is_there() -> None:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    socket = bench.sockets["port-0"]

    def stop(_looks: int) -> None:
        if socket.calls.count("present") == 10:
            bench.stop()

    socket.on_look = stop
    assert len(await bench.run()) == 1
    after = socket.calls[socket.calls.index("present") :]
    assert set(after) == {"present"}


async def test_failed_board_that_hangs_is_not_taken_over_and_over() -> None:
    """It answers no look, and is found all the same when the chip itself is asked."""
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    socket = bench.sockets["port-0"]
    socket.before["install"] = [BoardError("storage_full", "no room")]
    socket.before["present"] = [LineError("no_answer", "hangs")] * 1000

    def stop(_looks: int) -> None:
        if socket.calls.count("present") > 20:
            bench.stop()

    socket.on_look = stop
    (result,) = await bench.run()
    assert result.code == "storage_full"


@pytest.mark.parametrize(("looks", "results"), [(5, 1), (6, 2)])
async def test_finished_board_whose_port_is_away_for_a_moment_is_left_alone(looks: int, results: int) -> None:
    """A chip on USB takes its port along when it resets; a board that was lifted is away for longer."""
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    socket = bench.sockets["port-0"]
    opened_before = 0
    away = 0

    def list_ports() -> tuple[PortInfo, ...]:
        nonlocal away, opened_before
        if bench.world.progress.results and away < looks:
            away += 1
            opened_before = bench.opened
            return ()
        enough = len(bench.world.progress.results) == results and socket.calls[-2:] == ["present"] * 2
        if away == looks and bench.opened > opened_before and enough:
            bench.stop()
        return bench._list()

    bench.watch._list_ports = list_ports
    assert len(await bench.run()) == results


async def test_board_whose_port_vanished_on_its_way_is_taken_when_it_is_back() -> None:
    bench = Bench("A", plan=Plan(ORDER, boards=2, look_s=0.001))
    bench.sockets["port-0"].before["install"] = [LineError("port_gone", "pulled out")] * 3
    assert [result.code for result in await bench.run()] == ["port_gone", ""]


async def test_board_that_is_taken_again_has_one_result() -> None:
    bench = Bench("A")
    bench.station = replace(bench.station, board_retries=1)
    bench.watch._station = bench.station
    bench.sockets["port-0"].before["seal"] = [LineError("no_answer", "a loose needle")] * 3
    assert outcomes(await bench.run()) == {"A": Outcome.PASS}
    assert bench.tally.summary().boards == 1


async def test_board_whose_stamp_waits_is_taken_up_again_for_its_label() -> None:
    bench = Bench("A")
    bench.sockets["port-0"].board = bench.world.board("A", pop=True).board
    bench.station = replace(
        bench.station, recipe=default_recipe(SMP_STEPS | {StepName.LABEL}), labels=bench.world.labels
    )
    bench.watch._station = bench.station
    bench.world.company.before["record_stamp"] = [AWAY] * 8
    results = await bench.run()
    assert [result.outcome for result in results] == [Outcome.PARKED, Outcome.PASS]
    assert len(bench.world.labels.printed) == 1
    assert bench.tally.summary().boards == bench.tally.summary().passed == 1


async def test_board_that_comes_back_for_its_label_is_counted_once() -> None:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.001))
    parked = Outcome.PARKED
    result = Result("p", ORDER, "A", "BM-1", "aa", parked, "record", "signer_unavailable", "", "", 1.0, ())
    bench.tally(Finished(result))
    bench.tally(StampSettled(ORDER, "A", "BM-1", ""))
    assert bench.tally.summary().passed == 1
    bench.tally(BoardSeen("p", "A"))
    bench.tally(Finished(replace(result, outcome=Outcome.PASS, code="")))
    assert (bench.tally.summary().boards, bench.tally.summary().passed) == (1, 1)
    bench.tally(Finished(replace(result, outcome=Outcome.PASS, code="")))  # a third time
    assert bench.tally.summary().passed == 2


@pytest.mark.parametrize("call", ["identify", "present"])
async def test_driver_that_would_end_the_program_harms_no_other_port(call: str) -> None:
    bench = Bench("A", "B", plan=Plan(ORDER, look_s=0.001))
    left = bench.sockets["port-0"].before[call] = [SystemExit(2)]  # type: ignore[list-item]

    def stop(_looks: int) -> None:
        if not left and len(bench.world.progress.results) == 2:
            bench.stop()

    bench.sockets["port-1"].on_look = stop
    assert {result.chip_id for result in await bench.run()} == {"A", "B"}


async def test_look_that_never_ends_is_bounded() -> None:
    bench = Bench("A")
    steps = tuple(replace(step, timeout_s=0.01) for step in bench.station.recipe.steps[:1])
    recipe = replace(bench.station.recipe, steps=steps + bench.station.recipe.steps[1:])
    bench.station = replace(bench.station, recipe=recipe)
    bench.watch._station = bench.station
    socket = bench.sockets["port-0"]
    gate = socket.gates["identify"] = Gate()
    socket.on_look = lambda looks: gate.open.set() if looks == 3 else None
    assert outcomes(await bench.run()) == {"A": Outcome.PASS}
