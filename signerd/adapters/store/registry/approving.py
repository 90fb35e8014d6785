"""Approvals in the ledger: who is asked now, and that each is used once.

An action's entry and the `action_approved` entry before it are written in one transaction with what they
record: a crash leaves all or nothing, and the approval counts as used exactly where its action is done.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from signerd.adapters.store.tables.schema import administrator_sets, approvals, entries, orders
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval, Preparing, ShownApproval
from signerd.core.approval.administrators import NOBODY, AdministratorSet, read_members
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.statement import parse_statement
from signerd.core.approval.verify import Approved, Installation, Signed, verify_approval
from signerd.core.entry import ActionApproved, AdministratorsEntry, AdministratorsSet, EntryError, members_of
from signerd.errors import Code, Fault, Refused

_a, _s = approvals.c, administrator_sets.c


class WouldAppend(Exception):  # noqa: N818 (an outcome, like Refused)
    """What an action that is only prepared would enter, and in which installation. Nothing of it is done."""

    def __init__(
        self,
        entry: AdministratorsEntry,
        installation: Installation,
        asked: AdministratorSet,
        given: bytes | None,
    ) -> None:
        super().__init__(entry.type)
        self.action = entry.type
        self.members: Mapping[str, object] = members_of(entry)
        self.installation = installation
        self.asked = asked
        self.given = given


def append_approved(tx: Transaction, entry: AdministratorsEntry, approval: Approval) -> int:
    """Appends an entry whose action needs an approval where administrators are asked; its index.

    Raises:
        Refused: `approval_required`; `approval_invalid`: it does not hold, or is not over this entry;
            `already_exists`: it was used before; `invalid`: nobody is asked here.
        WouldAppend: the action is only prepared.
    """
    asked = tx.state.administrators
    if tx.demanded is not None and not asked.asked and not isinstance(entry, AdministratorsSet):
        detail = "the settings ask administrators who are not in the ledger yet: restart signerd"
        raise Refused(Code.APPROVAL_REQUIRED, detail)
    if isinstance(approval, Preparing):
        raise WouldAppend(entry, _installation(tx), asked, approval.given)
    if not asked.asked:
        if approval is not None:
            raise Refused(Code.INVALID, "no approval is asked for here: give the command without one")
        return tx.append(entry, approved=True)
    if approval is None:
        raise Refused(
            Code.APPROVAL_REQUIRED, f"{asked.threshold} of {', '.join(asked.names)} must approve this first"
        )
    _demand_unused(tx, approval)
    approved = _verified(tx, entry, approval, asked)
    try:
        tx.append(_approval_entry(entry, approved, approval.part))
    except EntryError as error:
        raise Refused(Code.APPROVAL_INVALID, f"{error}: hand in fewer signatures") from error
    index = tx.append(entry, approved=True)
    use = {"request": approved.statement.request, "part": approval.part, "entry_index": index}
    tx.connection.execute(insert(approvals), use)
    return index


def in_force(connection: Connection) -> AdministratorSet:
    """Who is asked now, as the table says, once the whole database was compared with the ledger. Raises
    Fault where it is damaged."""
    newest = select(_s.threshold, _s.administrators).order_by(_s.entry_index.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is None:
        return NOBODY
    try:
        return read_members(row.threshold, json.loads(row.administrators))
    except (ApprovalError, ValueError) as error:
        raise Fault(f"the administrators in the database are damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class ApprovalsInUse:
    """What a key holder's service has to know, in the ledger's order."""

    approvals: tuple[tuple[bytes, tuple[bytes, ...]], ...]  # statement and signatures
    closed: tuple[str, ...]  # work orders


def approvals_in_use(connection: Connection) -> ApprovalsInUse:
    """The approvals of administrators, of issuers, and of orders that are open."""
    open_at = set(connection.scalars(select(orders.c.opened_index).where(orders.c.closed_at.is_(None))))
    # An action's approval is the entry before it.
    said = select(_a.entry_index, entries.c.data).join(entries, entries.c.entry_index == _a.entry_index - 1)
    found: dict[bytes, tuple[bytes, tuple[bytes, ...]]] = {}
    for index, data in connection.execute(said.order_by(_a.entry_index)):
        entry = json.loads(data)
        if entry["action"] == "order_opened" and index not in open_at:
            continue
        if entry["action"] in ("order_opened", "share_given", "administrators_set", "issuer_activated"):
            signatures = tuple(base64.b64decode(each["sshsig"]) for each in entry["signatures"])
            found.setdefault(
                bytes.fromhex(entry["request"]), (entry["statement"].encode("ascii"), signatures)
            )
    closed = connection.scalars(select(orders.c.work_order).where(orders.c.closed_at.is_not(None)))
    return ApprovalsInUse(tuple(found.values()), tuple(closed))


def administrators_entry(
    administrators: AdministratorSet, now: datetime, by: str | None
) -> AdministratorsSet:
    """The entry that says who is asked from here on."""
    return AdministratorsSet(
        time=now, by=by, threshold=administrators.threshold, administrators=administrators.members
    )


def set_administrators(tx: Transaction, entry: AdministratorsSet, approval: Approval) -> int:
    """Enters another set of administrators, approved by those of before.

    Raises as `append_approved`; and Refused `invalid` where nobody is asked.
    """
    if not tx.state.administrators.asked:
        detail = (
            "no approval is asked for here: name threshold and administrators in the settings, [approvals]"
        )
        raise Refused(Code.INVALID, detail)
    return _enter(tx, entry, approval)


def ask_administrators(tx: Transaction, now: datetime) -> AdministratorSet:
    """`Administration.ask_administrators`. Where somebody is asked already, settings change nothing."""
    asked = tx.state.administrators
    if tx.demanded is None or asked.asked:
        return asked
    _enter(tx, administrators_entry(tx.demanded, now, None), None)
    return tx.demanded


def _enter(tx: Transaction, entry: AdministratorsSet, approval: Approval) -> int:
    index = append_approved(tx, entry, approval)
    row = {
        "entry_index": index,
        "threshold": entry.threshold,
        "administrators": json.dumps(entry.administrators),
    }
    tx.connection.execute(insert(administrator_sets), row)
    return index


def _demand_unused(tx: Transaction, approval: ShownApproval) -> None:
    """Before it is verified: whoever repeats a command that was done is told so, even if it expired since."""
    used = tx.state.approvals.get((_request_of(approval.statement), approval.part))
    if used is not None:
        raise Refused(
            Code.ALREADY_EXISTS,
            f"this approval was used, and works once: ledger entry {used} is what it did. Ask for a"
            " new one: give the command without --approval",
        )


def _request_of(statement: bytes) -> bytes:
    try:
        return parse_statement(statement).request
    except ApprovalError as error:
        raise Refused(Code.APPROVAL_INVALID, str(error)) from error


def _verified(
    tx: Transaction, entry: AdministratorsEntry, approval: ShownApproval, asked: AdministratorSet
) -> Approved:
    try:
        approved = verify_approval(
            approval.statement,
            approval.signatures,
            asked,
            installation=_installation(tx),
            now=entry.time,
        )
        approved.demand(entry.type, members_of(entry), given=approval.given, part=approval.part)
    except ApprovalError as error:
        raise Refused(Code.APPROVAL_INVALID, str(error)) from error
    return approved


def _installation(tx: Transaction) -> Installation:
    """As the log's first entry says."""
    opened = tx.state.opened
    if opened is None:
        raise Fault("the log has no first entry")
    return Installation(opened.deployment, opened.vkey)


def _approval_entry(entry: AdministratorsEntry, approved: Approved, part: int) -> ActionApproved:
    return ActionApproved(
        time=entry.time,
        by=entry.by,
        action=entry.type,
        request=approved.statement.request,
        part=part,
        statement=approved.text.decode("ascii"),
        signatures=tuple(map(_signature, approved.signatures)),
    )


def _signature(signed: Signed) -> dict[str, object]:
    return {
        "administrator": signed.administrator,
        "sshsig": base64.b64encode(signed.signature.blob).decode(),
        "counter": None if signed.touch is None else signed.touch.counter,
    }
