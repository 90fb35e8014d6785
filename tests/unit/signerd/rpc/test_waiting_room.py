from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from birthmark.v1 import signing_pb2
from signerd.adapters.rpc import waiting
from signerd.adapters.rpc.gate import AuthContext
from signerd.adapters.rpc.status import Status, status_of
from signerd.adapters.rpc.waiting import CALLS_PER_CALLER, OpenCalls, WaitingRoom
from signerd.errors import Code, Refused

Request = signing_pb2.OpenSessionRequest
Response = signing_pb2.OpenSessionResponse
PATH = "/birthmark.v1.SigningService/OpenSession"


class AbortedError(Exception):
    pass


class Context:
    """A caller, named by its certificate, and what it sends."""

    def __init__(self, certificate: bytes, read: Callable[[], Awaitable[Any]]) -> None:
        self._certificate = certificate
        self.read = read
        self.details = ""

    def auth_context(self) -> AuthContext:
        return {"x509_pem_cert": [self._certificate]}

    async def abort(self, _code: grpc.StatusCode, details: str, _trailing: Any) -> None:
        self.details = details
        raise AbortedError


class Details:
    method = PATH


class Room:
    """The waiting room before a service that answers at once."""

    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []

        async def echo(request: Request, _context: Any) -> Response:
            return Response(session=request.chip_id.encode())

        inner = grpc.method_handlers_generic_handler(
            "birthmark.v1.SigningService", {"OpenSession": grpc.unary_unary_rpc_method_handler(echo)}
        )
        room: Any = WaitingRoom(inner, OpenCalls(), self._refuse)
        self.call = room.service(Details()).stream_unary

    def _refuse(self, path: str, _auth: AuthContext, refusal: Refused) -> Status:
        self.refused.append((path, refusal.code.value))
        return status_of(refusal)


async def says() -> Any:
    return Request(chip_id="c")


async def ends() -> Any:
    return grpc.aio.EOF  # type: ignore[attr-defined] # grpc's types leave it out


async def never() -> Any:
    await asyncio.Event().wait()


async def test_a_request_passes() -> None:
    room = Room()
    assert (await room.call(None, Context(b"a", says))).session == b"c"
    assert room.refused == []


async def test_a_method_that_no_service_has_is_left_to_grpc() -> None:
    inner = grpc.method_handlers_generic_handler("other", {})
    details: Any = Details()
    assert (
        WaitingRoom(inner, OpenCalls(), lambda *_: status_of(Refused(Code.INVALID, ""))).service(details)
        is None
    )


async def test_a_request_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "REQUEST_DEADLINE_S", 0.0)
    room, context = Room(), Context(b"a", never)
    with pytest.raises(AbortedError):
        await room.call(None, context)
    assert context.details == "request_malformed"
    assert room.refused == [(PATH, "request_malformed")]


async def test_a_call_that_ends_without_a_request_is_refused() -> None:
    room, context = Room(), Context(b"a", ends)
    with pytest.raises(AbortedError):
        await room.call(None, context)
    assert room.refused == [(PATH, "request_malformed")]


async def test_one_caller_has_so_many_open_calls_and_a_place_again_once_one_ends() -> None:
    room = Room()
    silent = [asyncio.create_task(room.call(None, Context(b"a", never))) for _ in range(CALLS_PER_CALLER)]
    await asyncio.sleep(0)  # each of them takes its place
    with pytest.raises(AbortedError):
        await room.call(None, Context(b"a", says))
    assert room.refused == [(PATH, "rate_limited")]
    assert (await room.call(None, Context(b"b", says))).session == b"c"
    silent.pop().cancel()
    await asyncio.sleep(0)
    assert (await room.call(None, Context(b"a", says))).session == b"c"
    for call in silent:
        call.cancel()
    await asyncio.wait(silent)
