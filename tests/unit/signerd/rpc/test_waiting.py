from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from birthmark.v1 import signing_pb2
from signerd.adapters.rpc import waiting
from signerd.adapters.rpc.waiting import CALLS_PER_CALLER, OpenCalls, first_request
from signerd.errors import Code, Refused, Unrecorded


class Context:
    """What a caller sends."""

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self.read = read


async def says() -> Any:
    return signing_pb2.OpenSessionRequest(chip_id="c")


async def ends() -> Any:
    return grpc.aio.EOF  # type: ignore[attr-defined] # grpc's types leave it out


async def never() -> Any:
    await asyncio.Event().wait()


async def test_a_request_passes() -> None:
    assert (await first_request(Context(says))).chip_id == "c"


@pytest.mark.parametrize("read", [never, ends])
async def test_a_request_that_does_not_come_is_refused(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], Awaitable[Any]]
) -> None:
    monkeypatch.setattr(waiting, "REQUEST_DEADLINE_S", 0.0 if read is never else 10.0)
    with pytest.raises(Refused) as refused:
        await first_request(Context(read))
    assert refused.value.code is Code.REQUEST_MALFORMED
    assert not isinstance(refused.value, Unrecorded)


def test_one_caller_has_so_many_open_calls_and_a_place_again_once_one_ends() -> None:
    calls = OpenCalls()
    places = [calls.one_more(b"a") for _ in range(CALLS_PER_CALLER)]
    for place in places:
        place.__enter__()
    with pytest.raises(Unrecorded) as refused, calls.one_more(b"a"):
        pass
    assert refused.value.code is Code.RATE_LIMITED
    with calls.one_more(b"b"):
        places[0].__exit__(None, None, None)
        with calls.one_more(b"a"):
            pass
    for place in places[1:]:
        place.__exit__(None, None, None)
    assert not calls._open
