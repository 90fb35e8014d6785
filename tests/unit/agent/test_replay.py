"""A run that was recorded ends in the same verdict when it is replayed."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.log_keys import LogKey, parse_witnesses
from agent.core.recipe import StepName
from agent.core.result import Outcome, Result
from agent.errors import BoardError, LabelError, LineError, Refused, SignerBusy, SignerUnavailable
from agent.recording import dumped, loaded
from agent.replay import RecordingError, Replayed, read_recording, replay
from harness.agent_world import AgentWorld, Gate
from harness.paper_chip import ChipDriver, bundle, paper_chip, whole_recipe
from harness.paper_company import PaperCompany
from harness.paper_witness import PaperWitness

AWAY = SignerUnavailable("does not answer")
SILENT = LineError("no_answer", "a weak supply")
# Failures of the board, of signerd, of the printer: what is raised, and how often.
TROUBLES: dict[str, dict[str, list[Any]]] = {
    "nothing": {},
    "a board that is silent once": {"install": [SILENT]},
    "a board that stays silent": {"seal": [SILENT] * 20},
    "a full store": {"configure": [BoardError("storage_full", "no room")]},
    "a driver of others": {"flash": [ZeroDivisionError()]},
    "a program's exit": {"locks": [SystemExit(2)]},
    "signerd away for a while": {"open_session": [AWAY] * 3},
    "signerd away": {"sign_csr": [AWAY] * 100},
    "signerd busy": {"sign_csr": [SignerBusy(2.0), SignerBusy(3.0)]},
    "signerd refuses": {"sign_csr": [Refused("quantity_used_up")]},
    "a session forgotten": {"sign_csr": [Refused("session_unknown")]},
    "a stamp that waits": {"record_stamp": [AWAY] * 100},
    "a stamp refused": {"record_stamp": [Refused("stamp_conflict")]},
    "no paper": {"put": [LabelError("printer", "no paper")]},
}
SIGNERS = {"open_session", "sign_csr", "record_stamp"}


class Recorder:
    def __init__(self, world: AgentWorld) -> None:
        self.kept: list[tuple[int, Outcome, bytes]] = []
        world.station = replace(world.station, keep_recording=lambda *kept: self.kept.append(kept))


def new_world(*, board_retries: int = 0) -> AgentWorld:
    order = tuple(StepName)
    world = AgentWorld(recipe=whole_recipe(order=order), bundle=bundle(), board_retries=board_retries)
    world.company.required_locks = ("debug_closed",)
    return world


def troubled(world: AgentWorld, chip: ChipDriver, trouble: dict[str, list[Any]]) -> None:
    for call, raised in trouble.items():
        if call in SIGNERS:
            world.company.before[call] = list(raised)
        elif call == "put":
            world.labels.before = list(raised)
        else:
            chip.before[call] = list(raised)


async def replayed(data: bytes) -> Replayed:
    return await asyncio.wait_for(replay(read_recording(data)), 20)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_same_verdict(trouble: str, retries: int) -> None:
    world, chip = new_world(board_retries=retries), paper_chip()
    recorder = Recorder(world)
    troubled(world, chip, TROUBLES[trouble])
    result = await world.provision(chip)
    again = await world.provision(chip)  # the board is presented once more
    assert [outcome for _run, outcome, _data in recorder.kept] == [result.outcome, again.outcome]
    for first, (_run, _outcome, data) in zip((result, again), recorder.kept, strict=True):
        found = await replayed(data)
        assert found.differences == ()
        assert verdict(found.result) == verdict(first)


def verdict(result: Result) -> tuple[object, ...]:
    return result.outcome, result.step, result.code, result.detail, result.remedy, result.serial_number


@given(
    st.sampled_from(["identify", "flash", "keygen", "request", "install", "stamp", "seal", "pop"]), st.data()
)
async def test_stopped_in_any_call(call: str, data: st.DataObject) -> None:
    nth = data.draw(st.integers(1, 3))
    world, chip = new_world(), paper_chip()
    recorder, gate, enter = Recorder(world), Gate(), chip._enter

    wanted = call

    async def held(call: str) -> None:
        await enter(call)
        if call == wanted and chip.calls.count(call) == nth:
            gate.arrived.set()
            await gate.open.wait()

    chip._enter = held  # type: ignore[method-assign]
    running = asyncio.create_task(world.provision(chip))
    arrived = asyncio.create_task(gate.arrived.wait())
    await asyncio.wait({running, arrived}, return_when=asyncio.FIRST_COMPLETED)
    arrived.cancel()
    if not running.done():
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    for _run, outcome, kept in recorder.kept:
        found = await replayed(kept)
        assert (found.differences, found.result.outcome) == ((), outcome)


@pytest.mark.parametrize("other", ["CHIP-2", "CHIP-1"])
async def test_other_ports_change_nothing_of_a_recorded_run(other: str) -> None:
    """A board begins first of all; the next one, or its twin, is finished before it goes on."""
    world = AgentWorld()
    recorder, begin, gate = Recorder(world), world.journal.begin, Gate()

    async def held(port: str, work_order: str, chip_id: str) -> int:
        if port == "port-1":
            gate.arrived.set()
            await gate.open.wait()
        return await begin(port, work_order, chip_id)

    world.journal.begin = held  # type: ignore[method-assign]
    first = asyncio.create_task(world.provision(world.board("CHIP-1"), port="port-1"))
    await gate.arrived.wait()
    second = await world.provision(world.board(other), port="port-2")
    gate.open.set()
    results = [second, await first]
    assert results[1].outcome is Outcome.PASS
    for result, (_run, _outcome, data) in zip(results, recorder.kept, strict=True):
        found = await replayed(data)
        assert (found.differences, verdict(found.result)) == ((), verdict(result))


async def test_a_step_whose_time_ran_out() -> None:
    world, chip = new_world(), paper_chip()
    recipe = world.station.recipe
    short = tuple(
        replace(step, timeout_s=0.05, retries=0) if step.name is StepName.INSTALL else step
        for step in recipe.steps
    )
    world.station = replace(world.station, recipe=replace(recipe, steps=short))
    recorder, enter = Recorder(world), chip._enter

    async def held(call: str) -> None:
        await enter(call)
        if call == "install":
            await asyncio.Event().wait()

    chip._enter = held  # type: ignore[method-assign]
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.FAIL, "step_timeout")
    found = await replayed(recorder.kept[0][2])
    assert (found.differences, verdict(found.result)) == ((), verdict(result))


async def recording(trouble: str = "nothing") -> list[dict[str, Any]]:
    world, chip = new_world(), paper_chip()
    recorder = Recorder(world)
    troubled(world, chip, TROUBLES[trouble])
    await world.provision(chip)
    return [json.loads(line) for line in recorder.kept[0][2].splitlines()]


def joined(lines: list[Any]) -> bytes:
    return b"\n".join(json.dumps(line).encode() for line in lines)


def calls(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line["call"] for line in lines if line.get("call", {}).get("call") == name]


async def test_a_recording_holds_no_code() -> None:
    world, chip = new_world(), paper_chip()
    recorder = Recorder(world)
    await world.provision(chip)
    pop = chip.board.pop()
    assert pop is not None
    data = recorder.kept[0][2]
    assert pop[0].encode() not in data
    assert world.labels.printed[0].code == pop[0]
    assert len(calls([json.loads(line) for line in data.splitlines()], "pop")) == 1


async def test_the_verdict_is_decided_anew() -> None:
    """A recording whose board answers otherwise ends otherwise, whatever result stands in it."""
    lines = await recording()
    calls(lines, "locks")[-1]["answer"] = {"debug_closed": False}
    found = await replayed(joined(lines))
    assert (found.result.outcome, found.result.code) == (Outcome.FAIL, "verify_differs")
    assert not found.same


async def test_a_forged_stamp_in_a_recording_does_not_pass() -> None:
    lines = await recording()
    stamp = calls(lines, "stamp")[-1]["answer"]
    stamp["signature"] = stamp["signature"][:-8] + "AAAAAA=="
    found = await replayed(joined(lines))
    assert (found.result.outcome, found.same) == (Outcome.FAIL, False)


async def test_a_call_that_is_not_asked_any_more_is_said() -> None:
    lines = await recording()
    extra = json.loads(json.dumps(calls(lines, "locks")[0]))
    lines.insert(3, {"call": extra})
    found = await replayed(joined(lines))
    assert not found.same


async def test_a_call_without_a_recorded_answer_is_said() -> None:
    lines = await recording()
    lines = [line for line in lines if line.get("call", {}).get("call") != "locks"]
    found = await replayed(joined(lines))
    assert "board.locks is asked once more than when it was recorded" in found.differences


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"{}\n{}",
        b"\xff\n",
        b"[]\n[]\n",
        b"[" * 100_000,
        b'{"basis":{"form":2}}\n{"result":{}}\n',
        b'{"basis":{"form":1}}\n{"result":{}}\n',
        b"x" * (2 << 20),
    ],
)
def test_what_is_no_recording(data: bytes) -> None:
    with pytest.raises(RecordingError):
        read_recording(data)


async def test_what_is_wrong_with_a_recording_is_said_with_its_line() -> None:
    lines = await recording()
    assert isinstance(read_recording(b"\xef\xbb\xbf" + joined(lines)).result, Result)
    other = {**lines[0], "basis": {**lines[0]["basis"], "work_order": 7}}
    for wrong, said in (
        ([], "it is no recording: its first line is not the basis of a run"),
        (lines[1:], "it is no recording: its first line is not the basis of a run"),
        (lines[:-1], "it was cut: its last line is not the run's result"),
        ([lines[0], {}, *lines[1:]], "line 2 is none of a recording"),
        ([lines[0], *lines], "line 2 does not belong where it stands"),
        ([other, *lines[1:]], "line 1: work_order: must be a text in quotes"),
    ):
        with pytest.raises(RecordingError, match=f"^{re.escape(said)}$"):
            read_recording(joined(wrong))
    with pytest.raises(RecordingError, match="line 2 is no JSON, or was cut"):
        read_recording(joined(lines[:2])[:-9])


@given(st.data())
async def test_a_recording_that_was_altered_anywhere(data: st.DataObject) -> None:
    lines = await recording("a full store")
    text = bytearray(joined(lines))
    for _ in range(data.draw(st.integers(1, 3))):
        text[int(data.draw(st.floats(0, 0.9999)) * len(text))] = data.draw(st.integers(0, 255))
    try:
        found = await replayed(bytes(text[: int(len(text) * data.draw(st.floats(0.5, 1)))]))
    except RecordingError:
        return
    assert isinstance(found.result, Result)


def test_a_recording_keeps_the_witnesses_that_were_demanded() -> None:
    key = PaperCompany().trust.log_key
    asked = replace(key, cosigners=parse_witnesses(PaperWitness().vkey, 1))
    assert loaded(LogKey, dumped(LogKey, asked)) == asked
    of_before = {name: value for name, value in dumped(LogKey, key).items() if name != "cosigners"}
    assert loaded(LogKey, of_before) == key
