"""The writes of issuance: a place with its intent, then the certificate.

Each function is one unit of work of the writer: it is undone whole if it raises. What two callers race
for is decided by the constraints and by the conditions in the UPDATEs, never by a look before; the looks
here choose between cases that the same caller may repeat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, false, func, insert, null, select, text, true, update

from signerd.adapters.store.prepared import Prepared
from signerd.adapters.store.revoking import SUPERSEDED, revoke
from signerd.adapters.store.rows import INTENT, RECORD, record_of, row_of_intent, seconds
from signerd.adapters.store.schema import attesters, grants, orders, places, records, serials
from signerd.adapters.store.writer import Transaction
from signerd.core.clock import BOUND
from signerd.core.entry import Issued, serial_bytes
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.names import Reissue
from signerd.core.order import Place
from signerd.core.serial_number import parse_pattern
from signerd.core.strict_cbor import CborError
from signerd.errors import Code, Fault, Refused
from signerd.ports import Grant, IntentRequest, PreparedBytes, Record, RecordState
from signerd.program import program_version

# Records of one chip over all orders. A genuine chip in hostile hands could have its certificate replaced
# without end, and each one replaced stays in the CRL.
MAX_RECORDS = 16
DEVICE = "device"  # the name of a product's one certificate
MAX_GRANTS = 64  # sessions kept that led to one certificate: a station may open any number

_r, _o, _p = records.c, orders.c, places.c

_ACTIVE = Prepared(select(*RECORD).where(_r.chip_id == bindparam("chip"), _r.superseded == false()))
_RECORDS_OF = Prepared(
    select(func.count().label("records")).select_from(records).where(_r.chip_id == bindparam("chip"))
)
_BY_ID = Prepared(select(*RECORD).where(_r.id == bindparam("record")))
_SUPERSEDE = Prepared(
    update(records).where(_r.id == bindparam("record"), _r.superseded == false()).values(superseded=true())
)

_OPEN = and_(
    _o.work_order == bindparam("order"),
    _o.closed_at.is_(null()),
    _o.not_before <= bindparam("now"),
    _o.not_after >= bindparam("now"),
)
_TAKE = Prepared(
    update(orders).where(_OPEN, _o.places < _o.quantity).values(places=_o.places + 1).returning(_o.places)
)
_IS_OPEN = Prepared(select(_o.work_order).where(_OPEN))
_PLACE_OF = Prepared(
    select(_p.number).where(_p.work_order == bindparam("order"), _p.chip_id == bindparam("chip"))
)
_SERIAL_OF = Prepared(select(serials.c.serial_number).where(serials.c.chip_id == bindparam("chip")))
_ADD_SERIAL = Prepared(insert(serials), ("chip_id", "serial_number"))
_ADD_PLACE = Prepared(insert(places), ("work_order", "number", "chip_id"))
_ADD_RECORD = Prepared(insert(records).returning(_r.id), INTENT)

# PostgreSQL has this clause as well, but SQLAlchemy has it in the dialects alone.
_ADD_ATTESTER = Prepared(
    text(
        "INSERT INTO attesters (spki_sha256, chip_id) VALUES (:attester, :chip)"
        " ON CONFLICT (spki_sha256) DO NOTHING"
    )
)
_CHIP_OF_ATTESTER = Prepared(
    select(attesters.c.chip_id).where(attesters.c.spki_sha256 == bindparam("attester"))
)

_COMPLETION = Prepared(select(_r.state, _r.superseded, _r.supersedes_id).where(_r.id == bindparam("record")))
_COMPLETE = Prepared(
    update(records)
    .where(_r.id == bindparam("record"), _r.state == "intent", _r.superseded == false())
    .values(
        state="issued",
        certificate_der=bindparam("der"),
        certificate_sha256=bindparam("sha256"),
        issued_at=bindparam("at"),
        issued_index=bindparam("index"),
    )
)
_REPLACED = Prepared(
    select(*RECORD).where(
        _r.chip_id == bindparam("chip"),
        _r.superseded == true(),
        _r.certificate_sha256.is_not(null()),
        _r.revoked_at.is_(null()),
    )
)
_ADD_GRANT = Prepared(
    text(
        "INSERT INTO grants (session_sha256, record_id, challenge, station, csr_sha256)"
        " VALUES (:session, :record, :challenge, :station, :csr) ON CONFLICT (session_sha256) DO NOTHING"
    )
)
_GRANT = Prepared(
    select(grants.c.record_id, grants.c.csr_sha256).where(grants.c.session_sha256 == bindparam("session"))
)

_oldest_kept = (
    select(grants.c.id)
    .where(grants.c.record_id == bindparam("record"))
    .order_by(grants.c.id.desc())
    .limit(1)
    .offset(MAX_GRANTS - 1)
    .scalar_subquery()
)
_FORGET = Prepared(
    delete(grants).where(grants.c.record_id == bindparam("record"), grants.c.id < _oldest_kept)
)


def take_place(tx: Transaction, request: IntentRequest, prepare: Callable[[Place], PreparedBytes]) -> Record:
    """`Store.take_place`: steps 6 to 8."""
    active = _active(tx, request.chip_id)
    if active is not None and active.spki_sha256 == request.spki_sha256:
        if active.state is RecordState.REVOKED:
            raise Refused(Code.CERTIFICATE_REVOKED, f"record {active.record_id}")
        if active.place.work_order != request.order.work_order:
            # Its terms were another order's, and one key never has two certificates.
            raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"record {active.record_id} is of another work order")
        if active.state is RecordState.INTENT and active.place.moment - request.moment > BOUND:
            return _begun_again(tx, active, request, prepare)
        return active
    if request.attester:
        _check_attester(tx, request)
    if active is None:
        number, serial = _new_place(tx, request, serial=None)
    else:
        _supersede(tx, active, request.order.reissue)
        number, serial = _place_again(tx, request)
    place = Place(
        work_order=request.order.work_order,
        product=request.order.product,
        chip_id=request.chip_id,
        number=number,
        serial_number=serial,
        certificate_serial=request.certificate_serial,
        moment=request.moment,
    )
    record = _intent(request, place, prepare(place))
    supersedes_id = None if active is None else active.record_id
    added = _ADD_RECORD.row(tx.connection, row_of_intent(record, supersedes_id))
    return replace(record, record_id=added.id)


def _begun_again(
    tx: Transaction, active: Record, request: IntentRequest, prepare: Callable[[Place], PreparedBytes]
) -> Record:
    """An intent of a time that has not come: the clock had been ahead, and a crash lies between.

    The place and the board's serial number stay. Its bytes would begin in the future, and go: whatever was
    signed over them was never handed out, for that comes after the entry. The new ones have a certificate
    serial of their own, and rest on the evidence that came with this request.
    """
    if request.attester:
        _check_attester(tx, request)
    _check_open(tx, request)
    place = replace(active.place, moment=request.moment, certificate_serial=request.certificate_serial)
    record = replace(_intent(request, place, prepare(place)), record_id=active.record_id)
    row = row_of_intent(record, None)
    del row["supersedes_id"]  # stays as it was
    changed = update(records).where(_r.id == active.record_id, _r.state == RecordState.INTENT.value)
    if tx.connection.execute(changed.values(**row)).rowcount != 1:
        raise Fault(f"record {active.record_id} changed under its own transaction")
    return record


def _active(tx: Transaction, chip_id: str) -> Record | None:
    row = _ACTIVE.row(tx.connection, {"chip": chip_id})
    return None if row is None else record_of(row)


def _check_attester(tx: Transaction, request: IntentRequest) -> None:
    """An attestation key stands for the chip that it is in: what it signed first says which. Certificates and
    lists name that chip, and by a second name the chip would have a second certificate.

    Of two chips that race for a key the later one waits for the insertion of the first, and then reads it.
    """
    digest = hashlib.sha256(request.attester).digest()
    if _ADD_ATTESTER.count(tx.connection, {"attester": digest, "chip": request.chip_id}) == 1:
        return
    owner = _CHIP_OF_ATTESTER.row(tx.connection, {"attester": digest})
    if owner.chip_id != request.chip_id:
        detail = f"attestation key {digest.hex()} is that of chip {owner.chip_id}, not of {request.chip_id}"
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, detail)


def _new_place(tx: Transaction, request: IntentRequest, *, serial: str | None) -> tuple[int, str]:
    """The next place of the order; the board's serial number with it, unless the chip has one."""
    order = request.order
    asked = {"order": order.work_order, "now": seconds(request.moment)}
    taken = _TAKE.row(tx.connection, asked)
    if taken is None:
        _check_open(tx, request)
        raise Refused(Code.ORDER_FULL, f"all {order.quantity} places of {order.work_order} are taken")
    number = taken.places
    if serial is None:
        serial = parse_pattern(order.serial_pattern).render(order.serial_start + number - 1)
        _ADD_SERIAL.run(tx.connection, {"chip_id": request.chip_id, "serial_number": serial})
    row = {"work_order": order.work_order, "number": number, "chip_id": request.chip_id}
    _ADD_PLACE.run(tx.connection, row)
    return number, serial


