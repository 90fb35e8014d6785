"""Bounds of request fields (the comments in the .proto files), and conversions both ways."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from birthmark.v1 import audit_pb2, signing_pb2
from signerd.core.names import KeyType, Level, is_administrator, is_chip_id, is_name
from signerd.errors import Code, Refused
from signerd.ports import Record, RecordState
from signerd.program import is_version

LEVELS = {
    Level.NONE: signing_pb2.EVIDENCE_LEVEL_NONE,
    Level.CHIP: signing_pb2.EVIDENCE_LEVEL_CHIP,
    Level.KEY: signing_pb2.EVIDENCE_LEVEL_KEY,
}
KEY_TYPES = {
    KeyType.P256: signing_pb2.KEY_TYPE_P256,
    KeyType.P384: signing_pb2.KEY_TYPE_P384,
    KeyType.RSA2048: signing_pb2.KEY_TYPE_RSA2048,
    KeyType.RSA3072: signing_pb2.KEY_TYPE_RSA3072,
    KeyType.RSA4096: signing_pb2.KEY_TYPE_RSA4096,
}
RECORD_STATES = {
    RecordState.INTENT: audit_pb2.RECORD_STATE_INTENT,
    RecordState.ISSUED: audit_pb2.RECORD_STATE_ISSUED,
    RecordState.STAMPED: audit_pb2.RECORD_STATE_STAMPED,
    RecordState.REVOKED: audit_pb2.RECORD_STATE_REVOKED,
}


def malformed(detail: str) -> Refused:
    """The refusal of a field that is missing, too large or not of its form."""
    return Refused(Code.REQUEST_MALFORMED, detail)


def name(text: str, field: str) -> str:
    """A name of docs/formats.md, "Names and bounds", or a refusal."""
    if not is_name(text):
        raise malformed(f"{field} is not of its form")
    return text


def chip_id(text: str) -> str:
    """A chip id, or a refusal. A board's serial number has the same form."""
    if not is_chip_id(text):
        raise malformed("chip_id is not of its form")
    return text


def administrator(text: str) -> str:
    """Who an administrator says to be, or a refusal."""
    if not is_administrator(text):
        raise Refused(Code.INVALID, "by must be 1 to 64 of [A-Za-z0-9._@-]")
    return text


def administrator_if_any(text: str) -> str | None:
    """Who an administrator says to be; None where it says nothing."""
    return administrator(text) if text else None


def version(text: str) -> str | None:
    """The version that a program states of itself, or a refusal; None where it states none."""
    if text and not is_version(text):
        raise malformed("agent_version is not of its form")
    return text or None


def size(data: bytes, field: str, *, most: int, least: int = 0) -> bytes:
    """The bytes if they are `least` to `most`, or a refusal."""
    if not least <= len(data) <= most:
        raise malformed(f"{field} has {len(data)} bytes, not {least} to {most}")
    return data


def digest(data: bytes, field: str) -> bytes:
    """A SHA-256 value, or a refusal."""
    return size(data, field, least=32, most=32)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """An aware moment as protobuf has it; None stays absent."""
    return None if moment is None else Timestamp(seconds=int(moment.astimezone(UTC).timestamp()))


def record_message(record: Record) -> audit_pb2.Record:
    """A certificate record as auditors see it."""
    return audit_pb2.Record(
        record_id=record.record_id,
        work_order=record.place.work_order,
        product=record.place.product,
        chip_id=record.place.chip_id,
        serial_number=record.place.serial_number,
        number=record.place.number,
        state=RECORD_STATES[record.state],
        certificate_der=record.certificate_der,
        csr_der=record.csr_der,
        evidence=signing_pb2.Evidence(method=record.method, claims=record.claims, evidence=record.evidence),
        level=LEVELS[record.level],
        challenge=record.challenge,
        station=record.station,
        issued_at=timestamp(record.issued_at),
        issued_index=record.issued_index or 0,
        stamp=record.stamp or b"",
        stamp_signature=record.stamp_signature or b"",
        stamped_index=record.stamped_index or 0,
        stamped_at=timestamp(record.stamped_at),
        revoked_index=record.revoked_index or 0,
        revoked_at=timestamp(record.revoked_at),
        settings=record.settings,
        measured=record.measured,
        attester_spki=record.attester,
    )
