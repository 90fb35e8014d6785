"""How many calls a caller may keep open, and how long it may keep one without saying what it wants.

gRPC opens a call with its headers, and calls a unary handler only once the request is whole. A peer that
sends headers and no request would so hold calls for as long as it likes, and a few connections of them would
be all the calls that signerd serves. Therefore every handler takes its request as a stream of one, which
looks the same on the wire: at the headers the caller is admitted and its open calls are counted
(`adapters/rpc/gate.py`), and then the request has to arrive in time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from signerd.errors import Code, Refused, Unrecorded

CALLS_PER_CALLER = 64  # open at once, over all connections that show one key
REQUEST_DEADLINE_S = 10.0  # from a call's headers to the end of its request, at most 1 MiB


class OpenCalls:
    """The calls that are open, by the caller's key. An entry lives as long as a call of it."""

    def __init__(self) -> None:
        self._open: Counter[bytes] = Counter()

    @contextmanager
    def one_more(self, caller: bytes, most: int = CALLS_PER_CALLER) -> Iterator[None]:
        """While the call is open. Raises Unrecorded `rate_limited` beyond `most`."""
        if self._open[caller] >= most:
            raise Unrecorded(Code.RATE_LIMITED, f"{most} calls are open")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


async def first_request(context: Any) -> Any:
    """The call's request. Raises Refused `request_malformed` if none comes in time."""
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            request = await context.read()
    except TimeoutError as error:
        raise Refused(Code.REQUEST_MALFORMED, f"no request within {REQUEST_DEADLINE_S:g} s") from error
    if request is grpc.aio.EOF:  # type: ignore[attr-defined] # grpc's types leave it out
        raise Refused(Code.REQUEST_MALFORMED, "the call ended without a request")
    return request