def _place_again(tx: Transaction, request: IntentRequest) -> tuple[int, str]:
    """The place of a chip that had a certificate: in its first order it keeps the one it has."""
    serial = _SERIAL_OF.row(tx.connection, {"chip": request.chip_id}).serial_number
    asked = {"order": request.order.work_order, "chip": request.chip_id}
    kept = _PLACE_OF.row(tx.connection, asked)
    if kept is None:
        return _new_place(tx, request, serial=serial)
    _check_open(tx, request)
    return kept.number, serial


def _check_open(tx: Transaction, request: IntentRequest) -> None:
    asked = {"order": request.order.work_order, "now": seconds(request.moment)}
    if _IS_OPEN.row(tx.connection, asked) is None:
        raise Refused(Code.ORDER_NOT_OPEN, f"{request.order.work_order} is closed or outside its window")


def _supersede(tx: Transaction, active: Record, rule: Reissue) -> None:
    """Marks the chip's record as superseded, if the order allows it. Its certificate, if it has one,
    stays valid until the new one is there (`complete`)."""
    stamped = active.stamp is not None
    if rule is Reissue.NEVER or (rule is Reissue.BEFORE_STAMP and stamped):
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"record {active.record_id}, reissue is {rule.value}")
    made = _RECORDS_OF.row(tx.connection, {"chip": active.place.chip_id}).records
    if made >= MAX_RECORDS:
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"the chip has had {made} records")
    if _SUPERSEDE.count(tx.connection, {"record": active.record_id}) != 1:
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"record {active.record_id} was superseded meanwhile")


