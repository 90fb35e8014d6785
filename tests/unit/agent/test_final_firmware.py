"""A board passes with the firmware of the station's bundle and closed silicon, whatever it says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.result import Outcome
from agent.ports import BoardStamp, OnProgress
from harness.agent_world import AgentWorld
from harness.paper_chip import ChipDriver, Stage, bundle, paper_chip, whole_recipe


def new_world(*, challenge: bool = True) -> AgentWorld:
    world = AgentWorld(recipe=whole_recipe(challenge=challenge), bundle=bundle())
    world.company.bundle_sha256 = bundle().digest
    world.company.required_locks = ("debug_closed",)
    return world


@pytest.fixture
def world() -> AgentWorld:
    return new_world()


@pytest.fixture
def chip() -> ChipDriver:
    return paper_chip()


def running(chip: ChipDriver, firmware: dict[str, tuple[str, bytes]]) -> None:
    chip.board.model = replace(chip.board.model, firmware=firmware)


@pytest.mark.parametrize(
    "firmware",
    [
        {"app": ("1.4.0", bytes(31) + b"\x01")},
        {"app": ("1.3.0", bytes(32))},
        {"app": ("1.4.0", bytes(32)), "manufacturing": ("1.0.0", bytes(32))},
        {},
    ],
    ids=["digest", "version", "manufacturing", "none"],
)
async def test_other_firmware_after_the_first_boot_gets_no_stamp(
    world: AgentWorld, chip: ChipDriver, firmware: dict[str, tuple[str, bytes]]
) -> None:
    original = chip.first_boot

    async def fell_back(on_progress: OnProgress | None = None) -> None:
        await original(on_progress)
        running(chip, firmware)

    chip.first_boot = fell_back  # type: ignore[method-assign]
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "firmware_differs", "verify")
    assert "record_stamp" not in world.company.calls
    assert world.labels.printed == []


async def test_a_stamp_that_names_other_firmware_than_the_hello_is_not_sent(chip: ChipDriver) -> None:
    world = new_world(challenge=False)
    original = chip.stamp

    async def says_otherwise(challenge: bytes) -> BoardStamp:
        running(chip, {"app": ("9.9.9", bytes(32))})
        return await original(challenge)

    chip.stamp = says_otherwise  # type: ignore[method-assign]
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "firmware_differs", "stamp")
    assert "record_stamp" not in world.company.calls


async def test_a_stamped_board_that_came_back_in_its_manufacturing_firmware_is_finished_anew(
    world: AgentWorld, chip: ChipDriver
) -> None:
    """Its settings still say that it was sealed; a chip without locks boots what the station left there."""
    await world.provision(chip)
    chip.stage = Stage.MANUFACTURING
    chip.calls.clear()
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert {"seal", "first_boot"} <= set(chip.calls)
    assert chip.stage is Stage.LOCKED
    assert world.company.calls.count("record_stamp") == 1


async def test_a_stamped_board_whose_silicon_is_open_does_not_pass(
    world: AgentWorld, chip: ChipDriver
) -> None:
    await world.provision(chip)
    chip.silicon = {"debug_closed": False}
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.FAIL, "verify_differs")
