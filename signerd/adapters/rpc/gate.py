"""What every call goes through, in this order, and nothing reaches signerd past it:

    1. identify   the caller's certificate names a peer of this deployment
    2. registry   known with this key and not revoked, asked at each call
    3. role       the role that the call is for
    4. rate       within the rate of the caller's key, and not too many calls open
    5. form       the request comes in time and is a message of its type; the service then checks its fields
    6. work       the call itself
    7. account    any error becomes one status; one metric, one log line, one ledger entry if refused

Steps 1 to 4 happen at the call's headers, before a byte of its request is read: whatever a call looks like
further on, with no body, two, or one of a megabyte, its caller was admitted first. Who is turned away there
is told why and counted (`Unrecorded`), and writes neither line nor entry.

The work is a task of its own. A caller that goes away, or whose deadline passes, stops waiting; the work
and its accounting go on, so that an intent is never left half done by a caller's timing and a refusal
cannot be kept out of the ledger by hanging up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from signerd.adapters.caller import CALLER
from signerd.adapters.rpc.status import Status, metadata_of, status_of, time_metadata
from signerd.adapters.rpc.waiting import OpenCalls, first_request
from signerd.core.names import Role
from signerd.errors import Code, Fault, Refused, Unavailable, Unrecorded
from signerd.ports import RefusalLog

CALL_DEADLINE_S = 30.0  # longest a caller is kept waiting, whatever its own deadline
STREAM_DEADLINE_S = 600.0  # longest one stream of entries may take; the reader goes on with a new one

AuthContext = Mapping[str, Sequence[bytes]]
CallerT = TypeVar("CallerT")
CallerT_co = TypeVar("CallerT_co", covariant=True)
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class Open(Enum):
    """Whom a call is for that is not for one role."""

    TO_PEERS = "every registered peer"
    TO_NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Subject:
    """What log and ledger may say of the request: values that passed their bounds, or None."""

    work_order: str | None = None
    chip_id: str | None = None
    csr_sha256: bytes | None = None
    agent: str | None = None  # the version that the station stated of its program


def no_subject(_request: Message) -> Subject:
    """For calls whose refusals name no board."""
    return Subject()


@dataclass(frozen=True, slots=True)
class Call(Generic[CallerT, RequestT, ResponseT]):
    """One unary call: its name, its request's type, who may make it, what it does."""

    name: str
    request: type[RequestT]
    work: Callable[[CallerT, RequestT], Awaitable[ResponseT]]
    role: Role | Open = Open.TO_PEERS
    subject: Callable[[RequestT], Subject] = no_subject


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[CallerT, RequestT, ResponseT]):
    """One call that answers with a stream."""

    name: str
    request: type[RequestT]
    work: Callable[[CallerT, RequestT], AsyncIterator[ResponseT]]
    role: Role | Open = Open.TO_PEERS


class Admission(Protocol[CallerT_co]):
    """Steps 1 to 4."""

    def label(self, auth: AuthContext) -> str | None:
        """The caller as log and ledger name it, or None where its certificate names nobody."""
        ...

    def key(self, auth: AuthContext) -> bytes:
        """The caller as rates and shares count it."""
        ...

    async def admit(self, auth: AuthContext, role: Role | Open) -> CallerT_co:
        """Lets the caller in, or raises Refused."""
        ...

    async def admit_prober(self, auth: AuthContext) -> None:
        """Lets in who only asks how signerd is, or raises Unrecorded."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """How one call went. `error` is set for everything that was not answered with a response."""

    call: str
    caller: str | None
    seconds: float
    status: Status | None
    error: BaseException | None
    subject: Subject = Subject()


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A call at the gate: what it is, whose, and since when."""

    name: str
    auth: AuthContext
    started: float