def _intent(request: IntentRequest, place: Place, prepared: PreparedBytes) -> Record:
    return Record(
        record_id=0,  # the database numbers it
        place=place,
        state=RecordState.INTENT,
        challenge=request.challenge,
        station=request.station,
        spki_sha256=request.spki_sha256,
        csr_der=request.csr_der,
        method=request.method,
        claims=request.claims,
        evidence=request.evidence,
        level=request.level,
        measured=request.measured,
        attester=request.attester,
        settings=prepared.settings,
        tbs=prepared.tbs,
        certificate_der=b"",
        issued_at=None,
        issued_index=None,
        stamp=None,
        stamp_signature=None,
        stamped_at=None,
        stamped_index=None,
        revoked_at=None,
        revoked_index=None,
        superseded=False,
    )


def complete(
    tx: Transaction, record: Record, certificate_der: bytes, grant: Grant, now: datetime, agent: str | None
) -> Record:
    """`Store.complete`: step 11."""
    _add_grant(tx, grant)
    found = _COMPLETION.row(tx.connection, {"record": record.record_id})
    if found.superseded:
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"record {record.record_id} was superseded meanwhile")
    if found.state == RecordState.REVOKED:
        raise Refused(Code.CERTIFICATE_REVOKED, f"record {record.record_id} was revoked meanwhile")
    if found.state != RecordState.INTENT:
        # The certificate was handed out before; its oldest sessions make room, and may stamp no more.
        _FORGET.run(tx.connection, {"record": record.record_id})
        return record_of(_BY_ID.row(tx.connection, {"record": record.record_id}))
    replaced = None
    if found.supersedes_id is not None:
        replaced = _revoke_replaced(tx, record, now)
    digest = hashlib.sha256(certificate_der).digest()
    index = tx.append(_issued(record, digest, replaced, now, agent))
    done = _COMPLETE.count(
        tx.connection,
        {
            "record": record.record_id,
            "der": certificate_der,
            "sha256": digest,
            "at": seconds(now),
            "index": index,
        },
    )
    if done != 1:
        raise Fault(f"record {record.record_id} changed under its own transaction")
    return replace(
        record,
        state=RecordState.ISSUED,
        certificate_der=certificate_der,
        issued_at=now.replace(microsecond=0),
        issued_index=index,
    )


