"""Revoking a certificate: one unit of work of the writer, or part of one."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import bindparam, null, update

from signerd.adapters.store.prepared import Prepared
from signerd.adapters.store.rows import seconds
from signerd.adapters.store.schema import records
from signerd.adapters.store.writer import Transaction
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
    tx: Transaction,
    record: Record,
    reason: str,
    superseded_by: bytes | None,
    now: datetime,
    by: str | None,
) -> int:
    """Revokes a record's certificate; the ledger index.

    Raises:
        Refused: `not_found`: it has no certificate; `certificate_revoked`: it is revoked already.
    """
    board = f"board {record.place.serial_number} (chip {record.place.chip_id})"
    if not record.certificate_der:
        raise Refused(Code.NOT_FOUND, f"{board} has its place, and no certificate yet")
    asked = {"record": record.record_id, "at": seconds(now), "index": tx.next_index, "reason": reason}
    if _REVOKE.count(tx.connection, asked) != 1:
        said = f"the certificate of {board} is revoked already: ledger entry {record.revoked_index}"
        raise Refused(Code.CERTIFICATE_REVOKED, said)
    return tx.append(
        Revoked(
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
    )
