"""What gRPC says of a call that failed, as the agent's own errors."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from agent.core.remedies import error_for
from agent.errors import BadAnswer, SignerBusy, SignerUnavailable
from birthmark.v1 import busy_pb2

# Statuses that a proxy, a deadline or a broken line gives, whatever the text beside them.
_MAY_PASS = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)
_RETRY_INFO = "/google.rpc.RetryInfo"
_LEAST_DELAY_S = 0.1
_LONGEST_DELAY_S = 300.0  # that signerd may tell a board to wait


def translated(error: grpc.aio.AioRpcError) -> Exception:
    """The agent's error for what gRPC says."""
    code = code_of(error)
    delay_s = _delay_s(error)
    if code and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None:
        return SignerBusy(delay_s)
    if code:
        return error_for(code)
    status = error.code()
    if status in _MAY_PASS:
        return SignerUnavailable(_reason(error))
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:  # of gRPC's own: an answer beyond our bound
        return BadAnswer("an answer is larger than the API allows")
    return error_for(status.name.lower())


def code_of(error: grpc.aio.AioRpcError) -> str:
    """signerd's code. Only signerd puts it into the trailing metadata; gRPC's own errors have none."""
    return value_of(error.trailing_metadata(), "birthmark-code")


def _delay_s(error: grpc.aio.AioRpcError) -> float | None:
    """When signerd says to come back (google.rpc.RetryInfo), within bounds; None where it does not say."""
    try:
        details = busy_pb2.StatusDetails.FromString(
            _bytes(error.trailing_metadata(), "grpc-status-details-bin")
        )
        for detail in details.details:
            if detail.type_url.endswith(_RETRY_INFO):
                delay = busy_pb2.RetryInfo.FromString(detail.value).retry_delay
                return min(max(delay.seconds + delay.nanos / 1e9, _LEAST_DELAY_S), _LONGEST_DELAY_S)
    except DecodeError:
        return None
    return None


def _bytes(metadata: Any, name: str) -> bytes:
    """As `value_of`, of metadata whose names end with `-bin`."""
    for key, value in metadata or ():
        if key == name and isinstance(value, bytes):
            return value
    return b""


def value_of(metadata: Any, name: str) -> str:
    """Of trailing metadata, which are pairs; the stubs call them objects."""
    for key, value in metadata or ():
        if key == name and isinstance(value, str):
            return value
    return ""


def _reason(error: grpc.aio.AioRpcError) -> str:
    """gRPC's own text, which names the TLS failure or the address; bounded, since a peer may have made it."""
    text = "".join(c if c.isprintable() else " " for c in (error.details() or ""))[:300]
    return f"signerd does not answer: {text}" if text else "signerd does not answer"
