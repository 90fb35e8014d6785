"""Who approves, which approvals counted, and which issuers they made active, as a key holder's notes have it.

Each function is part of a unit of work (`adapters/keyholder/service/notes.py`).
"""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import Connection, insert, select

from signerd.adapters.keyholder.service import tables
from signerd.core.approval.administrators import NOBODY, AdministratorSet, read_members
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.statement import Statement
from signerd.errors import Fault

_administrators, _uses, _active = tables.administrators, tables.uses, tables.active


def in_force(connection: Connection) -> AdministratorSet:
    """Whose approvals count now."""
    newest = select(_administrators).order_by(_administrators.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is None:
        return NOBODY
    try:
        return read_members(row.threshold, json.loads(row.members))
    except (ApprovalError, ValueError) as error:
        raise Fault(f"the administrators in the key holder's notes are damaged: {error}") from error


def set_administrators(connection: Connection, administrators: AdministratorSet) -> None:
    """From here on they approve."""
    row = {"threshold": administrators.threshold, "members": json.dumps(administrators.members)}
    connection.execute(insert(_administrators), row)


def was_used(connection: Connection, statement: Statement, text: bytes) -> bool:
    """Whether an approval was taken in before. Raises ApprovalError: another one of its number was."""
    asked = select(_uses.c.statement_sha256).where(_uses.c.request == statement.request)
    used = connection.scalars(asked).one_or_none()
    if used is not None and used != hashlib.sha256(text).digest():
        raise ApprovalError("another approval with this number was taken in: prepare a new request")
    return used is not None


def note_use(connection: Connection, statement: Statement, text: bytes) -> None:
    """It counts from here on, and once."""
    row = {"request": statement.request, "action": statement.action}
    connection.execute(insert(_uses), {**row, "statement_sha256": hashlib.sha256(text).digest()})


def set_active(connection: Connection, ca: str, certificate_sha256: bytes) -> None:
    """From here on this issuer certifies boards for the CA."""
    connection.execute(_active.delete().where(_active.c.ca == ca))
    connection.execute(insert(_active), {"ca": ca, "certificate_sha256": certificate_sha256})


def active_of(connection: Connection, ca: str) -> bytes | None:
    """SHA-256 of the certificate of the CA's active issuer; None: the notes do not say."""
    return connection.scalars(select(_active.c.certificate_sha256).where(_active.c.ca == ca)).one_or_none()
