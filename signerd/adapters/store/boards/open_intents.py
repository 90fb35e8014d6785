"""Intents that a crash left without a certificate, as start-up enters them in the ledger."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import bindparam, false, literal, null, select, update

from signerd.adapters.store.tables.rows import RECORD, record_of
from signerd.adapters.store.tables.schema import records
from signerd.adapters.store.writer import Transaction
from signerd.core.entry import IntentOpen

_r = records.c
_OPEN_INTENTS = (
    select(*RECORD)
    .where(
        _r.state == literal("intent", literal_execute=True),  # for the index over this state
        _r.superseded == false(),
        _r.open_index.is_(null()),
    )
    .order_by(_r.id)
)
_LIST_OPEN = update(records).where(_r.id == bindparam("record")).values(open_index=bindparam("index"))


def enter_open_intents(tx: Transaction, now: datetime) -> int:
    """Enters the intents that a crash left open and no entry lists yet; how many."""
    found = [record_of(row) for row in tx.connection.execute(_OPEN_INTENTS)]
    for record in found:
        index = tx.append(
            IntentOpen(
                time=now,
                work_order=record.place.work_order,
                chip_id=record.place.chip_id,
                serial_number=record.place.serial_number,
                number=record.place.number,
                tbs_sha256=hashlib.sha256(record.tbs).digest(),
                since=record.place.moment,
            )
        )
        tx.connection.execute(_LIST_OPEN, {"record": record.record_id, "index": index})
    return len(found)
