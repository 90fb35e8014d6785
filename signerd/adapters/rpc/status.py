"""The one place where an error becomes a gRPC status (docs/formats.md, "Codes").

The peer gets a code. The detail is for our log alone, with one exception: an administrator on the Unix
socket is told why: which object exists or does not, what of an input is wrong, and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from birthmark.v1 import busy_pb2
from signerd.adapters.clock import read_clocks
from signerd.errors import Busy, Code, Fault, Refused

CODE_METADATA = "birthmark-code"
TIME_METADATA = "birthmark-time"
DETAILS_METADATA = "grpc-status-details-bin"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
# Bytes on the wire. gRPC's default for all metadata of an answer is 8 KiB; a client that is sent more says
# that signerd does not answer.
MAX_MESSAGE = 6 * 1024
_ESCAPED = 3  # bytes for one that the status carries percent-encoded (gRPC over HTTP/2, "Percent-Byte")

STATUS_OF: dict[Code, grpc.StatusCode] = {
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Code.PEER_REVOKED: grpc.StatusCode.PERMISSION_DENIED,
    Code.ROLE_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Code.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.REQUEST_MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.ORDER_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Code.ORDER_NOT_OPEN: grpc.StatusCode.FAILED_PRECONDITION,
    Code.ORDER_FULL: grpc.StatusCode.FAILED_PRECONDITION,
    Code.CHIP_UNKNOWN: grpc.StatusCode.FAILED_PRECONDITION,
    Code.SESSION_UNKNOWN: grpc.StatusCode.FAILED_PRECONDITION,
    Code.SESSION_USED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.CSR_REJECTED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.KEY_REJECTED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.KEY_ALREADY_CERTIFIED: grpc.StatusCode.ALREADY_EXISTS,
    Code.EVIDENCE_REJECTED: grpc.StatusCode.PERMISSION_DENIED,
    Code.PROFILE_FAILS: grpc.StatusCode.FAILED_PRECONDITION,
    Code.LEVEL_INSUFFICIENT: grpc.StatusCode.PERMISSION_DENIED,
    Code.FIRMWARE_TOO_OLD: grpc.StatusCode.FAILED_PRECONDITION,
    Code.FIRMWARE_DIFFERS: grpc.StatusCode.FAILED_PRECONDITION,
    Code.CHIP_ALREADY_CERTIFIED: grpc.StatusCode.ALREADY_EXISTS,
    Code.CERTIFICATE_REVOKED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.STAMP_REJECTED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.STAMP_LOCKS_OPEN: grpc.StatusCode.FAILED_PRECONDITION,
    Code.STAMP_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Code.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Code.APPROVAL_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.APPROVAL_INVALID: grpc.StatusCode.PERMISSION_DENIED,
    Code.CLOCK_WRONG: grpc.StatusCode.UNAVAILABLE,
    Code.LEDGER_DIFFERS: grpc.StatusCode.DATA_LOSS,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Status:
    """What the peer is told, and how our log and the ledger are to take it."""

    code: Code
    status: grpc.StatusCode
    message: str
    refusal: bool  # the peer's doing: belongs into the ledger
    retry_s: float | None = None  # when the same call may pass


def status_of(error: BaseException, *, administrator: bool = False) -> Status:
    """Maps any error of a call. Whatever is not one of signerd's own errors is `internal`."""
    if isinstance(error, Refused):
        message = error.code.value
        if administrator:
            message = _cut(f"{message}: {error.detail}")
        retry_s = error.retry_s if isinstance(error, Busy) else None
        return Status(error.code, STATUS_OF[error.code], message, refusal=True, retry_s=retry_s)
    if isinstance(error, Fault):
        return Status(error.code, STATUS_OF[error.code], error.code.value, refusal=False)
    return Status(Code.INTERNAL, grpc.StatusCode.INTERNAL, Code.INTERNAL.value, refusal=False)


def metadata_of(status: Status) -> tuple[tuple[str, str | bytes], ...]:
    """What stands beside a refusal: its code, our time, and when to come back, where that is known."""
    beside: tuple[tuple[str, str | bytes], ...] = (CODE_METADATA, status.code.value), time_metadata()
    if status.retry_s is None:
        return beside
    delay = busy_pb2.RetryInfo()
    delay.retry_delay.FromMilliseconds(round(status.retry_s * 1000))
    number: int = status.status.value[0]
    details = busy_pb2.StatusDetails(code=number, message=status.message)
    details.details.add(type_url=_RETRY_INFO, value=delay.SerializeToString())
    return (*beside, (DETAILS_METADATA, details.SerializeToString()))


def time_metadata() -> tuple[str, str]:
    """What this machine's clock says, right or wrong: a station compares its own."""
    now = read_clocks().wall
    return TIME_METADATA, f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def _cut(message: str) -> str:
    """As much of it as a status can carry: a file may be wrong in a thousand places, or in one long name."""
    room = MAX_MESSAGE - _wire_bytes("…")
    for position, character in enumerate(message):
        room -= _wire_bytes(character)
        if room < 0:
            return message[:position] + "…"
    return message


def _wire_bytes(character: str) -> int:
    plain = " " <= character <= "~" and character != "%"
    return 1 if plain else _ESCAPED * len(character.encode())
