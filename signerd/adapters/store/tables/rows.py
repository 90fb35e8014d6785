"""Rows as values, and values as rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import LargeBinary

from signerd.adapters.store.tables.schema import orders, peers, records
from signerd.core.anchors import from_text, to_text
from signerd.core.entry import serial_bytes
from signerd.core.names import Level, Reissue, parse_peer_uri
from signerd.core.order import FirmwareBundle, Place, WorkOrder
from signerd.errors import Fault
from signerd.ports import PeerRecord, Record, RecordState

AnyRow = Any  # its attributes are the columns' names: SQLAlchemy's Row, or one of `Prepared`

_r = records.c
# What `record_of` takes apart.
RECORD = (
    _r.id,
    _r.work_order,
    _r.product,
    _r.chip_id,
    _r.number,
    _r.serial_number,
    _r.certificate_serial,
    _r.moment,
    _r.state,
    _r.challenge,
    _r.station,
    _r.spki_sha256,
    _r.csr_der,
    _r.method,
    _r.claims,
    _r.evidence,
    _r.level,
    _r.settings,
    _r.tbs,
    _r.certificate_der,
    _r.issued_at,
    _r.issued_index,
    _r.stamp,
    _r.stamp_signature,
    _r.stamped_at,
    _r.stamped_index,
    _r.revoked_at,
    _r.revoked_index,
    _r.superseded,
    _r.measured,
    _r.attester,
    _r.anchors,
    _r.issuer,
)

_BYTES = tuple(column.name for column in RECORD if isinstance(column.type, LargeBinary))

# What `row_of_intent` gives.
INTENT = (
    "work_order",
    "product",
    "chip_id",
    "number",
    "serial_number",
    "certificate_serial",
    "moment",
    "state",
    "superseded",
    "supersedes_id",
    "challenge",
    "station",
    "spki_sha256",
    "csr_der",
    "method",
    "claims",
    "evidence",
    "level",
    "measured",
    "attester",
    "anchors",
    "issuer",
    "chip",
    "settings",
    "tbs",
    "intent_start",
    "intent_mac",
)

_p = peers.c
# Labelled, so that a peer and a record may stand in one row.
PEER = (
    _p.uri.label("peer_uri"),
    _p.spki_sha256.label("peer_spki_sha256"),
    _p.added_at.label("peer_added_at"),
    _p.revoked_at.label("peer_revoked_at"),
    _p.not_after.label("peer_not_after"),
    _p.ca_sha256.label("peer_ca_sha256"),
    _p.automatic.label("peer_automatic"),
)

_o = orders.c
ORDER = (
    _o.work_order,
    _o.product,
    _o.product_sha256,
    _o.quantity,
    _o.not_before,
    _o.not_after,
    _o.stations,
    _o.level,
    _o.minimum_firmware,
    _o.serial_pattern,
    _o.serial_start,
    _o.reissue,
    _o.settings,
    _o.bundle_sha256,
    _o.firmware,
)


# One board's record is read some five times within milliseconds.
_anchors_of = lru_cache(maxsize=1_024)(from_text)


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())


def moment_of(value: int) -> datetime:
    """Aware, UTC."""
    return datetime.fromtimestamp(value, UTC)


def _maybe_moment(value: int | None) -> datetime | None:
    return None if value is None else moment_of(value)


def record_of(row: AnyRow) -> Record:
    """The value of a row of the columns `RECORD`. Raises Fault: the row is damaged."""
    try:
        return _record_of(row)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Fault(
            f"the database's table records, record {row.id}: it is damaged: {error}; see docs/operations.md,"
            ' "The tables are not what the ledger says"'
        ) from error


def _record_of(row: AnyRow) -> Record:
    for name in _BYTES:
        if not isinstance(getattr(row, name), bytes | None):
            raise TypeError(f"{name} is no bytes")
    return Record(
        record_id=row.id,
        place=Place(
            work_order=row.work_order,
            product=row.product,
            chip_id=row.chip_id,
            number=row.number,
            serial_number=row.serial_number,
            certificate_serial=int(row.certificate_serial, 16),
            moment=moment_of(row.moment),
        ),
        state=RecordState(row.state),
        challenge=row.challenge,
        station=row.station,
        spki_sha256=row.spki_sha256,
        csr_der=row.csr_der,
        method=row.method,
        claims=row.claims,
        evidence=row.evidence,
        level=Level.from_label(row.level),
        settings=row.settings,
        tbs=row.tbs,
        certificate_der=row.certificate_der or b"",
        issued_at=_maybe_moment(row.issued_at),
        issued_index=row.issued_index,
        stamp=row.stamp,
        stamp_signature=row.stamp_signature,
        stamped_at=_maybe_moment(row.stamped_at),
        stamped_index=row.stamped_index,
        revoked_at=_maybe_moment(row.revoked_at),
        revoked_index=row.revoked_index,
        superseded=bool(row.superseded),
        measured=json.loads(row.measured),
        attester=row.attester or b"",
        anchors=_anchors_of(row.anchors),
        issuer_id=row.issuer,
    )


def row_of_intent(
    record: Record, chip: int, supersedes_id: int | None, proof: Mapping[str, bytes]
) -> dict[str, object]:
    """The row to insert for a new intent of this certified chip; the database numbers it. `proof`:
    `IntentKeys.columns`."""
    place = record.place
    return {
        "work_order": place.work_order,
        "product": place.product,
        "chip_id": place.chip_id,
        "number": place.number,
        "serial_number": place.serial_number,
        "certificate_serial": serial_bytes(place.certificate_serial).hex(),
        "moment": seconds(place.moment),
        "state": record.state.value,
        "superseded": False,
        "supersedes_id": supersedes_id,
        "challenge": record.challenge,
        "station": record.station,
        "spki_sha256": record.spki_sha256,
        "csr_der": record.csr_der,
        "method": record.method,
        "claims": record.claims,
        "evidence": record.evidence,
        "level": record.level.label,
        "measured": json.dumps(dict(record.measured)),
        "attester": record.attester or None,
        "anchors": to_text(record.anchors),
        "issuer": record.issuer_id,
        "chip": chip,
        "settings": record.settings,
        "tbs": record.tbs,
        **proof,
    }


def peer_of(row: AnyRow) -> PeerRecord:
    """The value of a row of the columns `PEER`."""
    return PeerRecord(
        name=parse_peer_uri(row.peer_uri),
        spki_sha256=row.peer_spki_sha256,
        added_at=moment_of(row.peer_added_at),
        revoked_at=_maybe_moment(row.peer_revoked_at),
        not_after=_maybe_moment(row.peer_not_after),
        ca_sha256=row.peer_ca_sha256,
        automatic=row.peer_automatic,
    )


def order_of(row: AnyRow) -> WorkOrder:
    """The value of a row of the columns `ORDER`."""
    return WorkOrder(
        work_order=row.work_order,
        product=row.product,
        product_sha256=row.product_sha256,
        quantity=row.quantity,
        not_before=moment_of(row.not_before),
        not_after=moment_of(row.not_after),
        stations=tuple(json.loads(row.stations)),
        level=Level.from_label(row.level),
        minimum_firmware=json.loads(row.minimum_firmware),
        serial_pattern=row.serial_pattern,
        serial_start=row.serial_start,
        reissue=Reissue(row.reissue),
        settings=row.settings,
        bundle=None
        if row.bundle_sha256 is None
        else FirmwareBundle(row.bundle_sha256, _firmware_of(row.firmware)),
    )


def _firmware_of(text: str | None) -> dict[str, tuple[str, bytes]]:
    named = {} if text is None else json.loads(text)
    return {name: (version, bytes.fromhex(digest)) for name, (version, digest) in named.items()}


def _firmware_text(bundle: FirmwareBundle | None) -> str | None:
    if bundle is None or not bundle.firmware:
        return None
    return json.dumps({name: [version, digest.hex()] for name, (version, digest) in bundle.firmware.items()})


def row_of_order(order: WorkOrder, opened_index: int) -> dict[str, object]:
    """The row to insert for a work order that opens."""
    return {
        "work_order": order.work_order,
        "product": order.product,
        "product_sha256": order.product_sha256,
        "quantity": order.quantity,
        "places": 0,
        "not_before": seconds(order.not_before),
        "not_after": seconds(order.not_after),
        "stations": json.dumps(order.stations),
        "level": order.level.label,
        "minimum_firmware": json.dumps(dict(order.minimum_firmware)),
        "serial_pattern": order.serial_pattern,
        "serial_start": order.serial_start,
        "reissue": order.reissue.value,
        "settings": order.settings,
        "bundle_sha256": None if order.bundle is None else order.bundle.sha256,
        "firmware": _firmware_text(order.bundle),
        "opened_index": opened_index,
    }
