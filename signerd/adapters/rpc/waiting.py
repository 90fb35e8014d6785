"""How many calls a caller may keep open, and how long it may keep one without saying what it wants.

gRPC opens a call with its headers, and calls a unary handler only once the request is whole. A peer that
sends headers and no request, revoked or unknown as it may be, would so hold calls for as long as it likes,
and a few connections of them would be all the calls that signerd serves. Therefore every handler here takes
its request as a stream of one, which looks the same on the wire: at the headers the caller's open calls are
counted, and then the request has to arrive in time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from signerd.adapters.rpc.gate import AuthContext, abort
from signerd.adapters.rpc.status import Status
from signerd.errors import Code, Refused

CALLS_PER_CALLER = 64  # open at once, over all connections that show one certificate
REQUEST_DEADLINE_S = 10.0  # from a call's headers to the end of its request, at most 1 MiB

# refuse(method's path, caller, refusal): accounts for the refusal, and gives its status
Refuse = Callable[[str, AuthContext, Refused], Status]


class WaitingRoom(grpc.GenericRpcHandler):  # type: ignore[type-arg] # it takes none at run time
    """A service, entered by callers that keep within the two bounds."""

    def __init__(self, inner: grpc.GenericRpcHandler[Any, Any], calls: OpenCalls, refuse: Refuse) -> None:
        self._inner = inner
        self._calls = calls
        self._refuse = refuse

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """gRPC's call: the handler of a method, or None."""
        found: Any = self._inner.service(handler_call_details)
        if found is None:
            return None
        path = handler_call_details.method
        work = found.unary_stream or found.unary_unary

        async def behaviour(_requests: object, context: Any) -> Any:
            auth = context.auth_context()
            try:
                with self._calls.one_more(auth):
                    return await work(await _request(context), context)
            except Refused as refusal:
                await abort(context, self._refuse(path, auth, refusal))

        kind = (
            grpc.stream_stream_rpc_method_handler
            if found.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return kind(behaviour, found.request_deserializer, found.response_serializer)


class OpenCalls:
    """The calls that are open, by the caller's certificate. An entry lives as long as a call of it."""

    def __init__(self) -> None:
        self._open: Counter[tuple[bytes, ...]] = Counter()

    @contextmanager
    def one_more(self, auth: AuthContext) -> Iterator[None]:
        """While the call is open. Raises Refused `rate_limited` beyond `CALLS_PER_CALLER`."""
        caller = tuple(auth.get("x509_pem_cert") or ())
        if self._open[caller] >= CALLS_PER_CALLER:
            raise Refused(Code.RATE_LIMITED, f"{CALLS_PER_CALLER} calls are open")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


async def _request(context: Any) -> Any:
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            request = await context.read()
    except TimeoutError as error:
        raise Refused(Code.REQUEST_MALFORMED, f"no request within {REQUEST_DEADLINE_S:g} s") from error
    if request is grpc.aio.EOF:  # type: ignore[attr-defined] # grpc's types leave it out
        raise Refused(Code.REQUEST_MALFORMED, "the call ended without a request")
    return request
