"""The rows of boards beside the log, for `signerd database verify`: records, with place, chip and anchors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select

from signerd.adapters.store.boards.certified_chips import LABELLING_METHOD, NAME
from signerd.adapters.store.state import compared
from signerd.adapters.store.state.compared import differs
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import RECORD, AnyRow, record_of
from signerd.adapters.store.tables.schema import anchors, certified_chips, places, records
from signerd.adapters.store.verification.claims_of_rows import claims_of
from signerd.adapters.store.verification.findings import Found
from signerd.adapters.store.verification.verify_log import ISSUED, REVOKED, STAMPED, ReadLog
from signerd.core.anchors import AnchorKind
from signerd.core.entry import IntentOpen, SharedPrimesFound
from signerd.ports import Record, RecordState

BATCH = 200  # records at once
EntryOf = Callable[[int], bytes]

_a, _c, _p, _r = anchors.c, certified_chips.c, places.c, records.c
_PAGE = (
    select(
        *RECORD,
        _r.certificate_sha256,
        _r.chip,
        _r.revoked_reason,
        _r.open_index,
        _r.shared_prime_index,
        _p.chip.label("place_chip"),
        _c.serial_number.label("chip_serial"),
        _c.merged_into,
    )
    .outerjoin(places, and_(_p.work_order == _r.work_order, _p.number == _r.number))
    .outerjoin(certified_chips, _c.id == _r.chip)
    .where(_r.id > bindparam("after"))
    .order_by(_r.id)
    .limit(BATCH)
)
_ANCHOR = Prepared(
    select(_a.chip).where(
        _a.kind == bindparam("kind"), _a.issuer == bindparam("issuer"), _a.value == bindparam("value")
    )
)


def compare_page(
    connection: Connection, log: ReadLog, entry_of: EntryOf, after: int, found: Found
) -> int | None:
    """The next records after this one; the last of them, or None where there is none."""
    rows = connection.execute(_PAGE, {"after": after}).all()
    for row in rows:
        _compare(connection, log, entry_of, row, found)
    found.counts["records"] += len(rows)
    return rows[-1].id if rows else None


def _compare(connection: Connection, log: ReadLog, entry_of: EntryOf, row: AnyRow, found: Found) -> None:
    key = f"record {row.id}"
    with found.comparing(records.name, key):
        record = record_of(row)
        issued = _certificate(log, entry_of, row, record, found)
        _place(row, record)
        for kind, issuer, value in _shown(record, issued):
            _anchor(connection, row, (kind, issuer, value), found)


def _certificate(
    log: ReadLog, entry_of: EntryOf, row: AnyRow, record: Record, found: Found
) -> Mapping[str, Any] | None:
    """The `issued` entry; None of an intent, which no entry bears out."""
    if record.state is RecordState.INTENT and record.issued_index is None and not record.certificate_der:
        found.unproven["superseded intents" if record.superseded else "open intents"] += 1
        _listed_as_open(entry_of, row, record)
        return None
    compared.board(entry_of, record)
    issued = _json(entry_of, record.issued_index)
    key = f"record {row.id}"
    if not log.borne(record.issued_index, ISSUED):
        raise differs(records.name, key, record.issued_index, "its entry is another record's")
    if row.certificate_sha256 != hashlib.sha256(record.certificate_der).digest():
        raise differs(records.name, key, record.issued_index, "certificate_sha256 is another")
    if "claims" in issued and claims_of(record.claims) != issued["claims"]:
        raise differs(records.name, key, record.issued_index, "claims is another")
    _demand_moment(key, "issued_at", record.issued_at, issued, record.issued_index)
    issuer = next((each.name for each in log.state.issuers if each.issuer_id == record.issuer_id), None)
    if issuer is None or issuer != issued.get("issuer", issuer):
        raise differs(records.name, key, record.issued_index, "its issuer is another")
    _stamp(log, entry_of, key, record)
    _revocation(log, entry_of, row, record)
    _state(key, record)
    if row.shared_prime_index is not None:
        named = _json(entry_of, row.shared_prime_index)
        if (
            named.get("type") != SharedPrimesFound.type
            or row.certificate_sha256.hex() not in named["certificates"]
        ):
            raise differs(records.name, key, row.shared_prime_index, "a shared prime is noted")
    return issued


def _stamp(log: ReadLog, entry_of: EntryOf, key: str, record: Record) -> None:
    if record.stamped_index is None:
        return
    if not log.borne(record.stamped_index, STAMPED):
        raise differs(records.name, key, record.stamped_index, "its stamp's entry is another record's")
    _demand_moment(
        key, "stamped_at", record.stamped_at, _json(entry_of, record.stamped_index), record.stamped_index
    )


def _revocation(log: ReadLog, entry_of: EntryOf, row: AnyRow, record: Record) -> None:
    key, index = f"record {row.id}", record.revoked_index
    compared.not_revoked(log.boards, record)
    if index is None:
        return
    said = _json(entry_of, index) if isinstance(index, int) else {}
    if said.get("certificate_sha256") != row.certificate_sha256.hex() or not log.borne(index, REVOKED):
        raise differs(records.name, key, index, "it is revoked")
    if said["reason"] != row.revoked_reason:
        raise differs(records.name, key, index, "revoked_reason is another")
    _demand_moment(key, "revoked_at", record.revoked_at, said, index)


def _state(key: str, record: Record) -> None:
    if record.revoked_index is not None:
        right = RecordState.REVOKED
    else:
        right = RecordState.ISSUED if record.stamped_index is None else RecordState.STAMPED
    if record.state is not right:
        raise differs(records.name, key, record.issued_index, f"it is {record.state}, and not {right}")


def _listed_as_open(entry_of: EntryOf, row: AnyRow, record: Record) -> None:
    if row.open_index is None:
        return
    said = _json(entry_of, row.open_index) if isinstance(row.open_index, int) else {}
    place = record.place
    if (said.get("type"), said.get("work_order"), said.get("number")) != (
        IntentOpen.type,
        place.work_order,
        place.number,
    ):
        raise differs(records.name, f"record {row.id}", row.open_index, "it is noted as open")


def _place(row: AnyRow, record: Record) -> None:
    place = record.place
    key = f"place {place.number} of {place.work_order}"
    if row.place_chip is None:
        raise differs(places.name, key, record.issued_index, "there is no row")
    if row.place_chip != row.chip:
        raise differs(places.name, key, record.issued_index, "it is another chip's")
    if row.chip_serial != place.serial_number:
        what = "there is no row" if row.chip_serial is None else "its board's serial number is another"
        raise differs(certified_chips.name, f"chip {row.chip}", record.issued_index, what)


def _shown(record: Record, issued: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    """What is this chip's for ever. Of a certificate from before there were anchors: its anchors alone, as
    the upgrade found them."""
    for one in record.anchors:
        yield one.kind.value, one.issuer, one.value
    if issued is not None and "anchors" not in issued:
        return
    if record.attester:
        yield AnchorKind.KEY.value, "", hashlib.sha256(record.attester).hexdigest()
    if record.method != LABELLING_METHOD:
        yield NAME, "", record.place.chip_id


def _anchor(connection: Connection, row: AnyRow, shown: tuple[str, str, str], found: Found) -> None:
    kind, issuer, value = shown
    known = _ANCHOR.row(connection, {"kind": kind, "issuer": issuer, "value": value})
    found.counts["anchors of records"] += 1
    if known is None:
        what = f"chip {row.chip} showed it, and there is no row"
        found.add(anchors.name, f"{kind} {value}", what, row.issued_index, again=True)
    elif known.chip != (row.merged_into or row.chip):
        what = f"it is chip {known.chip}'s, and chip {row.chip} showed it"
        found.add(anchors.name, f"{kind} {value}", what, row.issued_index, again=True)


def _demand_moment(
    key: str, column: str, moment: datetime | None, said: Mapping[str, Any], index: int | None
) -> None:
    if moment is None or moment != datetime.fromisoformat(said["time"]):
        raise differs(records.name, key, index, f"{column} is another")


def _json(entry_of: EntryOf, index: int | None) -> Mapping[str, Any]:
    said: Mapping[str, Any] = json.loads(entry_of(-1 if index is None else index))
    return said
