"""Recording a stamp: one unit of work of the writer."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, false, select, update

from signerd.adapters.store.state import compared
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import RECORD, record_of, seconds
from signerd.adapters.store.tables.schema import records
from signerd.adapters.store.writer import Transaction
from signerd.core.entry import Stamped
from signerd.errors import Code, Fault, Refused
from signerd.ports import Record, RecordState

_r = records.c
_STAMP = Prepared(
    update(records)
    .where(_r.id == bindparam("record"), _r.state == "issued", _r.superseded == false())
    .values(
        state="stamped",
        stamp=bindparam("value"),
        stamp_signature=bindparam("signature"),
        stamped_at=bindparam("at"),
        stamped_index=bindparam("index"),
    )
)
_BY_ID = Prepared(select(*RECORD).where(_r.id == bindparam("record")))


def record_stamp(
    tx: Transaction, record: Record, stamp: bytes, signature: bytes, station: str, now: datetime
) -> Record:
    """`Store.record_stamp`. `record` is `calls.call_context`'s, which compared it with its entry."""
    index = tx.next_index
    asked = {
        "record": record.record_id,
        "value": stamp,
        "signature": signature,
        "at": seconds(now),
        "index": index,
    }
    if _STAMP.count(tx.connection, asked) == 1:
        compared.not_revoked(tx.boards, record)  # the row says so, as of now
        tx.append(
            Stamped(
                time=now,
                work_order=record.place.work_order,
                chip_id=record.place.chip_id,
                serial_number=record.place.serial_number,
                certificate_sha256=hashlib.sha256(record.certificate_der).digest(),
                stamp_sha256=hashlib.sha256(stamp).digest(),
                station=station,
            )
        )
        return replace(
            record,
            state=RecordState.STAMPED,
            stamp=stamp,
            stamp_signature=signature,
            stamped_at=now.replace(microsecond=0),
            stamped_index=index,
        )
    before = record_of(_BY_ID.row(tx.connection, {"record": record.record_id}))
    compared.board(tx.entry_of, before)
    return _stamped_before(before, stamp)


def _stamped_before(record: Record, stamp: bytes) -> Record:
    if record.state is RecordState.REVOKED or record.superseded:
        raise Refused(Code.CERTIFICATE_REVOKED, f"record {record.record_id} is revoked")
    if record.state is RecordState.INTENT:
        raise Fault(f"record {record.record_id} has no certificate to stamp")
    if record.stamp != stamp:
        raise Refused(Code.STAMP_CONFLICT, f"record {record.record_id} has another stamp")
    return record
