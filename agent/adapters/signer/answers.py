"""What signerd answered, as values of `agent.ports`: what breaks the API's bounds is a `BadAnswer`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from agent.core.certificate import MAX_SERIAL_CHARACTERS, MAX_SETTINGS_BYTES
from agent.core.chain import MAX_CHAIN
from agent.errors import BadAnswer
from agent.ports import Issued, Receipt, Session
from birthmark.proof.receipt import MAX_RECEIPT_BYTES
from birthmark.proof.tile import MAX_ENTRY_BYTES
from birthmark.v1 import renewal_pb2, station_pb2
from birthmark.v1 import signing_pb2 as pb

_MAX_CERTIFICATE_BYTES = 8_192
_MAX_SESSION_BYTES = 512
_MAX_LIST = 16
_MAX_VKEY = 512  # characters, of station.proto
_MAX_CODE = 32  # characters
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # of locks, methods, firmware: they are shown to the operator
_KEY_TYPES = {
    pb.KEY_TYPE_P256: "p256",
    pb.KEY_TYPE_P384: "p384",
    pb.KEY_TYPE_RSA2048: "rsa2048",
    pb.KEY_TYPE_RSA3072: "rsa3072",
    pb.KEY_TYPE_RSA4096: "rsa4096",
}
_LEVELS = {
    pb.EVIDENCE_LEVEL_NONE: "none",
    pb.EVIDENCE_LEVEL_CHIP: "chip",
    pb.EVIDENCE_LEVEL_KEY: "key",
}


class RenewalState(StrEnum):
    """How a station's request for a renewal stands."""

    NOT_DUE = "not_due"
    PENDING = "pending"
    DONE = "done"


_RENEWALS = {
    renewal_pb2.RENEWAL_STATE_NOT_DUE: RenewalState.NOT_DUE,
    renewal_pb2.RENEWAL_STATE_PENDING: RenewalState.PENDING,
    renewal_pb2.RENEWAL_STATE_DONE: RenewalState.DONE,
}


@dataclass(frozen=True, slots=True)
class RenewalAnswer:
    """What signerd said; certificates are DER."""

    state: RenewalState
    certificate_der: bytes
    ca_der: tuple[bytes, ...]
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class StationAnswer:
    """What signerd said of this station. `order_code`: why it may not work on the order; empty: it may."""

    highest_ca_der: tuple[bytes, ...]  # those right below the device root
    order_code: str
    witnesses_required: int = 0  # for a receipt to be given out
    witness_vkeys: tuple[str, ...] = ()  # as signerd says; nobody's word for whom to trust


def read_session(answer: pb.OpenSessionResponse) -> Session:
    """An opened session, with what its order demands. Raises BadAnswer."""
    _within(answer.session, 1, _MAX_SESSION_BYTES, "session")
    _within(answer.challenge, 32, 32, "challenge")
    if answer.bundle_sha256:
        _within(answer.bundle_sha256, 32, 32, "bundle digest")
    names = (*answer.evidence_methods, *answer.required_locks, *answer.minimum_firmware.keys())
    lists = (answer.key_types, answer.evidence_methods, answer.required_locks, answer.minimum_firmware)
    if any(len(items) > _MAX_LIST for items in lists) or not all(map(_NAME.fullmatch, names)):
        raise BadAnswer("what the order demands is longer than it may be, or not of its form")
    key_types = tuple(_KEY_TYPES[key] for key in answer.key_types if key in _KEY_TYPES)
    if not key_types:
        raise BadAnswer("signerd names no key type that this agent knows")
    return Session(
        session=answer.session,
        challenge=answer.challenge,
        expires_at=_moment(answer),
        key_types=key_types,
        evidence_methods=tuple(answer.evidence_methods),
        level=_LEVELS.get(answer.level, ""),
        minimum_firmware=dict(answer.minimum_firmware),
        required_locks=tuple(answer.required_locks),
        bundle_sha256=answer.bundle_sha256 or None,
    )


def read_issued(answer: pb.SignCsrResponse) -> Issued:
    """A certificate with what comes with it; no signature of it is checked here. Raises BadAnswer."""
    _within(answer.certificate_der, 1, _MAX_CERTIFICATE_BYTES, "certificate")
    _within(answer.settings, 1, MAX_SETTINGS_BYTES, "settings")
    if not 1 <= len(answer.chain_der) <= MAX_CHAIN or len(answer.serial_number) > MAX_SERIAL_CHARACTERS:
        raise BadAnswer("chain or serial number are longer than they may be")
    for issuer in answer.chain_der:
        _within(issuer, 1, _MAX_CERTIFICATE_BYTES, "issuer")
    return Issued(
        certificate_der=answer.certificate_der,
        chain_der=tuple(answer.chain_der),
        serial_number=answer.serial_number,
        settings=answer.settings,
        receipt=read_receipt(answer),
        stamped=answer.stamped,
    )


def read_receipt(answer: pb.SignCsrResponse | pb.RecordStampResponse) -> Receipt:
    """The receipt of a ledger entry. Raises BadAnswer."""
    _within(answer.receipt, 1, MAX_RECEIPT_BYTES, "receipt")
    _within(answer.ledger_entry, 1, MAX_ENTRY_BYTES, "ledger entry")
    return Receipt(answer.ledger_index, answer.ledger_entry, answer.receipt)


def read_renewal(answer: renewal_pb2.RenewCertificateResponse) -> RenewalAnswer:
    """How a station's request for a renewal stands. Raises BadAnswer."""
    if answer.state not in _RENEWALS:
        raise BadAnswer("signerd names no state of a renewal that this agent knows")
    if not 1 <= len(answer.ca_der) <= MAX_CHAIN:
        raise BadAnswer("operations CAs, none or more than there may be")
    for each in (answer.certificate_der, *answer.ca_der):
        _within(each, 0, _MAX_CERTIFICATE_BYTES, "certificate")
    try:
        due_at = answer.due_at.ToDatetime(UTC) if answer.HasField("due_at") else None
    except (ValueError, OverflowError) as error:
        raise BadAnswer("the renewal's time is no time") from error
    return RenewalAnswer(_RENEWALS[answer.state], answer.certificate_der, tuple(answer.ca_der), due_at)


def read_station(answer: station_pb2.CheckStationResponse) -> StationAnswer:
    """What signerd said of this station. Raises BadAnswer."""
    if len(answer.highest_ca_der) > _MAX_LIST or len(answer.order_code) > _MAX_CODE:
        raise BadAnswer("more issuers, or a longer code, than there may be")
    for each in answer.highest_ca_der:
        _within(each, 1, _MAX_CERTIFICATE_BYTES, "issuer")
    if len(answer.witness_vkeys) > _MAX_LIST or any(len(each) > _MAX_VKEY for each in answer.witness_vkeys):
        raise BadAnswer("more witnesses, or a longer key of one, than there may be")
    return StationAnswer(
        tuple(answer.highest_ca_der),
        answer.order_code,
        answer.witnesses_required,
        tuple(answer.witness_vkeys),
    )


def _within(value: bytes, least: int, most: int, name: str) -> None:
    if not least <= len(value) <= most:
        raise BadAnswer(f"the {name} in signerd's answer has {len(value)} bytes")


def _moment(answer: pb.OpenSessionResponse) -> datetime:
    try:
        return answer.expires_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadAnswer("the session's expiry is no time") from error
