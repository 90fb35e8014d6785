"""Power cuts, cancelling and faults at each call of a board's whole way, in each order of steps.

Whatever happens: a board that passes is stamped, locked and labelled; one that is locked held what it was
given before; and presented again it passes, with the same certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.recipe import AFTER, StepName
from agent.core.result import Outcome, Result
from agent.errors import BoardError, JournalError, LabelError, LineError, Refused, SignerUnavailable
from harness.agent_world import AgentWorld, Gate
from harness.paper_chip import CHIP, ChipDriver, Stage, bundle, paper_chip, whole_recipe

DRIVER_CALLS = (
    "identify",
    "flash",
    "keygen",
    "request",
    "install",
    "configure",
    "stamp",
    "seal",
    "first_boot",
    "locks",
    "pop",
)
WRITING = {"flash", "configure", "seal", "first_boot"}  # a board refuses the certificate of another by itself
SIGNER_CALLS = ("open_session", "sign_csr", "record_stamp")
JOURNAL_CALLS = ("begin", "finish", "queue_stamp", "stamp_recorded", "has_label", "note_label")


def new_world(order: tuple[StepName, ...] = tuple(StepName)) -> AgentWorld:
    world = AgentWorld(recipe=whole_recipe(order=order), bundle=bundle())
    world.company.required_locks = ("debug_closed",)
    return world


def assert_sound(world: AgentWorld, chip: ChipDriver, result: Result | None) -> None:
    """What holds at any moment, whatever was cut off."""
    issued = world.company.boards.get(CHIP)
    labels = [label for label in world.labels.printed if label.chip_id == CHIP]
    if chip.stage in {Stage.CLOSING, Stage.LOCKED}:
        assert issued is not None
        assert chip.board.storage.get("credential") is not None
        assert chip.board.storage.get("config") == issued.issued.settings
    if result is not None and result.outcome is Outcome.PASS:
        assert issued is not None
        assert issued.stamp is not None
        assert chip.stage is Stage.LOCKED
        assert labels
    for label in labels:
        pop = chip.board.pop()
        assert pop is not None
        assert label.code == pop[0]


async def assert_passes_now(world: AgentWorld, chip: ChipDriver) -> None:
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.PASS, "")
    assert_sound(world, chip, result)
    assert len(world.company.boards) == 1
    assert len({label.serial_number for label in world.labels.printed}) == 1
    recorded = [entry for entry in world.company.log.entries if b'"stamped"' in entry]
    assert len(recorded) == 1


@pytest.mark.parametrize("call", DRIVER_CALLS)
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_cancelled_in_each_call(call: str, nth: int) -> None:
    world, chip = new_world(), paper_chip()
    gate = Gate()
    enter = chip._enter

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
        assert_sound(world, chip, None)
        if world.journal.runs:  # it had said who it is
            assert world.journal.runs[1].outcome is Outcome.PARKED
        assert not world.station.busy_chips
    chip._enter = enter  # type: ignore[method-assign]
    await assert_passes_now(world, chip)


@pytest.mark.parametrize("call", DRIVER_CALLS)
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_driver_that_raises_anything_ends_one_board_which_passes_later(
    call: str, nth: int, *, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, chip = new_world(), paper_chip()
    original: Callable[..., Awaitable[object]] = getattr(chip, call)
    count = 0

    async def broken(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == nth and not after:
            raise ZeroDivisionError("a driver of others")
        done = await original(*arguments)
        if count == nth:
            raise ZeroDivisionError("a driver of others")
        return done

    monkeypatch.setattr(chip, call, broken)
    result = await world.provision(chip)
    assert result.code in {"driver_fault", ""}
    assert (result.code == "driver_fault") is (count >= nth)
    assert_sound(world, chip, result)
    monkeypatch.undo()
    await assert_passes_now(world, chip)


@pytest.mark.parametrize("call", DRIVER_CALLS)
async def test_driver_that_would_end_the_program_ends_one_board(call: str) -> None:
    """Libraries that are programs too do so."""
    world, chip = new_world(), paper_chip()
    await world.provision(paper_chip("7c:df:a1:00:00:02"))  # the order's demands are known
    chip.before[call] = [SystemExit(2)]  # type: ignore[list-item]
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.FAIL, "driver_fault")
    assert_sound(world, chip, result)


@pytest.mark.parametrize("call", sorted(set(DRIVER_CALLS) - WRITING))
@pytest.mark.parametrize("nth", range(1, 8))
async def test_board_that_is_exchanged_before_each_call(call: str, nth: int) -> None:
    """In the middle of those that write, after the chip has said its id, only the driver can notice it."""
    world, chip = new_world(), paper_chip()
    # The other board has been through half of the line already: it has key, certificate and settings.
    other = paper_chip("7c:df:a1:00:00:02")
    other.before["seal"] = [BoardError("storage_full", "it stops here")]
    await world.provision(other)
    given = other.board.storage.get("credential"), other.board.storage.get("config")
    enter, wanted = chip._enter, call
    exchanged = False

    async def exchange(call: str) -> None:
        nonlocal exchanged
        await enter(call)
        if call == wanted and chip.calls.count(call) == nth:
            exchanged = True
            chip.board, chip.stage = other.board, other.stage

    chip._enter = exchange  # type: ignore[method-assign]
    result = await world.provision(chip)
    if not exchanged:
        assert result.outcome is Outcome.PASS  # there are not so many calls
        return
    if call == "identify" and nth == 1:
        assert result.chip_id == "7c:df:a1:00:00:02"  # it was exchanged before it said who it is
        return
    assert (result.outcome, result.chip_id) == (Outcome.FAIL, CHIP)
    assert chip.stage is Stage.MANUFACTURING
    assert (other.board.storage.get("credential"), other.board.storage.get("config")) == given
    assert not world.labels.printed
    recorded = world.company.boards.get(CHIP)
    assert call == "pop" or recorded is None or recorded.stamp is None


@pytest.mark.parametrize("call", JOURNAL_CALLS)
async def test_journal_that_is_full_lets_no_board_pass(call: str) -> None:
    world, chip = new_world(), paper_chip()
    world.journal.before[call] = [JournalError("no room")]
    result: Result | None = None
    try:
        result = await world.provision(chip)
    except JournalError:
        assert call in {"begin", "finish"}
    else:
        assert (result.outcome, result.code, result.stop) == (Outcome.FAIL, "journal", True)
    assert_sound(world, chip, result)
    await assert_passes_now(world, chip)


@st.composite
def orders(draw: st.DrawFn) -> tuple[StepName, ...]:
    """An order of all steps that the table allows."""
    left: set[StepName] = set(StepName)
    order: list[StepName] = []
    while left:
        free = sorted(name for name in left if not left.intersection(AFTER[name]))
        order.append(draw(st.sampled_from(free)))
        left.remove(order[-1])
    return tuple(order)


TROUBLES: dict[str, Callable[[], Exception]] = {
    "silent": lambda: LineError("no_answer", "silent"),
    "gone": lambda: LineError("port_gone", "unplugged"),
    "refused": lambda: BoardError("storage_full", "no room"),
    "fault": lambda: ZeroDivisionError("a driver of others"),
}
DRIVER_TROUBLES = st.tuples(st.sampled_from(DRIVER_CALLS), st.sampled_from(sorted(TROUBLES)))
SIGNER_TROUBLES = st.tuples(
    st.sampled_from(SIGNER_CALLS), st.sampled_from(["away", "session_unknown", "lost"])
)


@given(
    order=orders(),
    board=st.lists(DRIVER_TROUBLES, max_size=6),
    signer=st.lists(SIGNER_TROUBLES, max_size=4),
    printer=st.integers(0, 4),
)
def test_any_order_with_any_troubles_ends_sound_and_passes_later(
    order: tuple[StepName, ...], board: list[tuple[str, str]], signer: list[tuple[str, str]], printer: int
) -> None:
    async def story() -> None:
        world, chip = new_world(order), paper_chip()
        for call, trouble in board:
            chip.before[call].append(TROUBLES[trouble]())
        for call, trouble in signer:
            if trouble == "lost":
                world.company.lost_answers[call].append(SignerUnavailable("lost"))
            elif trouble == "away" or call != "sign_csr":
                world.company.before[call].append(SignerUnavailable("away"))
            else:
                world.company.before[call].append(Refused(trouble))
        world.labels.before = [LabelError("printer_away", "no paper")] * printer
        for _ in range(len(board) + len(signer) + printer + 1):  # each trouble ends a visit at most
            result = await world.provision(chip)
            assert_sound(world, chip, result)
            if result.outcome is Outcome.PASS:
                break
        await assert_passes_now(world, chip)

    asyncio.run(story())
