"""What every call goes through, in this order, and nothing reaches signerd past it:

    1. identify   the caller's certificate names a peer of this deployment
    2. rate       within the caller's rate
    3. registry   known with this key and not revoked, asked at each call
    4. role       the role that the call is for
    5. form       the request is a message of its type; the service then checks its fields
    6. work       the call itself
    7. account    any error becomes one status; one metric, one log line, one ledger entry if refused

The work is a task of its own. A caller that goes away, or whose deadline passes, stops waiting; the work
and its accounting go on, so that an intent is never left half done by a caller's timing and a refusal
cannot be kept out of the ledger by hanging up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from signerd.adapters.rpc.status import CODE_METADATA, Status, status_of
from signerd.core.names import Role
from signerd.errors import Code, Fault, Refused, Unavailable
from signerd.ports import RefusalLog

CALL_DEADLINE_S = 30.0  # longest a caller is kept waiting, whatever its own deadline
STREAM_DEADLINE_S = 600.0  # longest one stream of entries may take; the reader goes on with a new one

AuthContext = Mapping[str, Sequence[bytes]]
CallerT = TypeVar("CallerT")
CallerT_co = TypeVar("CallerT_co", covariant=True)
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a refusal's ledger entry may say of the request: values that passed their bounds, or None."""

    work_order: str | None = None
    chip_id: str | None = None
    csr_sha256: bytes | None = None


def no_subject(_request: Message) -> Subject:
    """For calls whose refusals name no board."""
    return Subject()


@dataclass(frozen=True, slots=True)
class Call(Generic[CallerT, RequestT, ResponseT]):
    """One unary call: its name, its request's type, who may make it, what it does."""

    name: str
    request: type[RequestT]
    work: Callable[[CallerT, RequestT], Awaitable[ResponseT]]
    role: Role | None = None
    subject: Callable[[RequestT], Subject] = no_subject


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[CallerT, RequestT, ResponseT]):
    """One call that answers with a stream."""

    name: str
    request: type[RequestT]
    work: Callable[[CallerT, RequestT], AsyncIterator[ResponseT]]
    role: Role | None = None


class Admission(Protocol[CallerT_co]):
    """Steps 1 to 4."""

    def label(self, auth: AuthContext) -> str | None:
        """The caller as log and ledger name it, or None where its certificate names nobody."""
        ...

    async def admit(self, auth: AuthContext, role: Role | None) -> CallerT_co:
        """Lets the caller in, or raises Refused."""
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
        self._running: set[asyncio.Task[Any]] = set()

    def unary(self, call: Call[CallerT, RequestT, ResponseT]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call with one answer."""

        async def behaviour(request: RequestT | None, context: Any) -> ResponseT:
            task = self._start(self._unary(call, request, context.auth_context()))
            done, _ = await asyncio.wait((task,), timeout=CALL_DEADLINE_S)
            if not done:
                await abort(context, status_of(Unavailable(f"no answer within {CALL_DEADLINE_S} s")))
            outcome = task.result()
            if isinstance(outcome, Status):
                await abort(context, outcome)
            return outcome

        return grpc.unary_unary_rpc_method_handler(
            behaviour, request_deserializer=_parser(call.request), response_serializer=_serialize
        )

    def stream(self, call: StreamCall[CallerT, RequestT, ResponseT]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call that streams. Each message waits until the transport takes it."""

        async def behaviour(request: RequestT | None, context: Any) -> None:
            auth, started = context.auth_context(), perf_counter()

            def ended(error: BaseException | None) -> None:
                seconds = perf_counter() - started
                self._account(Account(call.name, self._admission.label(auth), seconds, None, error))

            try:
                async with asyncio.timeout(STREAM_DEADLINE_S):
                    caller = await self._admission.admit(auth, call.role)
                    async for response in call.work(caller, _well_formed(request)):
                        await context.write(response)
            except asyncio.CancelledError as error:
                ended(error)
                raise
            except Exception as error:  # noqa: BLE001 -- step 7: every error becomes one status
                await abort(context, self._failed(call.name, auth, started, error, Subject()))
            else:
                ended(None)

        return grpc.unary_stream_rpc_method_handler(
            behaviour, request_deserializer=_parser(call.request), response_serializer=_serialize
        )

    def refuse_all(self, name_of: Callable[[str], str | None]) -> grpc.GenericRpcHandler[Any, Any]:
        """A handler for every method that no other handler knows: `role_denied`, and recorded.

        `name_of` turns the caller's method path into a name that may stand in the ledger; None leaves the
        method to gRPC's own UNIMPLEMENTED.
        """
        return _RefuseAll(self._refuse, name_of)

    def refuse(self, call: str, auth: AuthContext, refusal: Refused) -> Status:
        """Accounts for a call that was refused before it came here."""
        return self._failed(call, auth, perf_counter(), refusal, Subject())

    async def drained(self) -> None:
        """Returns when no call's work is running."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, work: Coroutine[Any, Any, ResponseT | Status]) -> asyncio.Task[ResponseT | Status]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _unary(
        self, call: Call[CallerT, RequestT, ResponseT], request: RequestT | None, auth: AuthContext
    ) -> ResponseT | Status:
        started = perf_counter()
        admitted: RequestT | None = None
        try:
            self._check_load()
            caller = await self._admission.admit(auth, call.role)
            admitted = _well_formed(request)
            response = await call.work(caller, admitted)
        except Exception as error:  # noqa: BLE001 -- step 7: every error becomes one status
            subject = Subject() if admitted is None else call.subject(admitted)
            return self._failed(call.name, auth, started, error, subject)
        self._account(Account(call.name, self._admission.label(auth), perf_counter() - started, None, None))
        return response

    def _check_load(self) -> None:
        # Callers that hang up leave their work running: the bound on calls is not a bound on work.
        if len(self._running) > self._concurrent_calls:
            raise Unavailable(f"{len(self._running)} calls are at work")

    async def _refuse(self, name: str, auth: AuthContext) -> Status:
        started = perf_counter()
        error: Exception = Refused(Code.ROLE_DENIED, "no such call for this role")
        try:
            await self._admission.admit(auth, None)
        except Exception as refusal:  # noqa: BLE001 -- step 7: every error becomes one status
            error = refusal
        return self._failed(name, auth, started, error, Subject())

    def _failed(
        self, call: str, auth: AuthContext, started: float, error: Exception, subject: Subject
    ) -> Status:
        label = self._admission.label(auth)
        status = status_of(error, administrator=self._refusals is None)
        if status.refusal and self._refusals is not None:
            self._refusals.refused(
                peer=label,
                call=call,
                code=status.code.value,
                work_order=subject.work_order,
                chip_id=subject.chip_id,
                csr_sha256=subject.csr_sha256,
            )
        self._account(Account(call, label, perf_counter() - started, status, error, subject))
        return status


class _RefuseAll(grpc.GenericRpcHandler):  # type: ignore[type-arg] # it takes none at run time
    def __init__(
        self, refuse: Callable[[str, AuthContext], Awaitable[Status]], name_of: Callable[[str], str | None]
    ) -> None:
        self._refuse = refuse
        self._name_of = name_of

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = self._name_of(handler_call_details.method)
        if name is None:
            return None

        async def behaviour(_request: bytes, context: Any) -> None:
            await abort(context, await self._refuse(name, context.auth_context()))

        return grpc.unary_unary_rpc_method_handler(behaviour)


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
    await context.abort(status.status, status.message, ((CODE_METADATA, status.code.value),))
    raise Fault("gRPC goes on after an abort")
