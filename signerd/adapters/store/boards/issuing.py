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

import structlog
from sqlalchemy import bindparam, delete, false, func, insert, null, select, text, true, update

from signerd.adapters.store.boards.certified_chips import add_chip, add_missing, find_chip, shown
from signerd.adapters.store.boards.revoking import supersede
from signerd.adapters.store.registry.issuers import demand_active, is_active, issuer_name
from signerd.adapters.store.state import compared
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import INTENT, RECORD, record_of, row_of_intent, seconds
from signerd.adapters.store.tables.schema import grants, order_chips, orders, places, records
from signerd.adapters.store.writer import Transaction
from signerd.core.anchors import entry_form
from signerd.core.approved_order import MAX_RECORDS
from signerd.core.clock import BOUND
from signerd.core.entry import IntentAbandoned, Issued, serial_bytes
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.leaf import DEVICE
from signerd.core.names import Reissue
from signerd.core.order import Place
from signerd.core.serial_number import parse_pattern
from signerd.core.state.values import Terms
from signerd.core.strict_cbor import CborError
from signerd.errors import Code, Fault, IssuerChanged, Refused
from signerd.ports import Grant, IntentRequest, PreparedBytes, Record, RecordState
from signerd.program import program_version

_log = structlog.get_logger(__name__)

MAX_GRANTS = 64  # sessions kept that led to one certificate: a station may open any number

_r, _o, _p, _l = records.c, orders.c, places.c, order_chips.c

_RECORDS_OF = Prepared(
    select(func.count().label("records")).select_from(records).where(_r.chip == bindparam("chip"))
)
_BY_ID = Prepared(select(*RECORD).where(_r.id == bindparam("record")))
_SUPERSEDE = Prepared(
    update(records).where(_r.id == bindparam("record"), _r.superseded == false()).values(superseded=true())
)

_TAKE = Prepared(
    update(orders)
    .where(_o.work_order == bindparam("order"), _o.places < bindparam("quantity"))
    .values(places=_o.places + 1)
    .returning(_o.places)
)
_PLACE_OF = Prepared(
    select(_p.number).where(_p.work_order == bindparam("order"), _p.chip == bindparam("chip"))
)
_PLACES = select(_r.work_order, _r.number).where(_r.chip == bindparam("chip"))
_ADD_PLACE = Prepared(insert(places), ("work_order", "number", "chip"))
_ADD_RECORD = Prepared(insert(records).returning(_r.id), INTENT)

_COMPLETION = Prepared(
    select(
        _r.state,
        _r.superseded,
        _r.supersedes_id,
        _r.chip,
        _r.certificate_serial,
        _r.issuer,
    ).where(_r.id == bindparam("record"))
)
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
        _r.chip == bindparam("chip"),
        _r.superseded == true(),
        _r.certificate_sha256.is_not(null()),
        _r.revoked_at.is_(null()),
    )
)
# PostgreSQL has this clause as well, but SQLAlchemy has it in the dialects alone.
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
    if request.listed_as:
        _check_listed(tx, request)
    rows = shown(request)
    chip = find_chip(tx, request, rows)
    if chip is not None and not chip.complete:
        add_missing(tx, chip, request, rows)
    active = None if chip is None else chip.active
    if chip is not None and active is not None and active.spki_sha256 == request.spki_sha256:
        if active.state is RecordState.REVOKED:
            raise Refused(Code.CERTIFICATE_REVOKED, f"record {active.record_id} is revoked")
        compared.not_revoked(tx.boards, active)
        compared.board(tx.entry_of, active)
        if active.place.work_order != request.order.work_order:
            # Its terms were another order's, and one key never has two certificates.
            said = f"this key has record {active.record_id}, of work order {active.place.work_order}"
            raise Refused(Code.CHIP_ALREADY_CERTIFIED, said)
        if active.state is RecordState.INTENT and active.issuer_id != request.issuer_id:
            demand_active(tx, request.issuer_id)  # `complete` asks of every other intent
            tx.append(_abandoned(tx, active, request))
            return _begun_again(tx, chip.number, active, request, prepare)
        if active.state is RecordState.INTENT and (
            active.place.moment - request.moment > BOUND or not _made_here(tx, active)
        ):
            return _begun_again(tx, chip.number, active, request, prepare)
        # Under whatever name it came this time: its certificate has the name that it had first.
        return active
    if chip is None:
        number, serial = _next_place(tx, request)
        chip_number = add_chip(tx, request, serial, rows)
        _ADD_PLACE.run(tx.connection, _place_row(request, number, chip_number))
    else:
        if active is not None:
            compared.board(tx.entry_of, active)
            _supersede(tx, chip.number, active, request.order.reissue)
        chip_number, serial = chip.number, chip.serial_number
        _demand_serial(tx, chip_number, serial)
        number = _place_again(tx, request, chip_number)
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
    row = row_of_intent(record, chip_number, supersedes_id, tx.intents.columns(record))
    added = _ADD_RECORD.row(tx.connection, row)
    return replace(record, record_id=added.id)


