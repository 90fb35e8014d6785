"""The way of a chip that comes empty: flash, seal, first boot, verify, label; and what goes wrong there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.events import Event, Waiting
from agent.core.pop import ProofOfPossession
from agent.core.recipe import StepName
from agent.core.remedies import error_for
from agent.core.result import Outcome
from agent.errors import BoardError, LabelError, LineError, SignerUnavailable
from agent.ports import BoardStamp, FirmwareDemands
from harness.agent_world import AgentWorld
from harness.paper_chip import CHIP, ChipDriver, Stage, bundle, paper_chip, whole_recipe

AWAY = SignerUnavailable("the line is down")
DIGEST = bytes(range(32))
BEFORE_STAMP = tuple(name for name in StepName if name not in {StepName.STAMP, StepName.LABEL})


def new_world(*, challenge: bool = True, board_retries: int = 0) -> AgentWorld:
    world = AgentWorld(
        recipe=whole_recipe(challenge=challenge), bundle=bundle(digest=DIGEST), board_retries=board_retries
    )
    world.company.bundle_sha256 = DIGEST
    world.company.required_locks = ("debug_closed",)
    world.company.minimum_firmware = {"app": "1.4.0"}
    return world


@pytest.fixture
def world() -> AgentWorld:
    return new_world()


@pytest.fixture
def chip() -> ChipDriver:
    return paper_chip()


def started(world: AgentWorld) -> list[str]:
    return [event[2] for event in world.progress.named("step_started")]


# the whole way


async def test_empty_chip_ends_locked_stamped_and_labelled(world: AgentWorld, chip: ChipDriver) -> None:
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.PASS, "")
    taken = list(dict.fromkeys(call for call in chip.calls if call not in {"identify", "locks", "pop"}))
    # The trial before the seal is the first stamp; the label's code is read last.
    assert taken == ["flash", "keygen", "request", "install", "configure", "stamp", "seal", "first_boot"]
    assert chip.calls[-1] == "pop"
    assert {time.step for time in result.times} == {*map(str, StepName), "session", "record"}
    assert chip.stage is Stage.LOCKED
    (label,) = world.labels.printed
    assert (label.port, label.serial_number, label.chip_id) == ("port-1", "BM-000001", CHIP)
    assert (label.work_order, label.model) == ("WO-1", "sensor")
    assert chip.board.pop() is not None
    assert label.code == chip.board.pop()[0]  # type: ignore[index]


async def test_result_says_which_images_were_written(world: AgentWorld, chip: ChipDriver) -> None:
    assert (await world.provision(chip)).written == ("application",)
    assert (await world.provision(chip)).written == ()


async def test_result_knows_of_no_images_where_flash_was_not_done(
    world: AgentWorld, chip: ChipDriver
) -> None:
    chip.before["flash"] = [LineError("no_answer", "a loose needle")] * 100
    assert (await world.provision(chip)).written is None


async def test_images_that_were_written_before_the_board_was_taken_again_are_named() -> None:
    world, chip = new_world(board_retries=1), paper_chip()
    chip.before["install"] = [LineError("no_answer", "a loose needle")] * 3
    assert (await world.provision(chip)).written == ("application",)


async def test_steps_in_their_order(world: AgentWorld, chip: ChipDriver) -> None:
    await world.provision(chip)
    steps = started(world)
    expected = [name for name in StepName if name is not StepName.LABEL]
    assert [step for step in steps if step not in {"session", "record", "label"}] == expected
    assert steps.index("session") < steps.index("flash")
    assert steps[-2:] == ["record", "label"]


async def test_driver_is_told_what_the_order_demands(world: AgentWorld, chip: ChipDriver) -> None:
    await world.provision(chip)
    assert chip.demanded == [FirmwareDemands(DIGEST, {"app": "1.4.0"}, ("debug_closed",))]


async def test_chip_whose_firmware_is_there_already(world: AgentWorld) -> None:
    chip = paper_chip(stage=Stage.MANUFACTURING)
    assert (await world.provision(chip)).outcome is Outcome.PASS


async def test_board_that_is_done_stays_as_it_is_and_gets_no_second_label(
    world: AgentWorld, chip: ChipDriver
) -> None:
    await world.provision(chip)
    chip.calls.clear()
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert not {"install", "configure", "seal", "first_boot", "stamp", "pop"} & set(chip.calls)
    assert len(world.labels.printed) == 1
    assert world.company.calls.count("record_stamp") == 1


# before a byte is written


@pytest.mark.parametrize("code", ["chip_unknown", "order_unknown", "order_full"])
async def test_chip_that_signerd_refuses_is_not_written(
    world: AgentWorld, chip: ChipDriver, code: str
) -> None:
    await world.provision(paper_chip("7c:df:a1:00:00:02"))  # the order's demands are known
    world.company.before["open_session"] = [error_for(code)]
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, code, "session")
    assert chip.calls == ["identify"]


@pytest.mark.parametrize(
    ("digest", "minimum", "code"),
    [(bytes(32), "1.4.0", "bundle_differs"), (DIGEST, "1.4.1", "bundle_too_old")],
)
async def test_bundle_that_the_order_does_not_want_stops_the_line_before_a_byte_is_written(
    world: AgentWorld, chip: ChipDriver, digest: bytes, minimum: str, code: str
) -> None:
    world.company.bundle_sha256, world.company.minimum_firmware = digest, {"app": minimum}
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.stop) == (Outcome.FAIL, code, True)
    assert chip.calls == ["identify"]
    assert chip.stage is Stage.EMPTY


async def test_order_without_a_bundle_takes_any(world: AgentWorld, chip: ChipDriver) -> None:
    world.company.bundle_sha256, world.company.minimum_firmware = None, {"modem": "9.9"}
    assert (await world.provision(chip)).outcome is Outcome.PASS


async def test_signerd_that_is_away_parks_the_chip_unwritten(world: AgentWorld, chip: ChipDriver) -> None:
    world.company.before["open_session"] = [AWAY] * 100
    result = await world.provision(chip)
    assert (result.outcome, result.step) == (Outcome.PARKED, "session")
    assert chip.stage is Stage.EMPTY


# firmware that is not there


async def test_empty_chip_where_the_recipe_leaves_out_flash() -> None:
    order = [name for name in StepName if name is not StepName.FLASH]
    world = AgentWorld(recipe=whole_recipe(order=order))
    result = await world.provision(paper_chip())
    assert (result.outcome, result.code) == (Outcome.FAIL, "no_firmware")
    assert not result.again


async def test_sealed_chip_where_the_recipe_leaves_out_its_first_boot() -> None:
    order = [name for name in StepName if name is not StepName.FIRST_BOOT]
    world = AgentWorld(recipe=whole_recipe(order=order))
    result = await world.provision(paper_chip())
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "no_firmware", "verify")


@pytest.mark.parametrize(("call", "step"), [("flash", "flash"), ("first_boot", "first-boot")])
async def test_firmware_that_does_not_come_up(
    world: AgentWorld, chip: ChipDriver, call: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(chip, call)

    async def broken(*arguments: object) -> object:
        done = await original(*arguments)
        chip.stage = Stage.EMPTY
        return done

    monkeypatch.setattr(chip, call, broken)
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "no_firmware", step)


# another chip


@pytest.mark.parametrize(("call", "step"), [("flash", "flash"), ("first_boot", "first-boot")])
async def test_chip_that_is_another_afterwards(
    world: AgentWorld, chip: ChipDriver, call: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = paper_chip("7c:df:a1:00:00:02").board
    original = getattr(chip, call)

    async def exchanged(*arguments: object) -> object:
        done = await original(*arguments)
        chip.board = other
        return done

    monkeypatch.setattr(chip, call, exchanged)
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "chip_changed", step)
    assert world.company.calls.count("record_stamp") == 0
    assert not world.labels.printed


async def test_firmware_that_says_another_chip_id_than_the_rom(world: AgentWorld, chip: ChipDriver) -> None:
    chip.stage = Stage.MANUFACTURING
    hello = chip._hello

    chip._hello = lambda: replace(hello(), chip_id="7c:df:a1:00:00:02")  # type: ignore[method-assign]
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.FAIL, "chip_changed")
    assert "install" not in chip.calls


# what is verified before the seal


async def test_board_that_lost_what_it_was_given_is_not_sealed(world: AgentWorld, chip: ChipDriver) -> None:
    original = chip._store

    def forgetful(command: str, content: bytes, _: object) -> bytes:
        stored = original(command, content, None)
        if command == "config":
            chip.board.storage.put("config", b"\xa0")
        return stored

    chip._store = forgetful  # type: ignore[method-assign, assignment]
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "verify_differs", "seal")
    assert "seal" not in chip.calls
    assert chip.stage is Stage.MANUFACTURING


@pytest.mark.parametrize("challenge", [True, False])
async def test_board_that_cannot_sign_with_its_certified_key(*, challenge: bool) -> None:
    """With `challenge` it is found before anything is closed for ever; without, at the stamp."""
    world = new_world(challenge=challenge)
    chip = paper_chip()
    original = chip.stamp

    async def broken(challenge: bytes) -> BoardStamp:
        return replace(await original(challenge), signature=bytes(64))

    chip.stamp = broken  # type: ignore[method-assign]
    result = await world.provision(chip)
    step = "seal" if challenge else "stamp"
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "stamp_signature", step)
    assert (chip.stage is Stage.LOCKED) is not challenge


async def test_trial_is_over_a_challenge_of_the_stations_own_and_goes_nowhere(
    world: AgentWorld, chip: ChipDriver
) -> None:
    challenges: list[bytes] = []
    original = chip.stamp

    async def noted(challenge: bytes) -> BoardStamp:
        challenges.append(challenge)
        return await original(challenge)

    chip.stamp = noted  # type: ignore[method-assign]
    await world.provision(chip)
    before_seal, at_verify, at_stamp = challenges
    assert len({before_seal, at_verify, at_stamp}) == 3
    assert {len(challenge) for challenge in challenges} == {32}
    assert world.company.calls.count("record_stamp") == 1


async def test_seal_that_broke_off_is_taken_up_though_no_firmware_answers(
    world: AgentWorld, chip: ChipDriver
) -> None:
    original = chip.seal

    async def cut(*_: object) -> None:
        await original()
        if chip.calls.count("seal") == 1:
            raise LineError("no_answer", "power failed")

    chip.seal = cut  # type: ignore[method-assign, assignment]
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert chip.calls.count("seal") == 2


async def test_another_chip_when_the_seal_is_tried_again(world: AgentWorld, chip: ChipDriver) -> None:
    original = chip.seal
    other = paper_chip("7c:df:a1:00:00:02")

    async def cut(*_: object) -> None:
        await original()
        chip.board = other.board
        raise LineError("no_answer", "power failed")

    chip.seal = cut  # type: ignore[method-assign, assignment]
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.FAIL, "chip_changed")
    assert chip.calls.count("seal") == 1


async def test_board_that_was_locked_and_not_stamped_goes_on_with_its_application(
    world: AgentWorld, chip: ChipDriver
) -> None:
    """Power failed after the first boot: the application knows no command that changes anything."""
    original = chip.first_boot

    async def cut(*_: object) -> None:
        await original()
        raise BoardError("power_failed", "for good")

    chip.first_boot = cut  # type: ignore[method-assign, assignment]
    assert (await world.provision(chip)).code == "power_failed"
    assert chip.stage is Stage.LOCKED
    chip.first_boot = original  # type: ignore[method-assign]
    chip.calls.clear()
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert not {"keygen", "install", "configure"} & set(chip.calls)


# verify


@pytest.mark.parametrize(
    ("silicon", "code"),
    [
        ({}, ""),
        ({"debug_closed": True}, ""),
        ({"flash_encryption": False}, ""),  # not required
        ({"debug_closed": False}, "verify_differs"),
    ],
    ids=["silent", "closed", "not-required", "open"],
)
async def test_silicons_word_stands_above_the_firmwares(
    world: AgentWorld, chip: ChipDriver, silicon: dict[str, bool], code: str
) -> None:
    chip.silicon = silicon
    result = await world.provision(chip)
    assert (result.outcome is Outcome.PASS, result.code) == (not code, code)
    if code:
        assert result.step == "verify"
        assert "debug_closed" in result.detail
        assert world.company.calls.count("record_stamp") == 0


async def test_lock_that_the_firmware_says_is_open_is_found_at_verify(
    world: AgentWorld, chip: ChipDriver
) -> None:
    world.company.required_locks = ("jtag_closed",)
    result = await world.provision(chip)
    assert (result.code, result.step) == ("stamp_locks_open", "verify")


async def test_board_that_does_not_say_that_it_is_sealed(world: AgentWorld, chip: ChipDriver) -> None:
    hello = chip._hello
    chip._hello = lambda: replace(hello(), sealed=False)  # type: ignore[method-assign]
    result = await world.provision(chip)
    assert (result.code, result.step) == ("verify_differs", "verify")


# labels


async def test_no_label_without_an_answer_to_the_stamp(world: AgentWorld, chip: ChipDriver) -> None:
    world.company.before["record_stamp"] = [AWAY] * 100
    result = await world.provision(chip)
    assert (result.outcome, result.step) == (Outcome.PARKED, "record")
    assert not world.labels.printed
    world.company.before["record_stamp"] = []
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert len(world.labels.printed) == 1


async def test_label_of_a_stamp_that_the_outbox_sent(world: AgentWorld, chip: ChipDriver) -> None:
    world.company.lost_answers["record_stamp"] = [AWAY]
    world.company.before["record_stamp"] = []
    await world.provision(chip)
    world.labels.printed.clear()
    world.journal.labels.clear()  # as of a station that was not told
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert len(world.labels.printed) == 1


async def test_printer_that_fails_fails_the_board_until_somebody_has_looked(chip: ChipDriver) -> None:
    world = new_world(board_retries=2)
    world.labels.before = [LabelError("printer_away", "no paper")]
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "printer_away", "label")
    assert result.again
    assert not world.labels.printed
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert len(world.labels.printed) == 1
    assert world.company.calls.count("record_stamp") == 1


async def test_crash_between_printing_and_the_note_prints_a_second_label(
    world: AgentWorld, chip: ChipDriver
) -> None:
    world.journal.before["note_label"] = [LineError("crash", "power failed")]
    assert (await world.provision(chip)).outcome is Outcome.FAIL
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert len({label.code for label in world.labels.printed}) == 1
    assert len(world.labels.printed) == 2
    assert (await world.provision(chip)).outcome is Outcome.PASS
    assert len(world.labels.printed) == 2


def other_code(chip: ChipDriver) -> None:
    async def lies() -> ProofOfPossession:
        return ProofOfPossession("another-code", bytes(16))

    chip.pop = lies  # type: ignore[method-assign]


async def test_code_that_the_stamp_does_not_commit_to_is_not_printed(
    world: AgentWorld, chip: ChipDriver
) -> None:
    other_code(chip)
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "label_differs", "label")
    assert not world.labels.printed
    assert "another-code" not in repr(result)


async def test_board_that_is_stamped_before_must_commit_to_its_code_too(
    world: AgentWorld, chip: ChipDriver
) -> None:
    await world.provision(chip)
    world.journal.labels.clear()
    world.labels.printed.clear()
    other_code(chip)
    assert (await world.provision(chip)).code == "label_differs"
    assert not world.labels.printed


async def test_board_without_a_code(world: AgentWorld) -> None:
    chip = paper_chip(pop=False)
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "no_pop", "stamp")
    assert "proof-of-possession code" in result.remedy
    assert "record_stamp" not in world.company.calls
    assert not world.journal.queue
    assert not world.labels.printed


async def test_board_without_a_code_that_was_stamped_before(world: AgentWorld) -> None:
    chip = paper_chip()
    await world.provision(chip)
    world.journal.labels.clear()
    world.labels.printed.clear()
    chip.board.model = replace(chip.board.model, pop=False)
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "no_pop", "label")
    assert not world.labels.printed


@pytest.mark.parametrize("before", [StepName.VERIFY, StepName.STAMP])
async def test_label_before_the_stamp(before: StepName) -> None:
    order: list[StepName] = [name for name in StepName if name is not StepName.LABEL]
    order.insert(order.index(before), StepName.LABEL)
    world = AgentWorld(recipe=whole_recipe(order=order))
    assert (await world.provision(paper_chip())).outcome is Outcome.PASS
    steps = started(world)
    assert steps.index("label") < steps.index("stamp")
    assert len(world.labels.printed) == 1


async def test_stamp_that_commits_to_another_code_than_the_one_printed_is_not_sent() -> None:
    world = AgentWorld(recipe=whole_recipe(order=(*BEFORE_STAMP, StepName.LABEL, StepName.STAMP)))
    chip = paper_chip()
    original = world.labels.put

    async def put_and_change(label: object) -> None:
        await original(label)  # type: ignore[arg-type]
        chip.board.storage.put("pop", b"")
        chip.board.model = replace(chip.board.model, pop=False)

    world.labels.put = put_and_change  # type: ignore[method-assign]
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "label_differs", "stamp")
    assert "record_stamp" not in world.company.calls
    assert not world.journal.queue


# the whole board again


async def test_board_that_failed_and_may_pass_is_taken_again_as_one_run(chip: ChipDriver) -> None:
    world = new_world(board_retries=1)
    chip.before["first_boot"] = [LineError("no_answer", "a weak supply")] * 3
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.PASS, "")
    assert len(world.progress.results) == len(world.journal.runs) == 1
    assert ("waiting", "port-1", "the board again: no_answer") in world.progress.events
    assert started(world).count("flash") == 2


async def test_no_board_is_taken_more_often_than_said(chip: ChipDriver) -> None:
    world = new_world(board_retries=2)
    chip.before["flash"] = [LineError("no_answer", "a loose needle")] * 100
    result = await world.provision(chip)
    assert (result.outcome, result.code) == (Outcome.FAIL, "no_answer")
    assert started(world).count("flash") == 3
    assert len(world.progress.results) == 1


@pytest.mark.parametrize(
    "error", [BoardError("chip_sealed", "set it aside"), error_for("order_full")], ids=["board", "line"]
)
async def test_what_cannot_pass_is_not_taken_again(chip: ChipDriver, error: Exception) -> None:
    world = new_world(board_retries=2)
    chip.before["flash"] = [error]
    assert (await world.provision(chip)).outcome is Outcome.FAIL
    assert chip.calls.count("flash") == 1


async def test_parked_board_is_not_taken_again(chip: ChipDriver) -> None:
    world = new_world(board_retries=2)
    world.company.before["sign_csr"] = [AWAY] * 100
    assert (await world.provision(chip)).outcome is Outcome.PARKED
    assert chip.calls.count("flash") == 1


async def test_board_that_is_exchanged_before_it_is_taken_again(chip: ChipDriver) -> None:
    world = new_world(board_retries=1)
    chip.before["first_boot"] = [LineError("no_answer", "a weak supply")] * 3
    other = paper_chip("7c:df:a1:00:00:02", stage=Stage.MANUFACTURING)

    def exchange(event: Event) -> None:
        if isinstance(event, Waiting) and event.detail.startswith("the board again"):
            chip.board, chip.stage = other.board, other.stage

    world.progress.also = exchange
    result = await world.provision(chip)
    assert (result.outcome, result.code, result.chip_id) == (Outcome.FAIL, "chip_changed", CHIP)
    assert result.serial_number == "BM-000001"
    assert other.board.storage.get("credential") is None


# times


async def test_time_of_a_step_that_failed_is_kept(world: AgentWorld, chip: ChipDriver) -> None:
    original = chip.first_boot

    async def slow(*_: object) -> None:
        await world.clock.sleep(90.0)
        raise LineError("no_answer", "nothing on the console")

    chip.first_boot = slow  # type: ignore[method-assign, assignment]
    result = await world.provision(chip)
    assert result.outcome is Outcome.FAIL
    seconds = {time.step: time.seconds for time in result.times}
    assert seconds["first-boot"] >= 270.0  # three tries
    assert world.journal.runs[1].steps["first-boot"] == seconds["first-boot"]
    assert ("step_done", "first-boot") not in [(e[0], e[2]) for e in world.progress.named("step_done")]
    chip.first_boot = original  # type: ignore[method-assign]


# secrets


async def test_code_is_in_no_result_journal_or_progress(world: AgentWorld, chip: ChipDriver) -> None:
    world.labels.before = [LabelError("printer_away", "no paper")]
    failed = await world.provision(chip)
    result = await world.provision(chip)
    code = world.labels.printed[0].code
    told = repr(
        (failed, result, world.progress.events, world.journal.runs, world.labels.printed, world.company.calls)
    )
    assert code not in told
    assert chip.board.pop() == (code, chip.board.pop()[1])  # type: ignore[index]