class Gate(Generic[CallerT]):
    """Makes gRPC handlers out of calls.

    `refusals` is None for administrators: what they are refused is no event of the line.
    """

    def __init__(
        self,
        admission: Admission[CallerT],
        *,
        account: Callable[[Account], None],
        refusals: RefusalLog | None,
        concurrent_calls: int,
    ) -> None:
        self._admission = admission
        self._account = account
        self._refusals = refusals
        self._concurrent_calls = concurrent_calls
        self._open = OpenCalls()
        self._running: set[asyncio.Task[Any]] = set()

    def limit(self, concurrent_calls: int) -> None:
        """Another bound on calls that are at work, from now on."""
        self._concurrent_calls = concurrent_calls

    def unary(self, call: Call[CallerT, RequestT, ResponseT]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call with one answer."""

        async def behaviour(_requests: object, context: Any) -> ResponseT:
            outcome = await self._unary(call, context)
            if isinstance(outcome, Status):
                await abort(context, outcome)
            context.set_trailing_metadata((time_metadata(),))
            return outcome

        return grpc.stream_unary_rpc_method_handler(
            behaviour, request_deserializer=_parser(call.request), response_serializer=_serialize
        )

    def stream(self, call: StreamCall[CallerT, RequestT, ResponseT]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call that streams. Each message waits until the transport takes it."""

        async def behaviour(_requests: object, context: Any) -> None:
            arrival = _arrival(call.name, context)
            try:
                async with asyncio.timeout(STREAM_DEADLINE_S):
                    caller = await self._admission.admit(arrival.auth, call.role)
                    with self._open.one_more(self._admission.key(arrival.auth)):
                        request = _well_formed(await first_request(context))
                        async for response in call.work(caller, request):
                            await context.write(response)
            except asyncio.CancelledError as error:
                self._ended(arrival, error)
                raise
            except Exception as error:  # noqa: BLE001 -- step 7: every error becomes one status
                await abort(context, self._failed(arrival, error, Subject()))
            else:
                self._ended(arrival, None)

        return grpc.stream_stream_rpc_method_handler(
            behaviour, request_deserializer=_parser(call.request), response_serializer=_serialize
        )

    def probe(
        self, name: str, request: type[RequestT], answer: Callable[[RequestT, Any], Awaitable[ResponseT]]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call that asks how signerd is: for whoever has a certificate that is not revoked,
        at its rate. Answers are not accounted for; what is refused is counted."""

        async def behaviour(_requests: object, context: Any) -> ResponseT:
            arrival = _arrival(name, context)
            try:
                await self._admission.admit_prober(arrival.auth)
                with self._open.one_more(self._admission.key(arrival.auth)):
                    asked = _well_formed(await first_request(context))
            except Refused as refusal:
                unrecorded = Unrecorded(refusal.code, refusal.detail)
                await abort(context, self._failed(arrival, unrecorded, Subject()))
            return await answer(asked, context)

        return grpc.stream_unary_rpc_method_handler(
            behaviour, request_deserializer=_parser(request), response_serializer=_serialize
        )

    def refuse_all(self, name_of: Callable[[str], str | None]) -> grpc.GenericRpcHandler[Any, Any]:
        """A handler for every method that no other handler knows: `role_denied`, and recorded.

        `name_of` turns the caller's method path into a name that may stand in the ledger; None leaves the
        method to gRPC's own UNIMPLEMENTED.
        """
        return _RefuseAll(self._refuse, name_of)

    async def drained(self) -> None:
        """Returns when no call's work is running."""
        while self._running:
            await asyncio.wait(self._running)

    async def _unary(self, call: Call[CallerT, RequestT, ResponseT], context: Any) -> ResponseT | Status:
        arrival = _arrival(call.name, context)
        try:
            caller = await self._admission.admit(arrival.auth, call.role)
            with self._open.one_more(self._admission.key(arrival.auth)):
                request = _well_formed(await first_request(context))
                self._check_load()
                task = self._start(self._work(call, caller, request, arrival))
                done, _ = await asyncio.wait((task,), timeout=CALL_DEADLINE_S)
        except Exception as error:  # noqa: BLE001 -- step 7: every error becomes one status
            return self._failed(arrival, error, Subject())
        if not done:  # the work goes on, and accounts for itself
            return status_of(Unavailable(f"no answer within {CALL_DEADLINE_S} s"))
        return task.result()

    def _start(self, work: Coroutine[Any, Any, ResponseT | Status]) -> asyncio.Task[ResponseT | Status]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _work(
        self, call: Call[CallerT, RequestT, ResponseT], caller: CallerT, request: RequestT, arrival: _Arrival
    ) -> ResponseT | Status:
        CALLER.set(self._admission.label(arrival.auth) or "")  # of this task alone
        try:
            response = await call.work(caller, request)
        except Exception as error:  # noqa: BLE001 -- step 7: every error becomes one status
            return self._failed(arrival, error, call.subject(request))
        self._ended(arrival, None, call.subject(request))
        return response

    def _check_load(self) -> None:
        # Callers that hang up leave their work running: the bound on calls is not a bound on work.
        if len(self._running) >= self._concurrent_calls:
            raise Unavailable(f"{len(self._running)} calls are at work")

    async def _refuse(self, name: str, context: Any) -> Status:
        arrival = _arrival(name, context)
        error: Exception = Refused(Code.ROLE_DENIED, "no such call for this role")
        try:
            await self._admission.admit(arrival.auth, Open.TO_NOBODY)
        except Exception as refusal:  # noqa: BLE001 -- step 7: every error becomes one status
            error = refusal
        return self._failed(arrival, error, Subject())

    def _ended(self, arrival: _Arrival, error: BaseException | None, subject: Subject | None = None) -> None:
        label, seconds = self._admission.label(arrival.auth), perf_counter() - arrival.started
        self._account(Account(arrival.name, label, seconds, None, error, subject or Subject()))

    def _failed(self, arrival: _Arrival, error: Exception, subject: Subject) -> Status:
        label = self._admission.label(arrival.auth)
        status = status_of(error, administrator=self._refusals is None)
        if status.refusal and self._refusals is not None and not isinstance(error, Unrecorded):
            self._refusals.refused(
                key=self._admission.key(arrival.auth),
                peer=label,
                call=arrival.name,
                code=status.code.value,
                work_order=subject.work_order,
                chip_id=subject.chip_id,
                csr_sha256=subject.csr_sha256,
                agent=subject.agent,
            )
        seconds = perf_counter() - arrival.started
        self._account(Account(arrival.name, label, seconds, status, error, subject))
        return status


class _RefuseAll(grpc.GenericRpcHandler):  # type: ignore[type-arg] # it takes none at run time
    def __init__(
        self, refuse: Callable[[str, Any], Awaitable[Status]], name_of: Callable[[str], str | None]
    ) -> None:
        self._refuse = refuse
        self._name_of = name_of

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = self._name_of(handler_call_details.method)
        if name is None:
            return None

        async def behaviour(_requests: object, context: Any) -> None:
            await abort(context, await self._refuse(name, context))

        return grpc.stream_unary_rpc_method_handler(behaviour)


def _arrival(name: str, context: Any) -> _Arrival:
    return _Arrival(name, context.auth_context(), perf_counter())


def _parser(message: type[RequestT]) -> Callable[[bytes], RequestT | None]:
    """Parses a request; None where the bytes are no such message, so that the gate can refuse it itself."""

    def parse(data: bytes) -> RequestT | None:
        try:
            return message.FromString(data)
        except DecodeError:
            return None

    return parse


def _well_formed(request: RequestT | None) -> RequestT:
    if request is None:
        raise Refused(Code.REQUEST_MALFORMED, "the bytes are no message of the call's type")
    return request


def _serialize(response: Message) -> bytes:
    return response.SerializeToString()


async def abort(context: Any, status: Status) -> NoReturn:
    """Ends the call with a status, and the code beside it."""
    await context.abort(status.status, status.message, metadata_of(status))
    raise Fault("gRPC goes on after an abort")