def _begun_again(
    tx: Transaction,
    chip: int,
    active: Record,
    request: IntentRequest,
    prepare: Callable[[Place], PreparedBytes],
) -> Record:
    """An intent whose bytes cannot be signed any more: of a time that has not come, since the clock had been
    ahead and a crash lies between, of an issuer that is no longer active, or not known to be ours.

    The place and the board's serial number stay. The bytes go: whatever was signed over them was never
    handed out, for that comes after the entry. The new ones have a certificate serial of their own, and rest
    on the evidence that came with this request, over the name that it names.
    """
    _check_open(tx, request)
    _demand_serial(tx, chip, active.place.serial_number)
    place = replace(
        active.place,
        product=request.order.product,
        chip_id=request.chip_id,
        moment=request.moment,
        certificate_serial=request.certificate_serial,
    )
    record = replace(_intent(request, place, prepare(place)), record_id=active.record_id)
    row = row_of_intent(record, chip, None, tx.intents.columns(record))
    del row["supersedes_id"]  # stays as it was
    changed = update(records).where(_r.id == active.record_id, _r.state == RecordState.INTENT.value)
    if tx.connection.execute(changed.values(**row)).rowcount != 1:
        raise Fault(f"record {active.record_id} changed under its own transaction")
    return record


def _abandoned(tx: Transaction, intent: Record, request: IntentRequest) -> IntentAbandoned:
    place = intent.place
    return IntentAbandoned(
        time=request.moment,
        work_order=place.work_order,
        chip_id=place.chip_id,
        serial_number=place.serial_number,
        number=place.number,
        tbs_sha256=hashlib.sha256(intent.tbs).digest(),
        certificate_serial=serial_bytes(place.certificate_serial),
        issuer=issuer_name(tx, intent.issuer_id),
        successor=issuer_name(tx, request.issuer_id),
    )


def _check_listed(tx: Transaction, request: IntentRequest) -> None:
    """The list names the chip in one of the ways that the product allows. Lists only grow."""
    work_order = request.order.work_order
    asked = select(_l.chip_id, _l.entry).where(_l.work_order == work_order, _l.chip_id.in_(request.listed_as))
    found = tx.connection.execute(asked.limit(1)).one_or_none()
    if found is None:
        raise Refused(
            Code.CHIP_UNKNOWN, "the chip is not on the work order's list, neither by id nor by anchor"
        )
    tx.lists.demand_listed(tx.connection, tx.state, work_order, found.chip_id, found.entry)


def _next_place(tx: Transaction, request: IntentRequest) -> tuple[int, str]:
    """The next place of the order, and the serial number that a board which is new gets with it."""
    order, terms = request.order, _check_open(tx, request)
    # The quantity is the ledger's. A row that says another one is refused where the order is read.
    taken = _TAKE.row(tx.connection, {"order": order.work_order, "quantity": terms.quantity})
    if taken is None:
        raise Refused(Code.ORDER_FULL, f"all {order.quantity} places of {order.work_order} are taken")
    number: int = taken.places
    if number <= tx.boards.highest.get(order.work_order, 0):
        what = f"place {number} is taken next, and is issued"
        raise compared.differs("orders", order.work_order, terms.index, what)
    return number, _serial_number(terms, number)


def _place_again(tx: Transaction, request: IntentRequest, chip: int) -> int:
    """The place of a chip that had a certificate: in its first order it keeps the one it has."""
    kept = _PLACE_OF.row(tx.connection, {"order": request.order.work_order, "chip": chip})
    if kept is None:
        number, _ = _next_place(tx, request)
        _ADD_PLACE.run(tx.connection, _place_row(request, number, chip))
        return number
    _check_open(tx, request)
    return int(kept.number)


def _serial_number(terms: Terms, number: int) -> str:
    """That of a board which is new with this place."""
    return parse_pattern(terms.serial_pattern).render(terms.serial_start + number - 1)


def _made_here(tx: Transaction, intent: Record) -> bool:
    made = tx.intents.made(tx.connection, intent)
    if not made:
        _log.warning("intent_not_proven", record=intent.record_id, work_order=intent.place.work_order)
    return made


