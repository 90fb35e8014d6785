"""A station that asks for more than a slow token can sign: it waits for itself, and no other station does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from agent.adapters.signer.client import GrpcSigner
from agent.ports import BoardRequest
from agent.steps import await_signer
from agent.wiring import SystemClock
from birthmark.v1 import busy_pb2
from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.paper_board import PaperBoard
from harness.process import wait_until
from harness.shim import Shim
from signerd.config import load

T = TypeVar("T")

SIGN_MS = 1_000
FLOOD = 24  # boards at once; ten seconds of them wait, the others are sent away

pytestmark = pytest.mark.check


class SlowLine(HostileLine):
    def __init__(self, directory: Path) -> None:
        installation = Installation(directory)
        module = load(installation.config).hsm.module
        self.shim = Shim.build(installation.directory / "shim", before=module)
        self.shim.before_token_of(installation)
        super().__init__(installation)

    def slow_signatures(self) -> int:
        """Those that have ended."""
        calls = self.shim.calls("C_Sign")
        return sum(call.end_s is not None and call.end_s - call.begin_s >= SIGN_MS / 1000 for call in calls)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowLine]:
    line = SlowLine(tmp_path_factory.mktemp("slow"))
    with line.installation:
        yield line
        line.close()


def told_to_wait(error: grpc.RpcError) -> float | None:
    """Seconds, as gRPC's libraries read it; None for another error."""
    assert isinstance(error, grpc.Call)
    trailing = dict(error.trailing_metadata() or ())
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    assert trailing["birthmark-code"] == error.details() == "rate_limited"
    given = trailing["grpc-status-details-bin"]
    assert isinstance(given, bytes)
    details = busy_pb2.StatusDetails.FromString(given)
    assert (details.code, details.message) == (8, "rate_limited")
    assert [detail.type_url for detail in details.details] == ["type.googleapis.com/google.rpc.RetryInfo"]
    delay = busy_pb2.RetryInfo.FromString(details.details[0].value).retry_delay
    return delay.seconds + delay.nanos / 1e9


def test_a_flood_of_one_station_holds_up_no_other_and_is_told_when_to_come_back(line: SlowLine) -> None:
    order = line.open_order(quantity=FLOOD + 2)
    first, other, *boards = [line.board() for _ in range(FLOOD + 2)]
    line.shim.rule("C_Sign-1041", "delay", SIGN_MS)
    line.pc1.certify(order, first)  # signerd has seen how slow the token is
    delays: list[float] = []

    def flood(board: PaperBoard) -> None:
        try:
            line.pc1.certify(order, board)
        except grpc.RpcError as error:
            delay = told_to_wait(error)
            if delay is not None:
                delays.append(delay)

    with ThreadPoolExecutor(FLOOD) as pool:
        flooding = [pool.submit(flood, board) for board in boards]
        wait_until(lambda: line.slow_signatures() >= 2, "the flood")
        before = line.slow_signatures()
        line.pc2.certify(order, other)
        # Its turn came after what was handed on and one of the flood's; its checkpoint may wait for more.
        assert line.slow_signatures() - before < FLOOD // 2
        wait(flooding)
    assert delays
    assert all(1 <= delay <= 60 for delay in delays)
    line.shim.rule("C_Sign-1041", "delay", 0)
    for board in boards:
        line.pc1.certify(order, board)
    line.verify()


AGENT_MS = 4_000  # more than the 3 s after which a call is slow
AT_ONCE = 4  # the last one waits longer than the 10 s that a call had before


async def test_an_agent_waits_for_a_slow_token_and_says_that_it_is_slow(line: SlowLine) -> None:
    """No board is blamed, and none is parked, while signerd is at work for it."""
    peer = line.installation.add_station("plant1", "pc9")
    order = line.open_order(quantity=AT_ONCE, stations=(peer.uri,))
    line.shim.rule("C_Sign-1041", "delay", AGENT_MS)
    said: list[str] = []

    async def certify(signer: GrpcSigner, board: PaperBoard) -> bytes:
        async def wait_for(call: Callable[[], Awaitable[T]], what: str) -> T:
            return await await_signer(call, wait_s=120.0, clock=SystemClock(), on_wait=said.append, what=what)

        session = await wait_for(lambda: signer.open_session(order, board.chip_id), "to open a session")
        csr, sent = board.request(session.challenge)
        request = BoardRequest(csr, sent.method, sent.claims, sent.evidence)
        return (await wait_for(lambda: signer.sign_csr(session.session, request), "to sign")).certificate_der

    async with GrpcSigner(
        line.installation.target,
        operations_ca=peer.operations_ca_file.read_bytes(),
        certificate=peer.certificate_file.read_bytes(),
        key=peer.key_file.read_bytes(),
        deadline_s=10.0,
        version="1.0",
    ) as signer:
        made = await asyncio.gather(*(certify(signer, line.board()) for _ in range(AT_ONCE)))
    assert len(set(made)) == AT_ONCE
    assert {"signerd takes more than 3 s to sign", "signerd takes more than 10 s to sign"} <= set(said)
    assert not any("down" in each or "does not answer" in each for each in said)
