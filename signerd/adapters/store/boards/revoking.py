"""Revoking a certificate: one unit of work of the writer, or part of one."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import bindparam, null, update

from signerd.adapters.store.registry.approving import append_approved
from signerd.adapters.store.state import compared
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import seconds
from signerd.adapters.store.tables.schema import records
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval
from signerd.core.entry import Revoked, serial_bytes
from signerd.errors import Code, Refused
from signerd.ports import Record

SUPERSEDED = "superseded"  # the CRLReason of a certificate that another one replaced

_r = records.c
_REVOKE = Prepared(
    update(records)
    .where(_r.id == bindparam("record"), _r.certificate_sha256.is_not(null()), _r.revoked_at.is_(null()))
    .values(
        state="revoked",
        revoked_at=bindparam("at"),
        revoked_index=bindparam("index"),
        revoked_reason=bindparam("reason"),
    )
)


def revoke(
    tx: Transaction, record: Record, reason: str, now: datetime, by: str | None, approval: Approval
) -> int:
    """Revokes a record's certificate, as an administrator asks; the ledger index.

    Raises:
        Refused: `not_found`: it has no certificate; `certificate_revoked`: it is revoked already; and as
            `approving.append_approved`.
    """
    _demand_valid(tx, record)
    index = append_approved(tx, _entry(record, reason, None, now, by), approval)
    _mark(tx, record, reason, now, index)
    return index


def supersede(tx: Transaction, record: Record, superseded_by: bytes, now: datetime) -> int:
    """Revokes a record's certificate because the chip has a newer one. Raises Refused as `revoke`."""
    _demand_valid(tx, record)
    index = tx.append(_entry(record, SUPERSEDED, superseded_by, now, None))
    _mark(tx, record, SUPERSEDED, now, index)
    return index


def _demand_valid(tx: Transaction, record: Record) -> None:
    if not record.certificate_der:
        raise Refused(Code.NOT_FOUND, f"{_board(record)} has no certificate yet: there is nothing to revoke")
    if record.revoked_index is not None:
        raise _revoked_already(record)
    compared.not_revoked(tx.boards, record)
    compared.board(tx.entry_of, record)


def _mark(tx: Transaction, record: Record, reason: str, now: datetime, index: int) -> None:
    asked = {"record": record.record_id, "at": seconds(now), "index": index, "reason": reason}
    if _REVOKE.count(tx.connection, asked) != 1:
        raise _revoked_already(record)


def _revoked_already(record: Record) -> Refused:
    said = f"the certificate of {_board(record)} is revoked already: ledger entry {record.revoked_index}"
    return Refused(Code.CERTIFICATE_REVOKED, said)


def _board(record: Record) -> str:
    return f"board {record.place.serial_number} (chip {record.place.chip_id})"


def _entry(
    record: Record, reason: str, superseded_by: bytes | None, now: datetime, by: str | None
) -> Revoked:
    return Revoked(
        time=now,
        work_order=record.place.work_order,
        chip_id=record.place.chip_id,
        serial_number=record.place.serial_number,
        certificate_serial=serial_bytes(record.place.certificate_serial),
        certificate_sha256=hashlib.sha256(record.certificate_der).digest(),
        reason=reason,
        superseded_by=superseded_by,
        by=by,
    )
