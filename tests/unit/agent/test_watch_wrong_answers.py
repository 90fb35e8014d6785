"""A board that answers and does not say who it is fails once; a state that lasts a shift is said once."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from agent.adapters.line.watch import Plan
from agent.adapters.shown.json_lines import JsonLines
from agent.core.events import BoardSeen, Event, PortReady, StepProgress, Waiting
from agent.core.result import Outcome
from agent.core.said_once import SaidOnce
from agent.errors import BoardError, LineError
from harness.agent_world import ORDER
from harness.watch_bench import Bench

NO_GROUP = BoardError("no_group", "SMP itself answered error 8", remedy="flash the manufacturing firmware")
BAD_HELLO = BoardError("bad_answer", "the board's hello answer: 'buf' is missing", remedy="wrong firmware")
NO_FIRMWARE = BoardError("no_firmware", "a chip starts here", retryable=True, remedy="try another board")
NOTHING = LineError("no_answer", "nothing there")
FOREVER = 10_000
SHIFT = 57_600  # looks in eight hours


def bench_with(answers: Sequence[BaseException], *, looks: int, once: bool = False) -> Bench:
    bench = Bench("A", plan=Plan(ORDER, look_s=0.0, once=once))
    socket = bench.sockets["port-0"]
    socket.before["identify"] = list(answers)  # type: ignore[arg-type]
    socket.on_look = lambda seen: bench.stop() if seen == looks else None
    return bench


@pytest.mark.parametrize("answer", [NO_GROUP, BAD_HELLO], ids=["no group 83", "a hello that lacks a field"])
async def test_board_that_does_not_say_who_it_is_fails_once_until_it_is_lifted(answer: BoardError) -> None:
    bench = bench_with([answer] * FOREVER, looks=40)
    (result,) = await bench.run()
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, answer.code, "identify")
    assert result.remedy
    assert [run.outcome for run in bench.world.journal.runs.values()] == [Outcome.FAIL]


@pytest.mark.parametrize("fault", [KeyError("serial"), SystemExit(2)], ids=["KeyError", "SystemExit"])
async def test_board_at_which_the_driver_fails_fails_once_until_it_is_lifted(fault: BaseException) -> None:
    """With a row, a remedy that says where the traceback is, and nothing that waits over its verdict."""
    bench = bench_with([fault] * 5 + [NOTHING] * 4 + [fault] * FOREVER, looks=40)
    results = await bench.run()
    assert [(result.outcome, result.code, result.step) for result in results] == [
        (Outcome.FAIL, "driver_fault", "identify")
    ] * 2
    assert type(fault).__name__ in results[0].detail
    assert "agent.log" in results[0].remedy
    assert [run.outcome for run in bench.world.journal.runs.values()] == [Outcome.FAIL] * 2
    assert not [event for event in bench.world.progress.events if event[0] == "waiting"]
    assert bench.opened > 2  # in what state the driver is, nobody knows


async def test_driver_that_fails_once_fails_no_board() -> None:
    bench = bench_with([KeyError("serial")] * 2, looks=20)
    assert [(result.outcome, result.chip_id) for result in await bench.run()] == [(Outcome.PASS, "A")]


async def test_driver_that_fails_beside_a_finished_board_says_nothing_of_it() -> None:
    """It was asked whether the board is still there: who is, `identify` says."""
    bench = bench_with([], looks=40)
    bench.sockets["port-0"].before["present"] = [KeyError("serial")] * FOREVER
    assert [result.code for result in await bench.run()] == [""]
    assert not [event for event in bench.world.progress.events if event[0] == "waiting"]


async def test_after_it_was_lifted_the_next_one_fails_again() -> None:
    bench = bench_with([NO_GROUP] * 5 + [NOTHING] * 2 + [NO_GROUP] * FOREVER, looks=40)
    assert [result.code for result in await bench.run()] == ["no_group"] * 2


async def test_one_lost_answer_does_not_lift_it() -> None:
    bench = bench_with([NO_GROUP] * 5 + [NOTHING] + [NO_GROUP] * FOREVER, looks=40)
    assert len(await bench.run()) == 1


async def test_bootloader_that_answers_for_a_moment_is_no_failure() -> None:
    bench = bench_with([NO_GROUP] * 2, looks=20)
    (result,) = await bench.run()
    assert (result.outcome, result.chip_id) == (Outcome.PASS, "A")


async def test_good_board_after_a_wrong_one_is_taken() -> None:
    bench = bench_with([NO_GROUP] * 5, looks=30)
    assert [result.outcome for result in await bench.run()] == [Outcome.FAIL, Outcome.PASS]


async def test_once_ends_with_the_failure() -> None:
    bench = bench_with([NO_GROUP] * FOREVER, looks=FOREVER, once=True)
    assert [result.code for result in await bench.run()] == ["no_group"]


@pytest.mark.parametrize(("lifted", "codes"), [(False, [""]), (True, ["", "no_firmware"])])
async def test_finished_board_that_is_heard_and_answers_no_more_keeps_its_verdict(
    lifted: bool, codes: list[str]
) -> None:
    """It may sleep, or hang. One that comes after it, into a place that was empty, has its own."""
    bench = bench_with([], looks=0)
    socket = bench.sockets["port-0"]
    silent_since: list[int] = []

    def falls_silent(looks: int) -> None:
        if bench.world.progress.results and not silent_since:
            silent_since.append(looks)
            socket.before["present"] = [NOTHING] * FOREVER
            socket.before["identify"] = [NOTHING] * 2 * lifted + [NO_FIRMWARE] * FOREVER
        if silent_since and looks == silent_since[0] + 40:
            bench.stop()

    socket.on_look = falls_silent
    assert [result.code for result in await bench.run()] == codes
    assert len(socket.before["identify"]) < FOREVER - 2, "it was asked"


@pytest.mark.parametrize("stands", ["wrong firmware", "busy port", "empty"])
async def test_lines_of_a_shift_do_not_grow_with_its_hours(stands: str) -> None:
    """What stands on the ports stays the same: eight hours say what a minute says."""
    lines = []
    for looks in (120, SHIFT // 16):
        answers: list[BoardError | LineError] = [NO_GROUP if stands == "wrong firmware" else NOTHING] * looks
        bench = bench_with(answers, looks=looks)
        if stands == "busy port":
            bench.open_errors["port-0"] = [LineError("port_busy", "another program has it")] * looks
        stream = io.StringIO()
        bench.world.progress.also = JsonLines(stream)
        await bench.run()
        lines.append(stream.getvalue().count("\n"))
    assert lines[0] == lines[1] <= 3


def test_a_state_is_said_again_after_something_else() -> None:
    said: list[Event] = []
    progress = SaidOnce(said.append)
    busy, other = Waiting("1", "busy"), Waiting("2", "busy")
    for event in (busy, busy, other, StepProgress("1", "flash", 1, 2), busy, PortReady("1"), PortReady("1")):
        progress(event)
    assert said == [busy, other, StepProgress("1", "flash", 1, 2), PortReady("1")]
    for following in (busy, BoardSeen("1", "A"), busy):
        progress(following)
    assert said[4:] == [busy, BoardSeen("1", "A"), busy]
