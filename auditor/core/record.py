"""One certificate record against the ledger: every byte that the entry speaks of, and every signature.

check_record(record, facts, issuer)      # returns nothing, or raises CheckFailed with the first lie
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256

from auditor.core import forms
from auditor.core.books import CertificateState
from auditor.core.certificate import Issuer, Leaf, check_agrees, read_leaf
from auditor.core.claims import check_minimum, parse_claims, split_settings, transcript
from auditor.core.clock import SKEW
from auditor.core.csr import check_csr
from auditor.core.entry import Issued, OrderOpened, Stamped
from auditor.core.findings import Code
from auditor.core.issuance import PERSONALIZED, UNPROVED
from auditor.core.stamp import check_stamp
from auditor.errors import CheckFailed, Malformed

_EVIDENCE_SIZES = {UNPROVED: 0, PERSONALIZED: 32}  # bytes


class RecordState(Enum):
    """Where a certificate stands, as signerd says."""

    INTENT = "intent"
    ISSUED = "issued"
    STAMPED = "stamped"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Record:
    """A certificate record as signerd handed it over. Nothing in it is verified."""

    record_id: int
    work_order: str
    product: str
    chip_id: str
    serial_number: str
    number: int
    state: RecordState
    certificate: bytes  # DER; empty while the state is INTENT
    csr: bytes
    method: str
    claims: bytes
    evidence: bytes
    level: str
    challenge: bytes
    station: str
    issued_at: datetime | None
    issued_index: int
    stamp: bytes
    stamp_signature: bytes
    stamped_index: int
    revoked_index: int
    settings: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What the verified ledger says of one certificate. `size` is the verified tree's."""

    issued: Issued
    certificate: CertificateState
    order: OrderOpened | None
    stamped: Stamped | None
    size: int


def check_record(record: Record, facts: Facts, issuer: Issuer) -> Leaf:
    """Checks a record against what the ledger says of its certificate; returns the certificate.

    Raises:
        CheckFailed: the first thing that does not hold.
    """
    found = sha256(record.certificate).hexdigest()
    _compare(Code.CERTIFICATE_DIFFERS, [("SHA-256", found, facts.issued.certificate_sha256.hex())])
    leaf = read_leaf(record.certificate, issuer)
    check_agrees(leaf, facts.issued, facts.order)
    _check_members(record, facts)
    _check_state(record, facts)
    if sha256(record.csr).digest() != facts.issued.csr_sha256:
        raise CheckFailed(Code.CSR, "the CSR is not the one of the entry")
    check_csr(record.csr, leaf.spki)
    _check_evidence(record, facts)
    _check_settings(record, facts)
    if record.stamp:
        _check_stamp(record, facts, leaf)
    return leaf


def evidence_transcript(record: Record) -> bytes:
    """The bytes that the board's evidence is over, for who holds the key to check it.

    Raises:
        Malformed: the claims are not of their form.
    """
    return transcript(
        challenge=record.challenge,
        chip_id=record.chip_id,
        csr_sha256=sha256(record.csr).digest(),
        claims=parse_claims(record.claims),
    )


def _check_members(record: Record, facts: Facts) -> None:
    issued = facts.issued
    _compare(
        Code.RECORD_DIFFERS,
        [
            ("issued_index", record.issued_index, facts.certificate.index),
            ("work_order", record.work_order, issued.work_order),
            ("product", record.product, issued.product),
            ("number", record.number, issued.number),
            ("chip_id", record.chip_id, issued.chip_id),
            ("serial_number", record.serial_number, issued.serial_number),
            ("level", record.level, issued.level),
            ("method", record.method, issued.method),
            ("challenge", record.challenge.hex(), issued.challenge.hex()),
            ("station", record.station, issued.station),
        ],
    )
    if record.issued_at is None or abs(record.issued_at - issued.time) > SKEW:
        moment = "none" if record.issued_at is None else forms.time_text(record.issued_at)
        _compare(Code.RECORD_DIFFERS, [("issued_at", moment, forms.time_text(issued.time))])


def _check_state(record: Record, facts: Facts) -> None:
    """The record's state follows the ledger, or runs ahead of the verified tree, but never behind it."""
    if record.state is RecordState.INTENT:
        raise CheckFailed(Code.RECORD_STATE, "an intent that has a certificate")
    stamped, revoked = bool(record.stamp), record.state is RecordState.REVOKED
    if record.state is RecordState.STAMPED and not stamped:
        raise CheckFailed(Code.RECORD_STATE, "stamped, but without a stamp")
    if record.state is RecordState.ISSUED and stamped:
        raise CheckFailed(Code.RECORD_STATE, "not stamped, but with a stamp")
    for what, there, claimed, index in (
        ("stamped", stamped, record.stamped_index, facts.certificate.stamped_index),
        ("revoked", revoked, record.revoked_index, facts.certificate.revoked_index),
    ):
        ahead = there and claimed >= facts.size
        if index is None and there and not ahead:
            raise CheckFailed(
                Code.RECORD_STATE, f"{what} in the record, but not in the ledger", found=str(claimed)
            )
        if index is not None and (not there or claimed != index):
            found = f"entry {claimed}" if there else f"not {what}"
            raise CheckFailed(
                Code.RECORD_STATE,
                f"{what} otherwise than in the ledger",
                expected=f"entry {index}",
                found=found,
            )


def _check_evidence(record: Record, facts: Facts) -> None:
    """Digests and form. Whether the evidence itself holds, only who has its key can tell."""
    issued = facts.issued
    _compare(
        Code.EVIDENCE,
        [
            ("claims", sha256(record.claims).hexdigest(), issued.claims_sha256.hex()),
            ("evidence", sha256(record.evidence).hexdigest(), issued.evidence_sha256.hex()),
            ("evidence size", len(record.evidence), _EVIDENCE_SIZES.get(record.method, len(record.evidence))),
        ],
    )
    try:
        claims = parse_claims(record.claims)
    except Malformed as error:
        raise CheckFailed(Code.EVIDENCE, f"claims: {error}") from error
    if facts.order is not None:
        check_minimum(claims, facts.order.minimum_firmware)


def _check_settings(record: Record, facts: Facts) -> None:
    try:
        serial_number, ordered = split_settings(record.settings)
    except Malformed as error:
        raise CheckFailed(Code.SETTINGS, str(error)) from error
    compared = [
        ("settings", sha256(record.settings).hexdigest(), facts.issued.settings_sha256.hex()),
        ("serial number", serial_number, facts.issued.serial_number),
    ]
    if facts.order is not None:
        compared.append(
            ("the order's settings", sha256(ordered).hexdigest(), facts.order.settings_sha256.hex())
        )
    _compare(Code.SETTINGS, compared)


def _check_stamp(record: Record, facts: Facts, leaf: Leaf) -> None:
    stamp = check_stamp(
        record.stamp,
        record.stamp_signature,
        key=leaf.key,
        chip_id=facts.issued.chip_id,
        serial_number=facts.issued.serial_number,
        certificate=record.certificate,
        settings=record.settings,
    )
    if facts.stamped is not None:
        found = sha256(record.stamp).hexdigest()
        _compare(Code.STAMP_DIFFERS, [("SHA-256 of the stamp", found, facts.stamped.stamp_sha256.hex())])
    if facts.order is not None:
        check_minimum(stamp.claims, facts.order.minimum_firmware)


def _compare(code: Code, compared: Iterable[tuple[str, object, object]]) -> None:
    for what, found, expected in compared:
        if found != expected:
            raise CheckFailed(
                code,
                f"{what} of the record and of the ledger",
                expected=str(expected),
                found=str(found)[:200],
            )
