from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from birthmark.v1 import audit_pb2, signing_pb2
from signerd.adapters.rpc import gate as gate_module
from signerd.adapters.rpc.gate import Account, AuthContext, Call, Gate, Open, StreamCall, Subject
from signerd.core.names import Role
from signerd.errors import Code, Refused, Unrecorded

Request = signing_pb2.OpenSessionRequest
Response = signing_pb2.OpenSessionResponse


class AbortedError(Exception):
    pass


class Context:
    """What gRPC gives a handler, as far as the gate looks at it."""

    def __init__(self, request: Any = None) -> None:
        self._request = request
        self.reads = 0
        self.status: tuple[grpc.StatusCode, str, Any] | None = None
        self.written: list[Any] = []
        self.times: list[str] = []  # those stated beside answers

    def auth_context(self) -> AuthContext:
        return {}

    async def read(self) -> Any:
        self.reads += 1
        return self._request

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Sequence[Any]) -> None:
        beside = dict(trailing)
        self.times.append(beside.pop("birthmark-time"))
        self.status = (code, details, beside)
        raise AbortedError

    def set_trailing_metadata(self, trailing: Sequence[Any]) -> None:
        self.times.append(dict(trailing)["birthmark-time"])

    async def write(self, message: Any) -> None:
        self.written.append(message)


class Everyone:
    def __init__(self) -> None:
        self.refusal: Refused | None = None

    def label(self, _auth: AuthContext) -> str:
        return "birthmark://dev/station/s/n"

    def key(self, _auth: AuthContext) -> bytes:
        return b"key"

    async def admit(self, _auth: AuthContext, _role: Role | Open) -> str:
        if self.refusal is not None:
            raise self.refusal
        return "caller"

    async def admit_prober(self, auth: AuthContext) -> None:
        await self.admit(auth, Open.TO_PEERS)


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
    door, context = Door(), Context(Request(chip_id="c"))
    answer = await door.handler(echo).stream_unary(None, context)
    assert answer.session == b"caller c"
    assert len(context.times) == 1
    assert [(each.call, each.status, each.error) for each in door.accounts] == [("OpenSession", None, None)]
    assert door.refusals.seen == []


async def test_an_answer_is_accounted_for_with_its_board() -> None:
    door, context = Door(), Context(Request(chip_id="c"))
    handler = door.handler(echo, lambda request: Subject(chip_id=request.chip_id, agent="1.2.0"))
    await handler.stream_unary(None, context)
    assert [each.subject for each in door.accounts] == [Subject(chip_id="c", agent="1.2.0")]


async def test_a_refusal_is_a_code_and_stands_in_the_ledger_with_its_subject() -> None:
    async def refuse(_caller: str, _request: Request) -> Response:
        raise Refused(Code.ORDER_FULL, "all 4 places are taken")

    door, context = Door(), Context(Request(chip_id="c"))
    handler = door.handler(refuse, lambda request: Subject(chip_id=request.chip_id, agent="1.2.0"))
    with pytest.raises(AbortedError):
        await handler.stream_unary(None, context)
    assert context.status == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "order_full",
        {"birthmark-code": "order_full"},
    )
    assert door.refusals.seen == [
        {
            "key": b"key",
            "peer": "birthmark://dev/station/s/n",
            "call": "OpenSession",
            "code": "order_full",
            "work_order": None,
            "chip_id": "c",
            "csr_sha256": None,
            "agent": "1.2.0",
        }
    ]


async def test_an_unexpected_error_is_internal_and_no_refusal() -> None:
    async def break_(_caller: str, _request: Request) -> Response:
        raise KeyError("a secret")

    door, context = Door(), Context(Request(chip_id="c"))
    with pytest.raises(AbortedError):
        await door.handler(break_).stream_unary(None, context)
    assert context.status == (grpc.StatusCode.INTERNAL, "internal", {"birthmark-code": "internal"})
    assert door.refusals.seen == []
    assert isinstance(door.accounts[0].error, KeyError)