def _add_grant(tx: Transaction, grant: Grant) -> None:
    """A session hands out one certificate for one CSR; asking again for the same changes nothing."""
    added = _ADD_GRANT.count(
        tx.connection,
        {
            "session": grant.session_sha256,
            "record": grant.record_id,
            "challenge": grant.challenge,
            "station": grant.station,
            "csr": grant.csr_sha256,
        },
    )
    if added == 1:
        return
    found = _GRANT.row(tx.connection, {"session": grant.session_sha256})
    if (found.record_id, found.csr_sha256) != (grant.record_id, grant.csr_sha256):
        raise Refused(Code.SESSION_USED, f"the session led to record {found.record_id}")


def _revoke_replaced(tx: Transaction, record: Record, now: datetime) -> bytes | None:
    """Revokes the certificate that the new one replaces; its SHA-256, or None where there is none.

    The chip has at most one: an intent that was superseded before it was completed has no certificate.
    """
    row = _REPLACED.row(tx.connection, {"chip": record.place.chip_id})
    if row is None:
        return None
    old = record_of(row)
    revoke(tx, old, SUPERSEDED, record.spki_sha256, now, by=None)
    return hashlib.sha256(old.certificate_der).digest()


def _claims(record: Record) -> Claims:
    try:
        return parse_claims(record.claims)
    except CborError as error:
        raise Fault(f"record {record.record_id} holds no claims: {error}") from error


def _issued(
    record: Record, certificate_sha256: bytes, supersedes: bytes | None, now: datetime, agent: str | None
) -> Issued:
    place = record.place
    return Issued(
        time=now,
        work_order=place.work_order,
        product=place.product,
        number=place.number,
        chip_id=place.chip_id,
        serial_number=place.serial_number,
        certificate_serial=serial_bytes(place.certificate_serial),
        certificate_sha256=certificate_sha256,
        spki_sha256=record.spki_sha256,
        csr_sha256=hashlib.sha256(record.csr_der).digest(),
        settings_sha256=hashlib.sha256(record.settings).digest(),
        level=record.level.label,
        method=record.method,
        claims=_claims(record),
        measured=record.measured,
        attester_sha256=hashlib.sha256(record.attester).digest() if record.attester else None,
        evidence_sha256=hashlib.sha256(record.evidence).digest(),
        challenge=record.challenge,
        station=record.station,
        supersedes=supersedes,
        anchors=(),
        certificate_name=DEVICE,
        versions={"signerd": program_version(), "agent": agent},
    )
