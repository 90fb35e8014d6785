"""A board's way through a station, and each way in which it can go wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.adapters.signer.outbox import OutboxSender
from agent.core.log_keys import parse_witnesses
from agent.core.recipe import Recipe, StepName, default_recipe
from agent.core.remedies import error_for
from agent.core.result import Outcome
from agent.errors import AgentError, BoardError, JournalError, LineError, SignerUnavailable
from agent.ports import BoardRequest, Issued
from boards.faults import ALWAYS, Fault, Kind
from harness.agent_world import SMP_STEPS, AgentWorld, Gate, MemoryDriver
from harness.paper_company import DeviceTree, PaperCompany, PaperLog
from harness.paper_witness import PaperWitness

AWAY = SignerUnavailable("the line is down")


def without(*names: StepName) -> Recipe:
    recipe = default_recipe(SMP_STEPS)
    return replace(recipe, steps=tuple(step for step in recipe.steps if step.name not in names))


@pytest.fixture
def world() -> AgentWorld:
    return AgentWorld()


@pytest.fixture
def board(world: AgentWorld) -> MemoryDriver:
    return world.board()


async def test_passes(world: AgentWorld, board: MemoryDriver) -> None:
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.PASS, "")
    assert result.serial_number == "BM-000001"
    assert {time.step for time in result.times} == {*map(str, SMP_STEPS), "session", "record"}
    assert board.board.sealed
    assert world.company.boards["CHIP-1"].stamp is not None
    assert world.journal.queue == []
    assert [run.outcome for run in world.journal.runs.values()] == [Outcome.PASS]
    assert not world.station.busy_chips


async def test_key_is_begun_before_the_session_is_open(world: AgentWorld, board: MemoryDriver) -> None:
    await world.provision(world.board("CHIP-0"))  # it brought what the work order accepts
    world.progress.events.clear()
    await world.provision(board)
    started = [event[2] for event in world.progress.named("step_started")]
    done = [event[2] for event in world.progress.named("step_done")]
    assert started.index("keygen") < done.index("session")


async def test_key_waits_for_signerd_where_its_type_is_open(world: AgentWorld) -> None:
    world.company.key_types = ("p384", "p256")
    board = world.board(key_types=("p256", "p384"))
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert board.board.storage.get("key_type") == b"p384"
    started = [event[2] for event in world.progress.named("step_started")]
    assert started.index("session") < started.index("keygen")


async def test_key_of_the_next_board_need_not_wait(world: AgentWorld) -> None:
    world.company.key_types = ("p384", "p256")
    await world.provision(world.board("CHIP-1", key_types=("p256", "p384")))
    world.progress.events.clear()
    await world.provision(world.board("CHIP-2", key_types=("p256", "p384")))
    started = [event[2] for event in world.progress.named("step_started")]
    done = [event[2] for event in world.progress.named("step_done")]
    assert started.index("keygen") < done.index("session")


async def test_refusal_ends_the_wait_for_the_key(world: AgentWorld, board: MemoryDriver) -> None:
    await world.provision(world.board("CHIP-0"))
    board.gates["keygen"] = Gate()  # a key that is never made
    world.company.before["open_session"] = [error_for("order_full")]
    result = await world.provision(board)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "order_full", "session")
    assert result.stop
    assert "request" not in board.calls


@pytest.mark.parametrize("left_out", [StepName.SEAL, StepName.VERIFY])
async def test_steps_that_may_be_left_out(left_out: StepName) -> None:
    world = AgentWorld(recipe=without(left_out))
    assert (await world.provision(world.board())).outcome is Outcome.PASS
    assert left_out not in [event[2] for event in world.progress.named("step_started")]


async def test_recipe_without_keygen_takes_only_boards_with_a_key() -> None:
    world = AgentWorld(recipe=without(StepName.KEYGEN))
    board = world.board()
    assert (await world.provision(board)).code == "no_key"
    board.board.handle(write=True, command="keygen", body={"type": "p256"})
    assert (await world.provision(board)).outcome is Outcome.PASS


async def test_board_that_is_done_stays_as_it_is(world: AgentWorld, board: MemoryDriver) -> None:
    first = await world.provision(board)
    board.calls.clear()
    second = await world.provision(board)
    assert second.outcome is Outcome.PASS
    assert second.certificate_sha256 == first.certificate_sha256
    assert not {"install", "configure", "seal", "stamp"} & set(board.calls)
    assert world.company.calls.count("record_stamp") == 1


# evidence


class _Opaque:
    """A root of trust whose evidence no part of the agent could understand."""

    def __init__(self, method: str) -> None:
        self.method = method

    def attest(self, transcript: bytes, csr: bytes) -> bytes:
        return self.method.encode() + transcript + csr

    def identity(self) -> None:
        return None


async def test_evidence_goes_to_signerd_as_the_board_made_it(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.company.methods = ("tpm2",)
    board = world.board("CHIP-1", attesters=(_Opaque("tpm2"),))
    sent: list[BoardRequest] = []
    sign_csr = world.company.sign_csr

    async def record(session: bytes, request: BoardRequest) -> Issued:
        sent.append(request)
        return await sign_csr(session, request)

    monkeypatch.setattr(world.company, "sign_csr", record)
    assert (await world.provision(board)).outcome is Outcome.PASS
    (request,) = sent
    assert request.method == "tpm2"
    assert request.evidence.startswith(b"tpm2")
    assert request.evidence.endswith(request.csr_der)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (("tpm2", "x509", "psa-token"), "psa-token"),  # the board's own preference
        (("x509", "hmac-sha256"), "x509"),
        (("hmac-sha256", "x509"), "x509"),
    ],
)
async def test_board_chooses_among_what_the_session_accepts(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch, accepted: tuple[str, ...], chosen: str
) -> None:
    world.company.methods = accepted
    board = world.board("CHIP-1", attesters=(_Opaque("psa-token"), _Opaque("x509")))
    methods: list[str] = []
    sign_csr = world.company.sign_csr

    async def record(session: bytes, request: BoardRequest) -> Issued:
        methods.append(request.method)
        return await sign_csr(session, request)

    monkeypatch.setattr(world.company, "sign_csr", record)
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert methods == [chosen]


@pytest.mark.parametrize("first_of_the_order", [True, False])
async def test_board_without_accepted_evidence_makes_no_key(
    world: AgentWorld, first_of_the_order: bool
) -> None:
    world.company.methods = ("psa-token", "tpm2")
    if not first_of_the_order:
        await world.provision(world.board("CHIP-0", attesters=(_Opaque("tpm2"),)))
    world.company.calls.clear()
    board = world.board("CHIP-1", attesters=(_Opaque("x509"), _Opaque("hmac-sha256")))
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "no_common_method")
    assert result.detail == "the board offers x509, hmac-sha256, the work order accepts psa-token, tpm2"
    assert result.remedy
    assert not result.stop  # the next board may be of another kind
    assert board.calls == ["identify"]
    assert board.board.key is None
    assert world.company.calls == (["open_session"] if first_of_the_order else [])


async def test_board_that_ignores_what_is_accepted_is_not_sent_to_signerd(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.company.methods = ("x509",)
    board = world.board("CHIP-1", attesters=(_Opaque("psa-token"), _Opaque("x509")))
    make_request = board.board.make_request
    monkeypatch.setattr(board.board, "make_request", lambda challenge, _accepted: make_request(challenge))
    result = await world.provision(board)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "unsupported", "request")
    assert "sign_csr" not in world.company.calls


STEPS = ("keygen", "request", "install", "configure", "seal", "stamp")


@pytest.mark.parametrize("step", STEPS)
async def test_lost_answer_of_the_board_is_asked_for_again(
    world: AgentWorld, board: MemoryDriver, step: str
) -> None:
    board.before[step] = [LineError("no_answer", "silent")] * 2
    assert (await world.provision(board)).outcome is Outcome.PASS


@pytest.mark.parametrize("step", STEPS)
async def test_board_that_stays_silent_fails_at_its_step(
    world: AgentWorld, board: MemoryDriver, step: str
) -> None:
    board.before[step] = [LineError("no_answer", "silent")] * 3
    result = await world.provision(board)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "no_answer", step)
    assert (await world.provision(board)).outcome is Outcome.PASS  # presented again, it goes on


async def test_what_the_board_refuses_is_not_tried_again(world: AgentWorld, board: MemoryDriver) -> None:
    board.before["install"] = [BoardError("storage_full", "no room")]
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "storage_full")
    assert board.calls.count("install") == 1


async def test_slow_step_is_bounded() -> None:
    recipe = default_recipe(SMP_STEPS)
    steps = tuple(
        replace(step, timeout_s=0.01, retries=0) if step.name is StepName.SEAL else step
        for step in recipe.steps
    )
    world = AgentWorld(recipe=replace(recipe, steps=steps))
    board = world.board()
    board.gates["seal"] = Gate()
    result = await world.provision(board)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "step_timeout", "seal")


async def test_port_without_a_board(world: AgentWorld, board: MemoryDriver) -> None:
    board.before["identify"] = [LineError("no_answer", "silent")] * 3
    result = await world.provision(board)
    assert (result.outcome, result.code, result.chip_id) == (Outcome.FAIL, "no_answer", "")
    assert world.journal.runs[1].outcome is Outcome.FAIL


@pytest.mark.parametrize("error", [LineError("no_answer", "silent"), BoardError("no_firmware", "heard")])
async def test_silent_port_tells_which_board_was_there_before(
    world: AgentWorld, board: MemoryDriver, error: AgentError
) -> None:
    """It may be that one, locked, or none at all: the journal knows no more."""
    before = await world.provision(board)
    board.before["identify"] = [error] * 6
    for _ in range(2):
        result = await world.provision(board)
        assert (result.code, result.chip_id) == (error.code, "")
        assert result.detail == (
            f"{error.detail}; the last board on this port was {before.chip_id}, which ended as PASS"
        )


async def test_other_errors_name_no_board_from_before(world: AgentWorld, board: MemoryDriver) -> None:
    await world.provision(board)
    board.before["identify"] = [BoardError("no_group", "other firmware")]
    assert (await world.provision(board)).detail == "other firmware"


async def test_fault_of_a_driver_ends_one_board(world: AgentWorld, board: MemoryDriver) -> None:
    board.before["seal"] = [ZeroDivisionError("a driver of others")]
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "driver_fault")


async def test_driver_that_would_end_the_program_beside_the_opening_of_a_session(world: AgentWorld) -> None:
    await world.provision(world.board("CHIP-0"))  # the order's demands are known: both run at once
    board = world.board()
    board.before["keygen"] = [SystemExit(2)]  # type: ignore[list-item]
    result = await world.provision(board)
    assert (result.outcome, result.code, result.step) == (Outcome.FAIL, "driver_fault", "keygen")


async def test_one_chip_on_two_ports(world: AgentWorld) -> None:
    first, second = world.board(), world.board()
    gate = first.gates["seal"] = Gate()
    running = asyncio.create_task(world.provision(first))
    await gate.arrived.wait()
    assert (await world.provision(second, port="port-2")).code == "chip_busy"
    gate.open.set()
    assert (await running).outcome is Outcome.PASS


async def test_being_stopped_parks_the_board(world: AgentWorld, board: MemoryDriver) -> None:
    gate = board.gates["install"] = Gate()
    running = asyncio.create_task(world.provision(board))
    await gate.arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.journal.runs[1].outcome is Outcome.PARKED
    assert world.progress.results[-1].code == "stopped"
    gate.open.set()
    assert (await world.provision(board)).outcome is Outcome.PASS


# signerd


@pytest.mark.parametrize("call", ["open_session", "sign_csr", "record_stamp"])
async def test_signerd_that_comes_back_is_waited_for(
    world: AgentWorld, board: MemoryDriver, call: str
) -> None:
    world.company.before[call] = [AWAY] * 3
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert len(world.progress.named("waiting")) == 3


@pytest.mark.parametrize("call", ["open_session", "sign_csr", "record_stamp"])
async def test_lost_answer_of_signerd(world: AgentWorld, board: MemoryDriver, call: str) -> None:
    world.company.lost_answers[call] = [AWAY]
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert len(world.company.boards) == 1


@pytest.mark.parametrize("call", ["open_session", "sign_csr"])
async def test_signerd_that_stays_away_parks_the_board(
    world: AgentWorld, board: MemoryDriver, call: str
) -> None:
    world.company.before[call] = [AWAY] * 100
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.PARKED, "signer_unavailable")
    assert world.clock.time_s <= 31.0
    world.company.before.clear()
    assert (await world.provision(board)).outcome is Outcome.PASS


@pytest.mark.parametrize("code", ["session_unknown", "session_used"])
async def test_session_that_is_gone_is_replaced(world: AgentWorld, board: MemoryDriver, code: str) -> None:
    world.company.before["sign_csr"] = [error_for(code)]
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert world.company.calls.count("open_session") == 2
    assert board.calls.count("request") == 2


async def test_sessions_are_not_replaced_for_ever(world: AgentWorld, board: MemoryDriver) -> None:
    world.company.before["sign_csr"] = [error_for("session_unknown")] * 10
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "session_unknown")
    assert world.company.calls.count("open_session") == 3


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("open_session", "chip_unknown"),
        ("sign_csr", "evidence_rejected"),
        ("sign_csr", "key_already_certified"),
        ("record_stamp", "stamp_rejected"),
    ],
)
async def test_refusals_fail_the_board_with_a_remedy(
    world: AgentWorld, board: MemoryDriver, call: str, code: str
) -> None:
    world.company.before[call] = [error_for(code)]
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, code)
    assert result.remedy
    assert not result.stop


async def test_wrong_signerd_gives_a_board_nothing(board: MemoryDriver) -> None:
    company = PaperCompany()
    world = AgentWorld(company=company)
    company.tree = DeviceTree()  # the pinned root is the other one's
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "bad_answer_from_signerd")
    assert result.stop
    assert "install" not in board.calls


async def test_ledger_of_another_key(board: MemoryDriver) -> None:
    company = PaperCompany()
    world = AgentWorld(company=company)
    company.log = PaperLog()
    assert (await world.provision(board)).code == "bad_answer_from_signerd"
    assert "install" not in board.calls


def cosigned(*, demanded: int = 1) -> tuple[AgentWorld, list[PaperWitness]]:
    """A station that demands so many of two witnesses, none of which has cosigned yet."""
    witnesses = [PaperWitness("w1.example"), PaperWitness("w2.example")]
    vkeys = "\n".join(each.vkey for each in witnesses)
    return AgentWorld(company=PaperCompany(cosigners=parse_witnesses(vkeys, demanded))), witnesses


async def test_receipts_that_enough_witnesses_cosigned() -> None:
    world, witnesses = cosigned(demanded=2)
    world.company.log.witnesses = witnesses
    assert (await world.provision(world.board())).outcome is Outcome.PASS


async def test_a_certificate_that_too_few_witnesses_cosigned_is_not_given_to_the_board() -> None:
    world, witnesses = cosigned(demanded=2)
    board, world.company.log.witnesses = world.board(), witnesses[:1]
    result = await world.provision(board)
    assert (result.outcome, result.step, result.code) == (Outcome.PARKED, "sign", "not_cosigned")
    assert "1 of 2 witnesses" in result.detail
    assert "signerd witness list" in result.remedy
    assert not result.stop
    assert "install" not in board.calls
    world.company.log.witnesses = witnesses  # the twin: the same board, asked again
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert len(world.company.boards) == 1


async def test_a_cosignature_that_comes_late_is_waited_for() -> None:
    world, witnesses = cosigned()
    asked = 0

    def late(issued: Issued) -> Issued:
        nonlocal asked
        asked += 1
        world.company.log.witnesses = witnesses if asked > 2 else []
        return issued

    world.company.change_answer = late
    assert (await world.provision(world.board())).outcome is Outcome.PASS
    assert asked == 4


async def test_a_stamp_that_too_few_witnesses_cosigned_stays_in_the_outbox() -> None:
    world, witnesses = cosigned()
    world.company.log.witnesses = witnesses

    def only_now(issued: Issued) -> Issued:
        world.company.log.witnesses = []
        return issued

    world.company.change_answer = only_now
    result = await world.provision(world.board())
    assert (result.outcome, result.step, result.code) == (Outcome.PARKED, "record", "not_cosigned")
    outbox = OutboxSender(world.station)
    assert await outbox.flush() == 1
    world.company.log.witnesses = witnesses
    assert await outbox.flush() == 0


async def test_a_false_cosignature_stops_the_line() -> None:
    world, witnesses = cosigned()
    false = PaperWitness("w1.example")
    false.key = witnesses[1].key
    world.company.log.witnesses = [false]
    result = await world.provision(world.board())
    assert (result.outcome, result.code, result.stop) == (Outcome.FAIL, "bad_answer_from_signerd", True)


async def test_answers_of_two_boards_exchanged(world: AgentWorld, board: MemoryDriver) -> None:
    await world.provision(world.board("CHIP-2"))
    others = world.company.boards["CHIP-2"].issued
    world.company.change_answer = lambda _issued: others
    assert (await world.provision(board)).code == "bad_answer_from_signerd"
    assert "install" not in board.calls


# what the board says at the end


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("serial_number", "stamp_differs"),
        ("chip_id", "stamp_differs"),
        ("challenge", "stamp_differs"),
        ("certificate_digest", "stamp_differs"),
        ("settings_digest", "stamp_differs"),
    ],
)
async def test_stamp_that_lies_is_not_sent(world: AgentWorld, field: str, code: str) -> None:
    board = world.board("CHIP-1", Fault(Kind.STAMP_LIES, value=field, times=ALWAYS))
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, code)
    assert "record_stamp" not in world.company.calls
    assert world.journal.queue == []


async def test_open_lock_is_named(world: AgentWorld, board: MemoryDriver) -> None:
    world.company.required_locks = ("secure_boot", "jtag_closed")
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "stamp_locks_open")
    assert "jtag_closed" in result.detail


# the outbox


async def test_stamp_waits_in_the_outbox(world: AgentWorld, board: MemoryDriver) -> None:
    world.company.before["record_stamp"] = [AWAY] * 100
    result = await world.provision(board)
    assert (result.outcome, result.step) == (Outcome.PARKED, "record")
    outbox = OutboxSender(world.station)
    assert await outbox.flush() == 1
    world.company.before.clear()
    assert await outbox.flush() == 0
    assert world.journal.runs[1].outcome is Outcome.PASS
    assert world.progress.named("stamp_settled") == [("stamp_settled", "CHIP-1", "")]


async def test_stamp_is_durable_before_it_is_sent(world: AgentWorld, board: MemoryDriver) -> None:
    world.journal.before["queue_stamp"] = [JournalError("disk full")]
    result = await world.provision(board)
    assert (result.outcome, result.code) == (Outcome.FAIL, "journal")
    assert result.stop
    assert "record_stamp" not in world.company.calls


async def test_board_comes_back_while_its_stamp_waits(world: AgentWorld, board: MemoryDriver) -> None:
    world.company.before["record_stamp"] = [AWAY] * 100
    await world.provision(board)
    parked = await world.provision(board)
    assert (parked.outcome, parked.step) == (Outcome.PARKED, "record")
    assert board.calls.count("stamp") == 1  # no second stamp while the first is not answered
    world.company.before.clear()
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert world.journal.queue == []


async def test_crash_between_answer_and_journal(world: AgentWorld, board: MemoryDriver) -> None:
    world.journal.before["stamp_recorded"] = [JournalError("cut off")]
    await world.provision(board)
    assert len(world.journal.queue) == 1
    assert await OutboxSender(world.station).flush() == 0
    assert len(world.journal.recorded) == 1


@pytest.mark.parametrize("after", [0, 1])
async def test_refused_stamp_of_the_outbox_is_told(
    world: AgentWorld, board: MemoryDriver, after: int
) -> None:
    world.company.before["record_stamp"] = [AWAY] * 100
    await world.provision(board)
    if after:
        await world.provision(world.board("CHIP-2"))
    refusals: list[AgentError] = [error_for("stamp_conflict")]
    world.company.before["record_stamp"] = refusals
    assert await OutboxSender(world.station).flush() == 0
    assert world.journal.runs[1].outcome is Outcome.FAIL
    assert world.progress.named("stamp_settled")[0] == ("stamp_settled", "CHIP-1", "stamp_conflict")


async def test_outbox_keeps_its_order(world: AgentWorld) -> None:
    world.company.before["record_stamp"] = [AWAY] * 200
    for number in range(3):
        await world.provision(world.board(f"CHIP-{number}"))
    world.company.before["record_stamp"] = []
    await OutboxSender(world.station).flush()
    settled = [event[1] for event in world.progress.named("stamp_settled")]
    assert settled == ["CHIP-0", "CHIP-1", "CHIP-2"]
