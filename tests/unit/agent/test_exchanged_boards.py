"""Boards that are exchanged by hand while one is under way, and boards that claim to be done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.adapters.signer.outbox import OutboxSender
from agent.core.remedies import error_for
from agent.core.result import Outcome
from agent.errors import LineError, SignerUnavailable
from agent.ports import Found, OnProgress
from agent.provision import provision
from harness.agent_world import ORDER, AgentWorld, MemoryDriver, opened


@pytest.mark.parametrize("step", ["install", "configure", "seal"])
async def test_another_board_is_neither_written_nor_sealed(step: str) -> None:
    world = AgentWorld()
    board, other = world.board("A"), world.board("B").board
    original = board._enter

    async def exchange(call: str) -> None:
        await original(call)
        before = {"install": "request", "configure": "install", "seal": "configure"}[step]
        if call == "identify" and before in board.calls:
            board.board = other

    board._enter = exchange  # type: ignore[method-assign]
    result = await world.provision(board)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "chip_changed", step)
    assert not other.sealed
    assert step not in board.calls
    assert other.storage.get("credential") is other.storage.get("config") is None


class Reopened(MemoryDriver):
    """Its seal answers nothing once, and another board is behind the port when it is tried again."""

    def __init__(self, world: AgentWorld) -> None:
        super().__init__(world.board("A").board)
        self.other = world.board("B").board
        self.before["seal"] = [LineError("port_gone", "unplugged")]

    async def seal(self, on_progress: OnProgress | None = None) -> None:
        try:
            await super().seal(on_progress)
        except LineError:
            self.board = self.other
            raise


async def test_the_chip_is_asked_for_at_each_try() -> None:
    world = AgentWorld()
    board = Reopened(world)
    assert (await world.provision(board)).code == "chip_changed"
    assert not board.other.sealed


async def test_stamped_board_whose_seal_is_open_does_not_pass_unsealed() -> None:
    world = AgentWorld()
    board = world.board("A")
    assert (await world.provision(board)).outcome is Outcome.PASS
    original = board.identify

    async def unsealed() -> Found:
        found = await original()
        assert found.board is not None
        return replace(found, board=replace(found.board, sealed=False))

    board.identify = unsealed  # type: ignore[method-assign]
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "verify_differs")


async def test_driver_that_raises_anything_at_its_first_word_ends_one_board() -> None:
    world = AgentWorld()
    board = world.board("A")
    board.before["identify"] = [RuntimeError("of another package")]
    result = await provision(world.station, "port-1", opened(board), ORDER)
    assert (result.outcome, result.code) == (Outcome.FAIL, "driver_fault")


@pytest.mark.parametrize("code", ["peer_revoked", "unauthenticated", "internal", "unknown", "unimplemented"])
async def test_refusal_of_the_station_leaves_the_stamp_in_the_outbox(code: str) -> None:
    world = AgentWorld()
    away = SignerUnavailable("the line is down")
    world.company.before["record_stamp"] = [away] * 100
    assert (await world.provision(world.board("A"))).outcome is Outcome.PARKED
    world.company.before["record_stamp"] = [error_for(code)]
    assert await OutboxSender(world.station).flush() == 1
    assert not world.journal.refused
    assert await OutboxSender(world.station).flush() == 0
    assert world.journal.runs[1].outcome is Outcome.PASS


async def test_board_that_failed_for_a_fault_of_signerd_passes_when_its_stamp_is_recorded() -> None:
    world = AgentWorld()
    world.company.before["record_stamp"] = [error_for("internal")]
    result = await world.provision(world.board("A"))
    assert (result.outcome, result.code) == (Outcome.FAIL, "internal")
    assert await OutboxSender(world.station).flush() == 0
    assert world.journal.runs[1].outcome is Outcome.PASS
