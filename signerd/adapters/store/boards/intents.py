"""Which intents are signerd's own (`core/intents.py`).

An intent is resumed with its bytes if its MAC is right. Others are begun again: one of before schema 0014,
one whose start's key nobody can derive any more, and one that somebody else wrote or altered.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, literal, select

from signerd.adapters.commit_keys import CommitKeys, StartKey
from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import seconds
from signerd.adapters.store.tables.schema import records
from signerd.core.anchors import to_text
from signerd.core.entry import serial_bytes
from signerd.core.intents import intent_mac
from signerd.core.internal_key import START_BYTES
from signerd.ports import Record

MAX_STARTS = 64  # whose keys are asked for, the newest first: each is a question to a token

_r = records.c
_MAC_OF = Prepared(select(_r.intent_start, _r.intent_mac).where(_r.id == bindparam("record")))
_OPEN = (
    select(_r.intent_start)
    .where(_r.state == literal("intent", literal_execute=True), _r.intent_start.is_not(None))
    .order_by(_r.id.desc())
)


class IntentKeys:
    """The keys of this start and of those before that left intents open. Used by the writer's thread."""

    def __init__(self, own: StartKey, origin: str, earlier: Mapping[bytes, Sequence[bytes]]) -> None:
        self._own = own
        self._origin = origin
        self._keys = {**earlier, own.start: (own.key,)}

    def columns(self, record: Record) -> dict[str, bytes]:
        """Of an intent that is about to be written. Durable with it: a crash leaves both or neither."""
        start = self._own.start
        mac = intent_mac(self._own.key, self._origin, start, _values(record))
        return {"intent_start": start, "intent_mac": mac}

    def made(self, connection: Connection, record: Record) -> bool:
        """Whether this intent is as a signerd with these secrets wrote it."""
        row = _MAC_OF.row(connection, {"record": record.record_id})
        start, mac = row.intent_start, row.intent_mac
        if not isinstance(start, bytes) or not isinstance(mac, bytes):
            return False
        return any(
            hmac.compare_digest(mac, intent_mac(key, self._origin, start, _values(record)))
            for key in self._keys.get(start, ())
        )


async def intent_keys(url: str, own: StartKey, origin: str, keys: CommitKeys) -> IntentKeys:
    """Asks for the keys of the starts that left intents open. Raises ConfigError, Fault."""
    starts = await asyncio.to_thread(_starts, url)
    return IntentKeys(own, origin, {start: await keys.of(start) for start in starts})


def _starts(url: str) -> list[bytes]:
    found: dict[bytes, None] = {}
    with reading_database(url, "cannot read the intents") as connection:
        for start in connection.execute(_OPEN).scalars():
            if isinstance(start, bytes) and len(start) == START_BYTES:
                found[start] = None
            if len(found) == MAX_STARTS:
                break
    return list(found)


def _values(record: Record) -> list[bytes]:
    place = record.place
    return [
        place.work_order.encode(),
        place.product.encode(),
        place.chip_id.encode(),
        place.number.to_bytes(8, "big"),
        place.serial_number.encode(),
        serial_bytes(place.certificate_serial),
        seconds(place.moment).to_bytes(8, "big"),
        record.challenge,
        record.station.encode(),
        record.spki_sha256,
        record.csr_der,
        record.method.encode(),
        record.claims,
        record.evidence,
        record.level.label.encode(),
        json.dumps(dict(record.measured), sort_keys=True).encode(),
        record.attester,
        to_text(record.anchors).encode(),
        record.issuer_id.to_bytes(8, "big"),
        record.settings,
        record.tbs,
    ]
