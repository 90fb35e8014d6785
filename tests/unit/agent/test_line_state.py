"""What is wrong with the connection to signerd is said once, and again when it is another thing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agent.adapters.signer.line_state import LineState
from agent.core.events import Event, LineDown, LineUp
from agent.errors import AgentError, ConfigError, Refused, SignerLineDown, SignerUnavailable, Verdict


class Line:
    """A line whose trouble a test sets."""

    def __init__(self) -> None:
        self.trouble: AgentError | None = None
        self.asked = 0
        self.now_s = 0.0
        self.events: list[Event] = []
        self.state = LineState(self.events.append, self._diagnose, lambda: self.now_s)

    def _diagnose(self) -> AgentError | None:
        self.asked += 1
        return self.trouble


def refused_address() -> SignerLineDown:
    return SignerLineDown("line_unreachable", "nothing listens", "Check the address.", Verdict.AGAIN)


def wrong_ca() -> SignerLineDown:
    return SignerLineDown("line_wrong_ca", "another CA's", "Compare the files.", Verdict.STOP)


async def test_sixteen_ports_fail_and_one_verdict_is_said() -> None:
    line = Line()
    line.trouble = refused_address()
    errors = await asyncio.gather(*(line.state.explained() for _ in range(16)))
    assert {(error.code, error.remedy) for error in errors} == {("line_unreachable", "Check the address.")}
    assert line.asked == 1
    line.now_s = 60.0
    await line.state.explained()
    assert line.asked == 2
    assert line.events == [LineDown("line_unreachable", "nothing listens", "Check the address.", stop=False)]


async def test_it_is_over_once_and_may_begin_again() -> None:
    line = Line()
    line.trouble = refused_address()
    await line.state.explained()
    line.state.answered()
    line.state.answered()
    line.state.connected()
    await line.state.explained()
    assert [type(event) for event in line.events] == [LineDown, LineUp, LineDown]


async def test_another_cause_is_said_too() -> None:
    line = Line()
    line.trouble = refused_address()
    await line.state.explained()
    line.trouble, line.now_s = wrong_ca(), 10.0
    error = await line.state.explained()
    assert error.stops_line
    assert [event.stop for event in line.events if isinstance(event, LineDown)] == [False, True]


async def test_a_file_that_cannot_be_used_stops() -> None:
    line = Line()
    line.trouble = ConfigError("key.pem cannot be read", remedy="Give it back.")
    error = await line.state.explained()
    assert isinstance(error, SignerUnavailable)
    assert (error.code, error.stops_line) == ("configuration", True)


async def test_a_line_that_stands_is_not_blamed_and_grpcs_words_are_not_passed_on() -> None:
    line = Line()
    error = await line.state.explained()
    assert type(error) is SignerUnavailable
    assert error.detail == "the connection to signerd broke off, and is made anew"
    assert line.events == []


async def test_what_was_found_before_the_line_stood_again_is_not_said() -> None:
    asked, may_answer = threading.Event(), threading.Event()
    events: list[Event] = []

    def diagnose() -> AgentError:
        asked.set()
        may_answer.wait(30)
        return refused_address()

    state = LineState(events.append, diagnose)
    explaining = asyncio.create_task(state.explained())
    await asyncio.to_thread(asked.wait, 30)
    state.connected()
    may_answer.set()
    assert type(await explaining) is SignerUnavailable
    assert events == []


@pytest.mark.parametrize("code", ["unauthenticated", "peer_revoked", "role_denied"])
def test_a_station_that_is_refused_is_down_until_it_is_answered(code: str) -> None:
    line = Line()
    line.state.refused(Refused(code, verdict=Verdict.STOP, remedy="Ask."))
    line.state.connected()  # TLS alone says nothing of it
    assert line.events == [LineDown(code, "signerd refused", "Ask.", stop=True)]
    line.state.answered()
    assert line.events[1:] == [LineUp()]


def test_a_refusal_of_a_board_is_an_answer() -> None:
    line = Line()
    line.state.refused(Refused("chip_unknown"))
    assert line.events == []
