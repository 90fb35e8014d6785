"""A signerd that is busy says when to come back: the agent waits so long, and gives no board up for it."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from agent.adapters.signer.failures import translated
from agent.errors import SignerBusy, SignerUnavailable
from agent.steps import await_signer
from birthmark.v1 import busy_pb2


class MovedClock:
    """Sleeping takes no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_s(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def busy(details: bytes, code: str = "rate_limited") -> Exception:
    trailing = grpc.aio.Metadata(("birthmark-code", code), ("grpc-status-details-bin", details))
    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    return translated(grpc.aio.AioRpcError(status, grpc.aio.Metadata(), trailing, code, None))


def details(seconds: float, kind: str = "type.googleapis.com/google.rpc.RetryInfo") -> bytes:
    delay = busy_pb2.RetryInfo()
    delay.retry_delay.FromMilliseconds(round(seconds * 1000))
    status = busy_pb2.StatusDetails(code=8, message="rate_limited")
    status.details.add(type_url=kind, value=delay.SerializeToString())
    return status.SerializeToString()


@pytest.mark.parametrize(("told", "waited"), [(12.5, 12.5), (0, 0.1), (-5, 0.1), (1e6, 300)])
def test_the_delay_is_read_within_bounds(told: float, waited: float) -> None:
    error = busy(details(told))
    assert isinstance(error, SignerBusy)
    assert abs(error.delay_s - waited) < 1e-6


@pytest.mark.parametrize(
    "given", [b"", b"\xff", b"\x1a\xff", details(5, "type.googleapis.com/google.rpc.Help")]
)
def test_without_a_delay_it_is_as_before(given: bytes) -> None:
    error = busy(given)
    assert isinstance(error, SignerUnavailable)
    assert not isinstance(error, SignerBusy)


async def test_a_call_comes_back_when_it_is_told_to_and_does_not_give_up() -> None:
    clock = MovedClock()
    errors: list[Exception] = [*(SignerBusy(40.0) for _ in range(5)), SignerUnavailable("away")]
    said: list[str] = []

    async def call() -> str:
        if errors:
            raise errors.pop(0)
        return "certificate"

    assert await await_signer(call, wait_s=60, clock=clock, on_wait=said.append) == "certificate"
    assert clock.slept == [40.0] * 5 + [0.2]
    assert said == ["signerd is busy: again in 40 s"] * 5 + ["away"]


async def test_a_signer_that_is_away_is_still_given_up() -> None:
    async def call() -> str:
        raise SignerUnavailable("away")

    with pytest.raises(SignerUnavailable):
        await await_signer(call, wait_s=60, clock=MovedClock(), on_wait=lambda _: None)
