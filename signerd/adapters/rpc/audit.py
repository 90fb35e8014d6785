"""`AuditService`: what an auditor may read. It writes nothing, and ends at the published checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from birthmark.v1 import audit_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.gate import Call, Gate, StreamCall
from signerd.adapters.rpc.orders import order_messages
from signerd.adapters.store import SqlStore
from signerd.adapters.store.values import RecordFilter
from signerd.core.names import PeerName, Role, is_chip_id
from signerd.errors import Code, Refused
from signerd.ports import Record

SERVICE = "birthmark.v1.AuditService"
BATCH = 256  # entries a message at most, audit.proto
BATCH_BYTES = 2 * 1024 * 1024  # and of no more than this; one entry has 64 KiB at most
PAGE = 500  # records a page, audit.proto
_STATES = {message: state for state, message in fields.RECORD_STATES.items()}


class AuditService:
    """The seven calls of an auditor."""

    def __init__(self, store: SqlStore, chain_of: Callable[[int], tuple[bytes, ...]]) -> None:
        """`chain_of` gives the DER of an issuer and of what stands above it, without the root."""
        self._store = store
        self._chain_of = chain_of

    def handler(self, gate: Gate[PeerName]) -> grpc.GenericRpcHandler[Any, Any]:
        """The service behind the gate."""
        role = Role.AUDITOR
        pb = audit_pb2
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetCheckpoint": gate.unary(
                    Call("GetCheckpoint", pb.GetCheckpointRequest, self.get_checkpoint, role)
                ),
                "GetInclusionProof": gate.unary(
                    Call("GetInclusionProof", pb.GetInclusionProofRequest, self.get_inclusion_proof, role)
                ),
                "GetConsistencyProof": gate.unary(
                    Call(
                        "GetConsistencyProof", pb.GetConsistencyProofRequest, self.get_consistency_proof, role
                    )
                ),
                "StreamEntries": gate.stream(
                    StreamCall("StreamEntries", pb.StreamEntriesRequest, self.stream_entries, role)
                ),
                "FindRecords": gate.unary(
                    Call("FindRecords", pb.FindRecordsRequest, self.find_records, role)
                ),
                "GetRecord": gate.unary(Call("GetRecord", pb.GetRecordRequest, self.get_record, role)),
                "GetWorkOrder": gate.unary(
                    Call("GetWorkOrder", pb.GetWorkOrderRequest, self.get_work_order, role)
                ),
            },
        )

    async def get_checkpoint(
        self, _peer: PeerName, _request: audit_pb2.GetCheckpointRequest
    ) -> audit_pb2.GetCheckpointResponse:
        """The last published checkpoint."""
        succession = await self._store.succession()
        return audit_pb2.GetCheckpointResponse(checkpoint=self._store.checkpoint(), succession=succession)

    async def get_inclusion_proof(
        self, _peer: PeerName, request: audit_pb2.GetInclusionProofRequest
    ) -> audit_pb2.GetInclusionProofResponse:
        """RFC 6962 §2.1.1."""
        hashes = await self._store.inclusion_proof(request.index, request.tree_size)
        return audit_pb2.GetInclusionProofResponse(hashes=hashes)

    async def get_consistency_proof(
        self, _peer: PeerName, request: audit_pb2.GetConsistencyProofRequest
    ) -> audit_pb2.GetConsistencyProofResponse:
        """RFC 6962 §2.1.2."""
        hashes = await self._store.consistency_proof(request.old_size, request.new_size)
        return audit_pb2.GetConsistencyProofResponse(hashes=hashes)

    async def stream_entries(
        self, _peer: PeerName, request: audit_pb2.StreamEntriesRequest
    ) -> AsyncIterator[audit_pb2.StreamEntriesResponse]:
        """Entries in order, in batches, up to the checkpoint that stood when the call began."""
        end = request.end or self._store.published_size
        start = request.start
        if not start <= end <= self._store.published_size:
            raise Refused(Code.NOT_FOUND, f"entries {start} to {end} are beyond the published tree")
        while start < end:
            entries = _bounded(await self._store.entries(start, min(end, start + BATCH)))
            if not entries:
                return
            yield audit_pb2.StreamEntriesResponse(start=start, entries=entries)
            start += len(entries)

    async def find_records(
        self, _peer: PeerName, request: audit_pb2.FindRecordsRequest
    ) -> audit_pb2.FindRecordsResponse:
        """A page of the records that match every filter given."""
        if request.page_size > PAGE:
            raise fields.malformed(f"page_size is over {PAGE}")
        if request.state and request.state not in _STATES:
            raise fields.malformed("state is unknown")
        page = await self._store.find_records(
            RecordFilter(
                work_order=fields.name(request.work_order, "work_order") if request.work_order else None,
                chip_id=fields.chip_id(request.chip_id) if request.chip_id else None,
                serial_number=_serial(request.serial_number) if request.serial_number else None,
                state=_STATES[request.state] if request.state else None,
            ),
            after_record_id=request.after_record_id,
            page_size=request.page_size or PAGE,
        )
        records = [fields.record_message(record) for record in page.records]
        return audit_pb2.FindRecordsResponse(records=records, more=page.more)

    async def get_record(
        self, _peer: PeerName, request: audit_pb2.GetRecordRequest
    ) -> audit_pb2.GetRecordResponse:
        """One record by serial number or by certificate."""
        record: Record | None
        match request.WhichOneof("key"):
            case "serial_number":
                record = await self._store.record_by_serial(_serial(request.serial_number))
            case "certificate_sha256":
                digest = fields.digest(request.certificate_sha256, "certificate_sha256")
                record = await self._store.record_by_certificate(digest)
            case _:
                raise fields.malformed("neither serial_number nor certificate_sha256")
        if record is None:
            raise Refused(Code.NOT_FOUND, "no such record")
        chain = self._chain_of(record.issuer_id)
        return audit_pb2.GetRecordResponse(record=fields.record_message(record), chain_der=chain)

    async def get_work_order(
        self, _peer: PeerName, request: audit_pb2.GetWorkOrderRequest
    ) -> audit_pb2.GetWorkOrderResponse:
        """Terms and counts of one work order."""
        state = await self._store.order(fields.name(request.work_order, "work_order"))
        if state is None:
            raise Refused(Code.NOT_FOUND, f"no work order {request.work_order}")
        work_order, counts = order_messages(state)
        return audit_pb2.GetWorkOrderResponse(
            work_order=work_order,
            counts=counts,
            product_toml=await self._store.product_text(state.order.product_sha256),
        )


def _serial(text: str) -> str:
    if not is_chip_id(text):  # the two have one form
        raise fields.malformed("serial_number is not of its form")
    return text


def _bounded(entries: list[bytes]) -> list[bytes]:
    """As many of the first entries as fit a message, at least one."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry)
        if count and size > BATCH_BYTES:
            return entries[:count]
    return entries
