"""Serves a `PaperLog` as `AuditService`, over mTLS on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Self

import grpc

from birthmark.v1 import audit_pb2, audit_pb2_grpc
from harness.paper_certificates import Authority, der, key_pem, new_key, pem
from harness.paper_log import DEPLOYMENT, PaperLog


class PaperService(audit_pb2_grpc.AuditServiceServicer):
    """`AuditService` over a `PaperLog`."""

    def __init__(self, log: PaperLog) -> None:
        self.log = log

    def GetCheckpoint(self, request: Any, context: Any) -> audit_pb2.GetCheckpointResponse:  # noqa: ARG002, N802
        return audit_pb2.GetCheckpointResponse(
            checkpoint=self.log.lie_checkpoint(self.log.checkpoint()), succession=self.log.succession
        )

    def GetInclusionProof(self, request: Any, context: Any) -> audit_pb2.GetInclusionProofResponse:  # noqa: ARG002, N802
        proof = self.log.tree.inclusion(request.index, request.tree_size)
        return audit_pb2.GetInclusionProofResponse(hashes=self.log.lie_proof(proof))

    def GetConsistencyProof(self, request: Any, context: Any) -> audit_pb2.GetConsistencyProofResponse:  # noqa: ARG002, N802
        proof = self.log.tree.consistency(request.old_size, request.new_size)
        return audit_pb2.GetConsistencyProofResponse(hashes=self.log.lie_proof(proof))

    def StreamEntries(self, request: Any, context: Any) -> Iterator[audit_pb2.StreamEntriesResponse]:  # noqa: N802
        entries = self.log.lie_entries(list(self.log.entries))
        end = min(request.end or len(entries), len(entries))
        for start in range(request.start, end, 256):
            if self.log.fail_at_entry is not None and start + 256 > self.log.fail_at_entry:
                context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
            yield audit_pb2.StreamEntriesResponse(start=start, entries=entries[start : min(end, start + 256)])

    def FindRecords(self, request: Any, context: Any) -> audit_pb2.FindRecordsResponse:  # noqa: ARG002, N802
        records = self.log.lie_records(self.log.records)
        if request.work_order or request.state:
            records = [
                record
                for record in records
                if (not request.work_order or record.work_order == request.work_order)
                and (not request.state or record.state == request.state)
            ]
        wanted = [record for record in records if record.record_id > request.after_record_id]
        page = wanted[: request.page_size]
        return audit_pb2.FindRecordsResponse(records=page, more=len(wanted) > len(page))

    def GetRecord(self, request: Any, context: Any) -> audit_pb2.GetRecordResponse:  # noqa: N802
        for record in self.log.lie_records(self.log.records):
            if sha256(record.certificate_der).digest() == request.certificate_sha256:
                chain = self.log.lie_chain([der(self.log.issuer_of(record).certificate)])
                return audit_pb2.GetRecordResponse(record=record, chain_der=chain)
        context.abort(grpc.StatusCode.NOT_FOUND, "not_found")
        raise AssertionError("abort returns")

    def GetWorkOrder(self, request: Any, context: Any) -> audit_pb2.GetWorkOrderResponse:  # noqa: N802
        order = self.log.orders.get(request.work_order)
        if order is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "not_found")
        mine = [record for record in self.log.records if record.work_order == request.work_order]
        counts = audit_pb2.WorkOrderCounts(
            places=len({record.chip_id for record in mine}),
            issued=len(mine),
            stamped=sum(bool(record.stamp) for record in mine),
            revoked=sum(record.state == audit_pb2.RECORD_STATE_REVOKED for record in mine),
        )
        product = self.log.lie_product(self.log.product_toml)
        return audit_pb2.GetWorkOrderResponse(work_order=order, counts=counts, product_toml=product)


class PaperServer:
    """Serves a paper log over mTLS on the loopback. A context manager."""

    def __init__(self, log: PaperLog, service: PaperService | None = None) -> None:
        self.operations = Authority.root("Paper Operations CA")
        key = new_key()
        certificate = self.operations.peer(key, f"birthmark://{DEPLOYMENT}/signerd", server=True)
        self.auditor_key = new_key()
        self.auditor = self.operations.peer(
            self.auditor_key, f"birthmark://{DEPLOYMENT}/auditor/alice", server=False
        )
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4))
        audit_pb2_grpc.add_AuditServiceServicer_to_server(service or PaperService(log), self._server)
        self.port = self._server.add_secure_port(
            "127.0.0.1:0",
            grpc.ssl_server_credentials(
                [(key_pem(key), pem(certificate))], pem(self.operations.certificate), require_client_auth=True
            ),
        )

    @property
    def endpoint(self) -> str:
        return f"localhost:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()
