"""protobuf messages to values. Nothing is verified here but that a value has a place in the program."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from auditor.core.record import Record, RecordState
from auditor.errors import Malformed
from auditor.ports import OrderTerms
from birthmark.v1 import audit_pb2, signing_pb2

_STATES = {
    audit_pb2.RECORD_STATE_INTENT: RecordState.INTENT,
    audit_pb2.RECORD_STATE_ISSUED: RecordState.ISSUED,
    audit_pb2.RECORD_STATE_STAMPED: RecordState.STAMPED,
    audit_pb2.RECORD_STATE_REVOKED: RecordState.REVOKED,
}
_LEVELS = {
    signing_pb2.EVIDENCE_LEVEL_NONE: "none",
    signing_pb2.EVIDENCE_LEVEL_CHIP: "chip",
    signing_pb2.EVIDENCE_LEVEL_KEY: "key",
}


def record_of(message: audit_pb2.Record) -> Record:
    """Raises Malformed for an unknown state or level."""
    state, level = _STATES.get(message.state), _LEVELS.get(message.level)
    if state is None or level is None:
        raise Malformed(f"record {message.record_id} has no known state and level")
    return Record(
        record_id=message.record_id,
        work_order=message.work_order,
        product=message.product,
        chip_id=message.chip_id,
        serial_number=message.serial_number,
        number=message.number,
        state=state,
        certificate=message.certificate_der,
        csr=message.csr_der,
        method=message.evidence.method,
        claims=message.evidence.claims,
        evidence=message.evidence.evidence,
        level=level,
        challenge=message.challenge,
        station=message.station,
        issued_at=_moment(message.issued_at) if message.HasField("issued_at") else None,
        issued_index=message.issued_index,
        stamp=message.stamp,
        stamp_signature=message.stamp_signature,
        stamped_index=message.stamped_index,
        revoked_index=message.revoked_index,
        settings=message.settings,
        measured=dict(message.measured),
        attester=message.attester_spki,
    )


def order_of(message: audit_pb2.GetWorkOrderResponse) -> OrderTerms:
    """Raises Malformed for an unknown level or state."""
    order, counts = message.work_order, message.counts
    level = _LEVELS.get(order.level)
    if level is None or order.state == audit_pb2.WORK_ORDER_STATE_UNSPECIFIED:
        raise Malformed("a work order without a known level and state")
    return OrderTerms(
        work_order=order.work_order,
        product=order.product,
        quantity=order.quantity,
        level=level,
        closed=order.state == audit_pb2.WORK_ORDER_STATE_CLOSED,
        opened_index=order.opened_index,
        issued=counts.issued,
        stamped=counts.stamped,
        revoked=counts.revoked,
        open_intents=counts.open_intents,
        bundle_sha256=order.bundle_sha256,
        firmware={name: (item.version, item.digest) for name, item in order.firmware.items()},
        product_file=message.product_toml.encode(),
    )


def _moment(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Malformed("a time that does not exist") from error
