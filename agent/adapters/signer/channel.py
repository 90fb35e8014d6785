"""gRPC's channel to signerd: how it is opened, and what is done about one that has gone silent.

A middle box that forgets a connection drops its packets and tells nobody; so does a PC that slept. Two things
find out. HTTP/2's pings, which go on without calls, end such a connection within `_PING_MS` and
`_PING_ANSWER_MS`. A call that has had no answer for `QUIET_S` has the connection looked at: one that answers
nothing else either is replaced by a fresh one, which was tried beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from agent.errors import SignerUnavailable

T = TypeVar("T")

QUIET_S = 3.0  # without an answer, until it is asked whether the line is alive
PROBE_S = 2.0  # for the answer to that, and again for a fresh connection
_PING_MS = 10_000  # signerd takes one each 5 s, one of before each 10 s (signerd/adapters/rpc/server.py)
_PING_ANSWER_MS = 5_000
_CONNECT_MS = 5_000  # for one connection with its TLS; gRPC's own 20 s are an outage of their own
# Where strangers take every place, signerd's places come free for a second in each five, as handshakes end.
RECONNECT = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1_000))
_OPTIONS = (
    *RECONNECT,
    ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
    ("grpc.keepalive_time_ms", _PING_MS),
    ("grpc.keepalive_timeout_ms", _PING_ANSWER_MS),
    ("grpc.http2.ping_timeout_ms", _PING_ANSWER_MS),  # else gRPC waits 60 s for the answer to a ping
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),  # no bound: a board's key takes minutes
    ("grpc.use_local_subchannel_pool", 1),  # a channel that is opened beside has a connection of its own
    ("grpc.enable_http_proxy", 0),  # a proxy in the environment is not between a station and its signerd
)
_HEALTH = "/grpc.health.v1.Health/Check"  # an empty request and an answer of two bytes
_NO_ANSWER = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)


def open_channel(target: str, credentials: grpc.ChannelCredentials, most_bytes: int) -> grpc.aio.Channel:
    """A channel that connects at once. `most_bytes`: of an answer."""
    options = (*_OPTIONS, ("grpc.max_receive_message_length", most_bytes))
    channel = grpc.aio.secure_channel(target, credentials, options=options)
    channel.get_state(try_to_connect=True)  # TLS is done before the first board asks
    return channel


async def is_ready(channel: grpc.aio.Channel, timeout_s: float) -> bool:
    """Waits for the connection; False if there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await channel.channel_ready()
    except TimeoutError:
        return False
    return True


async def changes(channel: grpc.aio.Channel, state: grpc.ChannelConnectivity) -> bool:
    """Waits for another state than this one; False if it lasts for `PROBE_S`."""
    try:
        async with asyncio.timeout(PROBE_S):
            await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
    return True


async def is_alive(channel: grpc.aio.Channel) -> bool:
    """True if anything is answered on this connection, be it a refusal."""
    ask = channel.unary_unary(_HEALTH, request_serializer=bytes, response_deserializer=bytes)
    try:
        await ask(b"", timeout=PROBE_S)
    except grpc.aio.AioRpcError as error:
        return bool(error.trailing_metadata()) or error.code() not in _NO_ANSWER
    except grpc.aio.UsageError:  # it was closed meanwhile
        return False
    return True


async def answer_of(call: Any, look: Callable[[], Awaitable[None]]) -> Any:
    """A call's answer, however long it takes; `look` is called each `QUIET_S` without one.

    Raises:
        grpc.aio.AioRpcError: what the call raises.
        SignerUnavailable: what `look` raises; the call is cancelled then.
    """
    answer = asyncio.ensure_future(_answer(call))
    try:
        while not (await asyncio.wait({answer}, timeout=QUIET_S))[0]:
            try:
                await look()
            except SignerUnavailable:
                if not answer.done():
                    raise
        return await answer
    finally:
        if not answer.done():
            call.cancel()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)


async def _answer(call: Any) -> Any:
    return await call