async def test_bytes_that_are_no_message_are_refused_by_us() -> None:
    door, context = Door(), Context(Request(chip_id="c"))
    handler = door.handler(echo)
    context = Context(handler.request_deserializer(b"\xff\xff\xff"))
    with pytest.raises(AbortedError):
        await handler.stream_unary(None, context)
    assert [each["code"] for each in door.refusals.seen] == ["request_malformed"]


async def test_of_a_caller_that_is_not_admitted_nothing_is_read_or_done() -> None:
    door, context = Door(), Context(Request(chip_id="c"))
    door.everyone.refusal = Refused(Code.ROLE_DENIED, "another role")
    handler = door.handler(echo, lambda request: Subject(chip_id=request.chip_id))
    with pytest.raises(AbortedError):
        await handler.stream_unary(None, context)
    assert context.reads == 0
    assert [(each["code"], each["chip_id"]) for each in door.refusals.seen] == [("role_denied", None)]


def handlers(door: Door) -> dict[str, Any]:
    async def nothing(
        _caller: str, _request: audit_pb2.StreamEntriesRequest
    ) -> AsyncIterator[audit_pb2.StreamEntriesResponse]:
        raise Refused(Code.NOT_FOUND, "never reached")
        yield

    async def answer(_request: Request, _context: Any) -> Response:
        return Response()

    stream = StreamCall("StreamEntries", audit_pb2.StreamEntriesRequest, nothing, Role.AUDITOR)

    class Details:
        method = "/any/Method"

    refused: Any = door.gate.refuse_all(lambda _path: "unknown")
    entrances: dict[str, Any] = {
        "unary": door.handler(echo).stream_unary,
        "stream": getattr(door.gate.stream(stream), "stream_stream"),  # noqa: B009 -- grpc's types leave it out
        "probe": getattr(door.gate.probe("Check", Request, answer), "stream_unary"),  # noqa: B009
        "no method": refused.service(Details()).stream_unary,
    }
    return entrances


@pytest.mark.parametrize("entrance", ["unary", "stream", "probe", "no method"])
async def test_what_is_not_to_be_recorded_is_told_and_counted_by_every_entrance(entrance: str) -> None:
    door, context = Door(), Context(None)
    door.everyone.refusal = Unrecorded(Code.PEER_REVOKED, "revoked")
    with pytest.raises(AbortedError):
        await handlers(door)[entrance](None, context)
    assert context.status is not None
    assert context.status[1] == "peer_revoked"
    assert (context.reads, door.refusals.seen) == (0, [])
    assert [type(each.error) for each in door.accounts] == [Unrecorded]


async def test_a_probe_without_a_request_is_counted_and_no_more() -> None:
    door, context = Door(), Context(None)
    with pytest.raises(AbortedError):
        await handlers(door)["probe"](None, context)
    assert context.status is not None
    assert context.status[1] == "request_malformed"
    assert door.refusals.seen == []


async def test_work_and_its_accounting_outlive_a_caller_that_hangs_up() -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_caller: str, _request: Request) -> Response:
        begun.set()
        await go_on.wait()
        done.set()
        raise Refused(Code.EVIDENCE_REJECTED, "too late to hide")

    door = Door()
    call = asyncio.create_task(door.handler(slow).stream_unary(None, Context(Request())))
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

    door, context = Door(), Context(Request(chip_id="c"))
    with pytest.raises(AbortedError):
        await door.handler(slow).stream_unary(None, context)
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
    calls = [asyncio.create_task(handler.stream_unary(None, Context(Request()))) for _ in range(2)]
    await both.wait()
    for call in calls:
        call.cancel()
    context = Context(Request())
    with pytest.raises(AbortedError):
        await handler.stream_unary(None, context)
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

    door, context = Door(), Context(audit_pb2.StreamEntriesRequest(start=7))
    call = StreamCall("StreamEntries", audit_pb2.StreamEntriesRequest, two_and_out, Role.AUDITOR)
    handler: Any = door.gate.stream(call)
    with pytest.raises(AbortedError):
        await handler.stream_stream(None, context)
    assert [message.start for message in context.written] == [7]
    assert [each["code"] for each in door.refusals.seen] == ["not_found"]
