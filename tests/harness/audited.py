"""An installation with an auditor: what tests of whole lines ask of the ledger."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Self

import grpc

from birthmark.v1 import audit_pb2, audit_pb2_grpc
from harness.installation import Installation, Peer
from harness.process import run

RPC_TIMEOUT_S = 10.0


class Audited:
    """The installation ends with the context."""

    installation: Installation
    auditor: Peer

    def records_of(self, chips: Collection[str]) -> list[audit_pb2.Record]:
        """The certificates of these chips, as an auditor reads them."""
        with self.audit_channel() as channel:
            audit = audit_pb2_grpc.AuditServiceStub(channel)
            found = audit.FindRecords(audit_pb2.FindRecordsRequest(), timeout=RPC_TIMEOUT_S)
        return [record for record in found.records if record.chip_id in chips]

    def verify(self) -> str:
        """`birthmark-auditor verify`: raises unless all of the ledger holds."""
        return run(
            [self.installation.commands / "birthmark-auditor", "verify", "--config", self.auditor.config]
        )

    def audit_channel(self) -> grpc.Channel:
        """A connection to signerd, as the auditor."""
        return grpc.secure_channel(self.installation.target, self.auditor.credentials())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.installation.__exit__(kind, error, trace)
