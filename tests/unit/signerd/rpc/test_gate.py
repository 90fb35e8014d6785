from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from birthmark.v1 import audit_pb2, signing_pb2
from signerd.adapters.rpc import gate as gate_module
from signerd.adapters.rpc.gate import Account, AuthContext, Call, Gate, StreamCall, Subject
from signerd.core.names import Role
from signerd.errors import Code, Refused

Request = signing_pb2.OpenSessionRequest
Response = signing_pb2.OpenSessionResponse


class AbortedError(Exception):
    pass


class Context:
    """What gRPC gives a handler, as far as the gate looks at it."""

    def __init__(self) -> None:
        self.status: tuple[grpc.StatusCode, str, Any] | None = None
        self.written: list[Any] = []

    def auth_context(self) -> AuthContext:
        return {}

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Sequence[Any]) -> None:
        self.status = (code, details, dict(trailing))
        raise AbortedError

    async def write(self, message: Any) -> None:
        self.written.append(message)


class Everyone:
    def __init__(self) -> None:
        self.refusal: Refused | None = None

    def label(self, _auth: AuthContext) -> str:
        return "birthmark://dev/station/s/n"

    async def admit(self, _auth: AuthContext, _role: Role | None) -> str:
        if self.refusal is not None:
            raise self.refusal
        return "caller"


class Refusals:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def refused(self, **refusal: Any) -> None:
        self.seen.append(refusal)


class Door:
    def __init__(self, *, concurrent_calls: int = 4) -> None:
        self.everyone, self.refusals = Everyone(), Refusals()
        self.accounts: list[Account] = []
        self.gate: Gate[str] = Gate(
            self.everyone,
            account=self.accounts.append,
            refusals=self.refusals,
            concurrent_calls=concurrent_calls,
        )

    def handler(self, work: Any, subject: Any = gate_module.no_subject) -> Any:
        return self.gate.unary(Call("OpenSession", Request, work, Role.STATION, subject))


async def echo(caller: str, request: Request) -> Response:
    return Response(session=f"{caller} {request.chip_id}".encode())


async def test_an_answer_passes() -> None:
    door, context = Door(), Context()
    answer = await door.handler(echo).unary_unary(Request(chip_id="c"), context)
    assert answer.session == b"caller c"
    assert [(each.call, each.status, each.error) for each in door.accounts] == [("OpenSession", None, None)]
    assert door.refusals.seen == []


async def test_a_refusal_is_a_code_and_stands_in_the_ledger_with_its_subject() -> None:
    async def refuse(_caller: str, _request: Request) -> Response:
        raise Refused(Code.ORDER_FULL, "all 4 places are taken")

    door, context = Door(), Context()
    handler = door.handler(refuse, lambda request: Subject(chip_id=request.chip_id))
    with pytest.raises(AbortedError):
        await handler.unary_unary(Request(chip_id="c"), context)
    assert context.status == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "order_full",
        {"birthmark-code": "order_full"},
    )
    assert door.refusals.seen == [
        {
            "peer": "birthmark://dev/station/s/n",
            "call": "OpenSession",
            "code": "order_full",
            "work_order": None,
            "chip_id": "c",
            "csr_sha256": None,
        }
    ]


async def test_an_unexpected_error_is_internal_and_no_refusal() -> None:
    async def break_(_caller: str, _request: Request) -> Response:
        raise KeyError("a secret")

    door, context = Door(), Context()
    with pytest.raises(AbortedError):
        await door.handler(break_).unary_unary(Request(), context)
    assert context.status == (grpc.StatusCode.INTERNAL, "internal", {"birthmark-code": "internal"})
    assert door.refusals.seen == []
    assert isinstance(door.accounts[0].error, KeyError)


async def test_bytes_that_are_no_message_are_refused_by_us() -> None:
    door, context = Door(), Context()
    handler = door.handler(echo)
    parsed = handler.request_deserializer(b"\xff\xff\xff")
    assert parsed is None
    with pytest.raises(AbortedError):
        await handler.unary_unary(parsed, context)
    assert [each["code"] for each in door.refusals.seen] == ["request_malformed"]


async def test_nothing_is_parsed_or_done_for_a_caller_that_is_not_admitted() -> None:
    door, context = Door(), Context()
    door.everyone.refusal = Refused(Code.UNAUTHENTICATED, "unknown")
    handler = door.handler(echo, lambda request: Subject(chip_id=request.chip_id))
    with pytest.raises(AbortedError):
        await handler.unary_unary(Request(chip_id="c"), context)
    assert door.refusals.seen[0]["code"] == "unauthenticated"
    assert door.refusals.seen[0]["chip_id"] is None


async def test_work_and_its_accounting_outlive_a_caller_that_hangs_up() -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_caller: str, _request: Request) -> Response:
        begun.set()
        await go_on.wait()
        done.set()
        raise Refused(Code.EVIDENCE_REJECTED, "too late to hide")

    door = Door()
    call = asyncio.create_task(door.handler(slow).unary_unary(Request(), Context()))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not done.is_set()
    drained = asyncio.create_task(door.gate.drained())
    go_on.set()
    await drained
    assert done.is_set()
    assert [each["code"] for each in door.refusals.seen] == ["evidence_rejected"]


async def test_a_late_answer_is_unavailable_and_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "CALL_DEADLINE_S", 0.0)
    go_on = asyncio.Event()

    async def slow(_caller: str, _request: Request) -> Response:
        await go_on.wait()
        return Response()

    door, context = Door(), Context()
    with pytest.raises(AbortedError):
        await door.handler(slow).unary_unary(Request(), context)
    assert context.status is not None
    assert context.status[1] == "unavailable"
    go_on.set()
    await door.gate.drained()
    assert door.accounts[-1].status is None


async def test_callers_that_hang_up_do_not_get_more_work_done_than_the_bound() -> None:
    go_on, both = asyncio.Event(), asyncio.Barrier(3)
    begun = 0

    async def slow(_caller: str, _request: Request) -> Response:
        nonlocal begun
        begun += 1
        await both.wait()
        await go_on.wait()
        return Response()

    door = Door(concurrent_calls=2)
    handler = door.handler(slow)
    calls = [asyncio.create_task(handler.unary_unary(Request(), Context())) for _ in range(2)]
    await both.wait()
    for call in calls:
        call.cancel()
    context = Context()
    with pytest.raises(AbortedError):
        await handler.unary_unary(Request(), context)
    assert context.status is not None
    assert context.status[1] == "unavailable"
    go_on.set()
    await door.gate.drained()
    assert begun == 2


async def test_a_stream_is_written_message_by_message_and_refused_like_a_call() -> None:
    async def two_and_out(
        _caller: str, request: audit_pb2.StreamEntriesRequest
    ) -> AsyncIterator[audit_pb2.StreamEntriesResponse]:
        yield audit_pb2.StreamEntriesResponse(start=request.start)
        raise Refused(Code.NOT_FOUND, "the end")

    door, context = Door(), Context()
    call = StreamCall("StreamEntries", audit_pb2.StreamEntriesRequest, two_and_out, Role.AUDITOR)
    handler: Any = door.gate.stream(call)
    with pytest.raises(AbortedError):
        await handler.unary_stream(audit_pb2.StreamEntriesRequest(start=7), context)
    assert [message.start for message in context.written] == [7]
    assert [each["code"] for each in door.refusals.seen] == ["not_found"]
