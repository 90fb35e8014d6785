"""signerd's `AuditService` over mTLS. Translates every gRPC error; bounds every answer in size and time.

The only root of the connection is the operations CA; the name in the endpoint must stand in the server's
certificate. gRPC for Python does not hand the server's certificate to a client, so its URI SAN is not
looked at: stations' and auditors' certificates bear no host name and cannot pass for signerd.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn, Self, TypeVar

import grpc

from auditor.adapters.messages import order_of, record_of
from auditor.errors import Malformed, NotFound, Unreachable
from auditor.ports import OrderTerms, RecordPage, RecordWithChain
from birthmark.v1 import audit_pb2, audit_pb2_grpc, renewal_pb2, renewal_pb2_grpc

MAX_MESSAGE = (
    32 * 1024 * 1024
)  # bytes; 256 entries of 65,535 bytes are the largest answer that the API allows
UNARY_DEADLINE_S = 60.0
STREAM_DEADLINE_S = 300.0  # for at most ledger.CHUNK entries
PAGE_SIZE = 500  # records
RATE_LIMITED = "rate_limited"
RETRIES = 30  # after rate_limited, one second apart at most

_ValueT = TypeVar("_ValueT")


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM: the operations CA, our certificate, our key."""

    operations_ca: bytes
    certificate: bytes
    key: bytes


class GrpcLog:
    """`auditor.ports.Log`."""

    has_records = True

    def __init__(
        self, endpoint: str, credentials: Credentials, *, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._endpoint = endpoint
        self._wait = wait
        self._channel = grpc.secure_channel(
            endpoint,
            grpc.ssl_channel_credentials(credentials.operations_ca, credentials.key, credentials.certificate),
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.keepalive_time_ms", 60_000),
            ],
        )
        self._stub = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._renewals = renewal_pb2_grpc.RenewalServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def checkpoint(self) -> bytes:
        """See `auditor.ports.Log`."""
        return self._retried(
            lambda: self._stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=UNARY_DEADLINE_S)
        ).checkpoint

    def succession(self) -> bytes:
        """See `auditor.ports.Log`."""
        return self._retried(
            lambda: self._stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=UNARY_DEADLINE_S)
        ).succession

    def consistency_proof(self, old_size: int, new_size: int) -> Sequence[bytes]:
        """See `auditor.ports.Log`."""
        request = audit_pb2.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
        return list(
            self._retried(lambda: self._stub.GetConsistencyProof(request, timeout=UNARY_DEADLINE_S)).hashes
        )

    def inclusion_proof(self, index: int, size: int) -> Sequence[bytes]:
        """See `auditor.ports.Log`."""
        request = audit_pb2.GetInclusionProofRequest(index=index, tree_size=size)
        return list(
            self._retried(lambda: self._stub.GetInclusionProof(request, timeout=UNARY_DEADLINE_S)).hashes
        )

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """See `auditor.ports.Log`."""
        request = audit_pb2.StreamEntriesRequest(start=start, end=end)
        stream = self._retried(lambda: self._first(request))
        try:
            for message in stream:
                if message.start != start or start + len(message.entries) > end or not message.entries:
                    raise Malformed(f"a batch that does not continue at {start} and end by {end}")
                start += len(message.entries)
                yield from message.entries
                if start == end:
                    return
        except grpc.RpcError as error:
            self._raise(error)

    def renewal(self) -> renewal_pb2.RenewCertificateResponse:
        """A newer certificate for the key of this line, if it is time for one. Raises as the others."""
        request = renewal_pb2.RenewCertificateRequest()
        return self._retried(lambda: self._renewals.RenewCertificate(request, timeout=UNARY_DEADLINE_S))

    def records(self, after_record_id: int, *, intents: bool = False, work_order: str = "") -> RecordPage:
        """See `auditor.ports.Log`."""
        request = audit_pb2.FindRecordsRequest(
            work_order=work_order,
            state=audit_pb2.RECORD_STATE_INTENT if intents else audit_pb2.RECORD_STATE_UNSPECIFIED,
            after_record_id=after_record_id,
            page_size=PAGE_SIZE,
        )
        response = self._retried(lambda: self._stub.FindRecords(request, timeout=UNARY_DEADLINE_S))
        return RecordPage(tuple(record_of(record) for record in response.records), response.more)

    def record(self, certificate_sha256: bytes) -> RecordWithChain:
        """See `auditor.ports.Log`."""
        request = audit_pb2.GetRecordRequest(certificate_sha256=certificate_sha256)
        response = self._retried(lambda: self._stub.GetRecord(request, timeout=UNARY_DEADLINE_S))
        return RecordWithChain(record_of(response.record), tuple(response.chain_der))

    def order(self, work_order: str) -> OrderTerms:
        """See `auditor.ports.Log`."""
        request = audit_pb2.GetWorkOrderRequest(work_order=work_order)
        return order_of(self._retried(lambda: self._stub.GetWorkOrder(request, timeout=UNARY_DEADLINE_S)))

    def _first(self, request: audit_pb2.StreamEntriesRequest) -> Iterator[audit_pb2.StreamEntriesResponse]:
        """Begins a stream and waits for its first message, so that a refusal can still be retried."""
        stream = iter(self._stub.StreamEntries(request, timeout=STREAM_DEADLINE_S))
        first = next(stream, None)
        return iter(()) if first is None else _chained(first, stream)

    def _retried(self, call: Callable[[], _ValueT]) -> _ValueT:
        for _ in range(RETRIES):
            try:
                return call()
            except grpc.RpcError as error:
                if _status(error) != (grpc.StatusCode.RESOURCE_EXHAUSTED, RATE_LIMITED):
                    self._raise(error)
                self._wait(1.0)
        raise Unreachable(
            f"signerd at {self._endpoint} keeps refusing calls: {RATE_LIMITED}. Try again later"
        )

    def _raise(self, error: grpc.RpcError) -> NoReturn:
        code, text = _status(error)
        if code is grpc.StatusCode.NOT_FOUND:
            raise NotFound(f"signerd has no such thing: {text}") from error
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise Malformed(f"the answer is larger than the API allows: {text}") from error
        raise Unreachable(f"signerd at {self._endpoint}: {code.name.lower()}: {text}") from error


def _chained(
    first: audit_pb2.StreamEntriesResponse, rest: Iterator[audit_pb2.StreamEntriesResponse]
) -> Iterator[audit_pb2.StreamEntriesResponse]:
    yield first
    yield from rest


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Status and message of a finished call, the message cut to what a log line bears."""
    if not isinstance(error, grpc.Call):
        return grpc.StatusCode.UNKNOWN, type(error).__name__
    return error.code(), (error.details() or "")[:200]
