"""Which chip asks for a certificate: the one that has its anchors, its name or its attestation key.

Guarantees that all that evidence shows of a chip is one chip's for ever, by the primary key of `anchors`:
evidence that shows two chips' is refused, and of two that race for an anchor the later one ends there. All of
this is part of `issuing.take_place`: what it writes is there with the intent, or not at all.

A name that only a layer of firmware states is a label: it is neither looked for nor kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, and_, bindparam, false, func, insert, or_, select, text

from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import RECORD, record_of
from signerd.adapters.store.tables.schema import anchors, certified_chips, records
from signerd.adapters.store.writer import Transaction
from signerd.core.anchors import AnchorKind, from_text
from signerd.errors import Code, Fault, Refused
from signerd.ports import IntentRequest, Record

NAME: Final = "name"  # the kind of a chip's names, beside those of `core.anchors`
# The one method whose vendors certify one key a chip (DeviceID or leaf). A TPM may have several of its own.
_ONE_KEY_METHOD: Final = "x509"
# The one method of which a layer of firmware may state the name alone.
LABELLING_METHOD: Final = "x509"

Row = tuple[str, str, str]  # kind, issuer, value

_a, _c, _r = anchors.c, certified_chips.c, records.c
_ADD_CHIP = Prepared(insert(certified_chips).returning(_c.id), ("chip_id", "serial_number"))
_CHIP = Prepared(select(_c.chip_id, _c.serial_number).where(_c.id == bindparam("chip")))
_SHOWN_BEFORE = select(_r.anchors).where(_r.chip == bindparam("chip"), _r.method == _ONE_KEY_METHOD)


@dataclass(frozen=True, slots=True)
class CertifiedChip:
    """A chip that has a place."""

    number: int
    serial_number: str  # its board's
    active: Record | None  # its record that is not superseded
    complete: bool  # all that the request shows is known to be this chip's


def shown(request: IntentRequest) -> tuple[Row, ...]:
    """All that the request shows of its chip, sorted, each once."""
    rows = {(one.kind.value, one.issuer, one.value) for one in request.anchors}
    if not request.name_is_label:
        rows.add((NAME, "", request.chip_id))
    if request.attester:
        rows.add((AnchorKind.KEY.value, "", hashlib.sha256(request.attester).hexdigest()))
    if not rows:
        raise Fault("evidence that shows no chip: neither an anchor nor a name")
    return tuple(sorted(rows))


def find_chip(tx: Transaction, request: IntentRequest, rows: tuple[Row, ...]) -> CertifiedChip | None:
    """The chip that has any of this; None: a chip that is new.

    Raises:
        Refused: `chip_already_certified`: it is two chips'.
    """
    found = _finding(len(rows)).row(tx.connection, _values(rows))
    if found.low is None:
        return None
    if found.low != found.high:
        one, other = (_CHIP.row(tx.connection, {"chip": chip}) for chip in (found.low, found.high))
        raise Refused(
            Code.CHIP_ALREADY_CERTIFIED,
            f"the evidence of {request.chip_id} fits two chips that are known: {one.chip_id}, board"
            f" {one.serial_number}, and {other.chip_id}, board {other.serial_number}",
        )
    active = None if found.id is None else record_of(found)
    return CertifiedChip(found.low, found.board_serial, active, complete=found.known == len(rows))


def add_chip(tx: Transaction, request: IntentRequest, serial_number: str, rows: tuple[Row, ...]) -> int:
    """Enters a chip with all that was shown of it; its number."""
    row = {"chip_id": request.chip_id, "serial_number": serial_number}
    number: int = _ADD_CHIP.row(tx.connection, row).id
    _adding(len(rows), "").run(tx.connection, _values(rows) | {"chip": number})
    return number


def add_missing(tx: Transaction, chip: CertifiedChip, request: IntentRequest, rows: tuple[Row, ...]) -> None:
    """Enters what was not known of a chip that is: from now on it is this chip's.

    Raises:
        Refused: `chip_already_certified`: another key of the vendor's was certified for this chip before, or
            another chip was faster.
    """
    _check_one_key(tx, chip, request)
    _adding(len(rows), " ON CONFLICT (kind, issuer, value) DO NOTHING").run(
        tx.connection, _values(rows) | {"chip": chip.number}
    )
    found = _finding(len(rows)).row(tx.connection, _values(rows))
    if (found.low, found.high, found.known) != (chip.number, chip.number, len(rows)):
        raise Refused(
            Code.CHIP_ALREADY_CERTIFIED,
            f"another chip was entered with an anchor of {request.chip_id} in between",
        )


def _check_one_key(tx: Transaction, chip: CertifiedChip, request: IntentRequest) -> None:
    """One vendor's serial or name for two certified keys: it is not unique, or the chip uses two keys. Which
    it is cannot be told, and of two chips the second would get its certificate in place of the first's."""
    if request.method != _ONE_KEY_METHOD:
        return
    keys = {one.value for one in request.anchors if one.kind is AnchorKind.KEY}
    for row in tx.connection.execute(_SHOWN_BEFORE, {"chip": chip.number}):
        before = {one.value for one in from_text(row.anchors) if one.kind is AnchorKind.KEY}
        if before and keys and before.isdisjoint(keys):
            raise Refused(
                Code.CHIP_ALREADY_CERTIFIED,
                f"{request.chip_id} shares a name or anchor with chip {chip.number}, board"
                f" {chip.serial_number}, and has another certified key: either that name is not unique, or"
                " the chip uses two keys",
            )


def _values(rows: tuple[Row, ...]) -> dict[str, Any]:
    return {
        f"{name}{number}": value
        for number, row in enumerate(rows)
        for name, value in zip(("kind", "issuer", "value"), row, strict=True)
    }


@lru_cache(maxsize=64)
def _finding(count: int) -> Prepared:
    """The chips of so many anchors, with the active record of the first: one row in any case."""
    wanted = [
        and_(
            _a.kind == bindparam(f"kind{number}"),
            _a.issuer == bindparam(f"issuer{number}"),
            _a.value == bindparam(f"value{number}"),
        )
        for number in range(count)
    ]
    matched = (
        select(func.min(_a.chip).label("low"), func.max(_a.chip).label("high"), func.count().label("known"))
        .where(or_(*wanted))
        .subquery()
    )
    active = and_(_r.chip == matched.c.low, _r.superseded == false())
    return Prepared(
        select(*matched.c, _c.serial_number.label("board_serial"), *RECORD).select_from(
            matched.outerjoin(certified_chips, _c.id == matched.c.low).outerjoin(records, active)
        )
    )


@lru_cache(maxsize=128)
def _adding(count: int, otherwise: str) -> Prepared:
    """One statement for so many anchors. SQLAlchemy has ON CONFLICT in the dialects alone."""
    rows = ", ".join(f"(:kind{number}, :issuer{number}, :value{number}, :chip)" for number in range(count))
    statement: TextClause = text(f"INSERT INTO anchors (kind, issuer, value, chip) VALUES {rows}{otherwise}")  # noqa: S608 (constants)
    return Prepared(statement)