def _demand_serial(tx: Transaction, chip: int, serial_number: str) -> None:
    """A board's serial number is that of one of its chip's places, by the ledger's terms of the order. Raises
    Fault."""
    for row in tx.connection.execute(_PLACES, {"chip": chip}):
        terms = tx.state.orders.get(row.work_order)
        if (
            terms is not None
            and 1 <= row.number <= terms.quantity
            and _serial_number(terms, row.number) == serial_number
        ):
            return
    raise compared.differs("certified_chips", f"chip {chip}", None, f"its board is {serial_number!r:.80}")


def _place_row(request: IntentRequest, number: int, chip: int) -> dict[str, object]:
    return {"work_order": request.order.work_order, "number": number, "chip": chip}


def _check_open(tx: Transaction, request: IntentRequest) -> Terms:
    terms = tx.state.orders.get(request.order.work_order)
    if terms is None or not terms.open_at(request.moment):
        raise Refused(
            Code.ORDER_NOT_OPEN, f"work order {request.order.work_order} is closed or outside its window"
        )
    return terms


def _supersede(tx: Transaction, chip: int, active: Record, rule: Reissue) -> None:
    """Marks the chip's record as superseded, if the order allows it. Its certificate, if it has one,
    stays valid until the new one is there (`complete`)."""
    stamped = active.stamp is not None
    if rule is Reissue.NEVER or (rule is Reissue.BEFORE_STAMP and stamped):
        said = f"the chip has record {active.record_id}, and the order's reissue is {rule.value!r}"
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, said)
    made = _RECORDS_OF.row(tx.connection, {"chip": chip}).records
    if made >= MAX_RECORDS:
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"the chip has had {made} records, and may have no more")
    if _SUPERSEDE.count(tx.connection, {"record": active.record_id}) != 1:
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"record {active.record_id} was superseded in between")


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
        anchors=request.anchors,
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
        issuer_id=request.issuer_id,
    )


def complete(
    tx: Transaction, record: Record, certificate_der: bytes, grant: Grant, now: datetime, agent: str | None
) -> Record:
    """`Store.complete`: step 11."""
    _add_grant(tx, grant)
    found = _COMPLETION.row(tx.connection, {"record": record.record_id})
    if found.superseded:
        raise Refused(Code.CHIP_ALREADY_CERTIFIED, f"record {record.record_id} was superseded in between")
    if found.state == RecordState.REVOKED:
        raise Refused(Code.CERTIFICATE_REVOKED, f"record {record.record_id} was revoked in between")
    if found.state != RecordState.INTENT:
        # The certificate was handed out before; its oldest sessions make room, and may stamp no more.
        _FORGET.run(tx.connection, {"record": record.record_id})
        before = record_of(_BY_ID.row(tx.connection, {"record": record.record_id}))
        compared.board(tx.entry_of, before)
        return before
    begun_again = found.certificate_serial != serial_bytes(record.place.certificate_serial).hex()
    if begun_again or not is_active(tx, found.issuer):
        raise IssuerChanged(f"record {record.record_id} is another issuer's since its bytes were made")
    replaced = None
    if found.supersedes_id is not None:
        replaced = _revoke_replaced(tx, found.chip, record, now)
    digest = hashlib.sha256(certificate_der).digest()
    issuer = issuer_name(tx, found.issuer)
    index = tx.append(_issued(record, digest, replaced, now, agent, issuer))
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
        raise Refused(Code.SESSION_USED, f"the session was used for record {found.record_id}")


def _revoke_replaced(tx: Transaction, chip: int, record: Record, now: datetime) -> bytes | None:
    """Revokes the certificate that the new one replaces; its SHA-256, or None where there is none.

    The chip has at most one: an intent that was superseded before it was completed has no certificate.
    """
    row = _REPLACED.row(tx.connection, {"chip": chip})
    if row is None:
        return None
    old = record_of(row)
    supersede(tx, old, record.spki_sha256, now)
    return hashlib.sha256(old.certificate_der).digest()


def _claims(record: Record) -> Claims:
    try:
        return parse_claims(record.claims)
    except CborError as error:
        raise Fault(f"record {record.record_id} holds no claims: {error}") from error


def _issued(
    record: Record,
    certificate_sha256: bytes,
    supersedes: bytes | None,
    now: datetime,
    agent: str | None,
    issuer: str,
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
        anchors=entry_form(record.anchors),
        certificate_name=DEVICE,
        versions={"signerd": program_version(), "agent": agent},
        issuer=issuer,
    )
