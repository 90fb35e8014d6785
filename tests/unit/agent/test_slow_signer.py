"""A signerd that is slow is named and waited for; one that only a person can help is not."""

from __future__ import annotations

import asyncio

import pytest

from agent import steps
from agent.core.result import Outcome
from agent.errors import AgentError, Refused, SignerLineDown, Verdict
from agent.steps import await_signer
from harness.agent_world import AgentWorld, HandClock


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_SLOW_S", (0.01, 0.02))


async def test_what_is_slow_is_named_and_waited_for() -> None:
    said: list[str] = []
    ended = asyncio.Event()

    async def call() -> str:
        await ended.wait()
        return "certificate"

    def on_wait(detail: str) -> None:
        said.append(detail)
        if len(said) == 2:
            ended.set()

    assert (
        await await_signer(call, wait_s=0, clock=HandClock(), on_wait=on_wait, what="to sign")
        == "certificate"
    )
    assert said == ["signerd takes more than 0.01 s to sign", "signerd takes more than 0.02 s to sign"]


async def test_a_call_that_nobody_waits_for_is_ended() -> None:
    cancelled = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await await_signer(call, wait_s=60, clock=HandClock(), on_wait=lambda _: None)
    assert cancelled.is_set()


async def test_a_line_that_waits_is_said_shortly_and_one_that_stops_is_not_asked_again() -> None:
    waits = SignerLineDown("line_unreachable", "nothing listens at 10.0.0.1:1", "Check.", Verdict.AGAIN)
    stops = SignerLineDown("line_wrong_ca", "another CA's", "Compare.", Verdict.STOP)
    errors = [waits, stops]
    said: list[str] = []

    async def call() -> None:
        raise errors.pop(0)

    with pytest.raises(SignerLineDown, match="line_wrong_ca"):
        await await_signer(call, wait_s=60, clock=HandClock(), on_wait=said.append)
    assert said == ["the connection to signerd is down"]


async def test_while_the_line_is_down_nobody_calls_signerd_slow() -> None:
    waits = SignerLineDown("line_unreachable", "no answer from 10.0.0.1:1", "Check.", Verdict.AGAIN)
    calls, said = 0, list[str]()

    async def call() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise waits
        await asyncio.sleep(0.1)  # longer than what is slow
        return "session"

    assert await await_signer(call, wait_s=60, clock=HandClock(), on_wait=said.append) == "session"
    assert said[-1] == "the connection to signerd is down"


@pytest.mark.parametrize(
    "error",
    [
        SignerLineDown("line_wrong_ca", "another CA's", "Compare.", Verdict.STOP),
        Refused("peer_revoked", verdict=Verdict.STOP, remedy="Ask."),
    ],
)
async def test_a_board_is_parked_with_the_lines_code_and_the_line_stops(error: AgentError) -> None:
    world = AgentWorld()
    world.company.before["open_session"] = [error]
    result = await world.provision(world.board())
    assert (result.outcome, result.stop) == (Outcome.PARKED, True)
    assert result.code in {"line_wrong_ca", "peer_revoked"}
    assert result.remedy
