"""Leaves what signerd did in a folder, so that anyone can check it with tools of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import audit_pb2, audit_pb2_grpc
from harness.installation import Installation, Peer

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What the auditor's own calls brought."""

    certificates: dict[str, Path]  # by the board's serial number
    stamped: set[str]
    entries: list[dict[str, Any]]


def collect(installation: Installation, auditor: Peer, folder: Path) -> Collected:
    """Writes root.pem, chain.pem, log.vkey, checkpoint and certificates/<serial>.pem into `folder`."""
    for name, source in (
        ("root.pem", "ca/root.pem"),
        ("chain.pem", "ca/chain.pem"),
        ("log.vkey", "log.vkey"),
    ):
        (folder / name).write_bytes((installation.home / source).read_bytes())
    (folder / "certificates").mkdir()
    with grpc.secure_channel(installation.target, auditor.credentials()) as channel:
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        head = audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=TIMEOUT_S)
        (folder / "checkpoint").write_bytes(head.checkpoint)
        found = audit.FindRecords(audit_pb2.FindRecordsRequest(), timeout=TIMEOUT_S)
        batches = audit.StreamEntries(audit_pb2.StreamEntriesRequest(), timeout=TIMEOUT_S)
        entries = [json.loads(entry) for batch in batches for entry in batch.entries]
    certificates = {}
    for record in found.records:
        path = folder / "certificates" / f"{record.serial_number}.pem"
        certificate = x509.load_der_x509_certificate(record.certificate_der)
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        certificates[record.serial_number] = path
    stamped = {record.serial_number for record in found.records if record.stamp}
    return Collected(certificates, stamped, entries)
