"""The connection to signerd over real mTLS when it fails: slow, silent, of another CA. Each is told apart."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.signer import channel, client
from agent.adapters.signer.client import GrpcSigner
from agent.adapters.signer.line_state import LineState
from agent.adapters.signer.tls_probe import diagnose
from agent.config import Signerd
from agent.core.events import Event, LineDown, LineUp
from agent.errors import SignerLineDown, SignerSlow, SignerUnavailable
from agent.steps import await_signer
from agent.wiring import SystemClock
from harness.agent_world import Gate
from harness.middle_box import MiddleBox
from harness.paper_company import PaperCompany
from harness.paper_signer import OperationsTree, PaperSigner

LIMIT_S = 12.0  # 89 s before


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, five times as fast: `test_the_times_as_they_are` takes them as they are."""
    monkeypatch.setattr(channel, "QUIET_S", 0.6)
    monkeypatch.setattr(channel, "PROBE_S", 0.5)
    monkeypatch.setattr(client, "PROBE_S", 0.5)


@pytest.fixture(name="signerd")
async def start_signerd() -> AsyncIterator[PaperSigner]:
    async with PaperSigner(PaperCompany()) as signerd:
        yield signerd


def line_of(address: str, pems: dict[str, Any], folder: Path, events: list[Event]) -> GrpcSigner:
    paths: dict[str, Any] = {name: folder / f"{name}.pem" for name in pems}
    for name, path in paths.items():
        path.write_bytes(pems[name])
    where = Signerd.model_construct(address=address, **paths)
    state = LineState(events.append, lambda: diagnose(where, timeout_s=1))
    return GrpcSigner(address, **pems, deadline_s=5, version="1.0", line=state)


async def down(events: list[Event]) -> LineDown:
    """Waits until it is said."""
    async with asyncio.timeout(30):
        while not events:  # noqa: ASYNC110 -- told from outside the test
            await asyncio.sleep(0.02)
    assert isinstance(events[-1], LineDown)
    return events[-1]


async def test_a_ca_that_grpc_takes_is_refused_by_no_python(
    signerd: PaperSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contexts of Python 3.13 are strict by themselves, and this CA says nothing of how its key is used."""
    true_context = ssl.create_default_context

    def strict(*arguments: Any, **named: Any) -> ssl.SSLContext:
        context = true_context(*arguments, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    pems = signerd.pems()
    paths: dict[str, Any] = {name: tmp_path / f"{name}.pem" for name in pems}
    for name, path in paths.items():
        path.write_bytes(pems[name])
    where = Signerd.model_construct(address=signerd.address, **paths)
    assert await asyncio.to_thread(diagnose, where, timeout_s=30) is None


async def test_work_that_is_being_done_is_waited_for(signerd: PaperSigner, tmp_path: Path) -> None:
    """Longer than a line may be silent, and than a call's deadline was: the line is alive meanwhile."""
    events: list[Event] = []
    gate = signerd.gates["OpenSession"] = Gate()
    async with line_of(signerd.address, signerd.pems(), tmp_path, events) as line:
        asking = asyncio.create_task(line.open_session("WO-1", "CHIP-1"))
        await gate.arrived.wait()
        await asyncio.wait({asking}, timeout=5 * channel.QUIET_S)
        assert not asking.done()
        gate.open.set()
        assert (await asking).session
    assert events == []


async def test_what_is_never_done_is_signerds_slowness_and_no_line_that_is_down(
    signerd: PaperSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_WORK_S", 1.5)
    events: list[Event] = []
    signerd.gates["OpenSession"] = Gate()
    async with line_of(signerd.address, signerd.pems(), tmp_path, events) as line:
        with pytest.raises(SignerSlow):
            await line.open_session("WO-1", "CHIP-1")
    assert events == []


async def test_a_line_that_went_silent_is_made_anew(signerd: PaperSigner, tmp_path: Path) -> None:
    events: list[Event] = []
    async with MiddleBox(signerd.address) as box:
        async with line_of(box.address, signerd.pems(), tmp_path, events) as line:
            await line.open_session("WO-1", "CHIP-1")
            box.forget()
            calls = [line.open_session("WO-1", f"CHIP-{number}") for number in range(8)]
            failures = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(failure, SignerUnavailable) for failure in failures)
            assert (await line.open_session("WO-1", "CHIP-1")).session
        assert box.connections <= 3  # eight calls, one line tried beside, and one look at what is wrong
    assert events == []


@pytest.mark.check
async def test_a_line_that_stays_silent_is_down_and_comes_back(signerd: PaperSigner, tmp_path: Path) -> None:
    events: list[Event] = []
    async with (
        MiddleBox(signerd.address) as box,
        line_of(box.address, signerd.pems(), tmp_path, events) as line,
    ):
        await line.open_session("WO-1", "CHIP-1")
        box.forget(fresh=True)
        with pytest.raises(SignerLineDown, match="line_silent"):
            await line.open_session("WO-1", "CHIP-1")
        await down(events)
        box.remember()
        async with asyncio.timeout(LIMIT_S):
            await await_signer(
                lambda: line.open_session("WO-1", "CHIP-1"),
                wait_s=LIMIT_S,
                clock=SystemClock(),
                on_wait=lambda _: None,
            )
    assert [type(event) for event in events] == [LineDown, LineUp]


@pytest.mark.check
async def test_the_times_as_they_are(
    signerd: PaperSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a call by the pings, with one by the look at the line. It took 40 s and 89 s."""
    monkeypatch.undo()
    async with (
        MiddleBox(signerd.address) as box,
        line_of(box.address, signerd.pems(), tmp_path, []) as line,
    ):
        await line.open_session("WO-1", "CHIP-1")
        box.forget()
        begun_s = time.monotonic()
        with pytest.raises(SignerUnavailable):
            await line.open_session("WO-1", "CHIP-1")
        assert (await line.open_session("WO-1", "CHIP-1")).session
        with_a_call_s = time.monotonic() - begun_s
        before = box.connections
        box.forget()
        begun_s = time.monotonic()
        async with asyncio.timeout(30):
            while box.connections == before:  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.1)
        without_one_s = time.monotonic() - begun_s
        print(f"{with_a_call_s=:.1f} {without_one_s=:.1f}")
        assert with_a_call_s < LIMIT_S
        assert without_one_s < 20


def another_ca(signerd: PaperSigner) -> dict[str, Any]:
    return signerd.pems() | {"operations_ca": OperationsTree().pem}


async def test_another_ca_is_one_verdict_that_stops_and_no_board_asks_twice(
    signerd: PaperSigner, tmp_path: Path
) -> None:
    events: list[Event] = []
    async with line_of(signerd.address, another_ca(signerd), tmp_path, events) as line:
        failures = await asyncio.gather(
            *(line.open_session("WO-1", f"CHIP-{number}") for number in range(8)), return_exceptions=True
        )
    assert {type(failure) for failure in failures} == {SignerLineDown}
    (said,) = events
    assert isinstance(said, LineDown)
    assert (said.code, said.stop) == ("line_wrong_ca", True)
    assert "operations-ca.pem" in said.remedy


async def test_an_idle_station_learns_of_its_line_too(signerd: PaperSigner, tmp_path: Path) -> None:
    events: list[Event] = []
    async with line_of(signerd.address, another_ca(signerd), tmp_path, events):
        assert (await down(events)).stop
