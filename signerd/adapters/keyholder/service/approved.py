"""Takes in what administrators approved: the service's own verification, against its own notes.

signerd shows the statements that its ledger holds. Each is verified with the administrators that are in force
here, at this machine's time, and counts once: one that was taken in before is not looked at again, so that
showing it after its expiry changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from signerd.adapters.keyholder.service import noted_approvals, noted_orders, notes
from signerd.core.approval.administrators import read_members
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.statement import DIGEST_BYTES, Statement, parse_statement
from signerd.core.approval.verify import Installation, verify_approval
from signerd.core.names import is_name
from signerd.core.order_file import MAX_QUANTITY


def take_in(
    connection: Connection,
    text: bytes,
    signatures: Sequence[bytes],
    *,
    installation: Installation,
    now: datetime,
) -> bool:
    """One unit of work. True if anything here follows from it; False for an action that is none of ours.

    Raises:
        ApprovalError: the approval does not hold.
        LeafRefusedError: it is of an order for which certificates were signed already.
    """
    statement = parse_statement(text)
    take = _ACTIONS.get(statement.action)
    if take is None:
        return False
    if noted_approvals.was_used(connection, statement, text):
        return True
    administrators = noted_approvals.in_force(connection)
    if not administrators.asked:
        return False
    verify_approval(text, signatures, administrators, installation=installation, now=now)
    # A crash before the commit leaves nothing of it: signerd shows it again. After it, it counts.
    noted_approvals.note_use(connection, statement, text)
    take(connection, statement)
    return True


def _orders(connection: Connection, statement: Statement) -> None:
    for members in statement.entries:
        try:
            noted_orders.add_order(connection, dict(members))
        except ValueError as error:
            raise ApprovalError(str(error)) from error


def _administrators(connection: Connection, statement: Statement) -> None:
    for members in statement.entries:
        noted_approvals.set_administrators(
            connection, read_members(members.get("threshold"), members.get("administrators"))
        )


def _issuers(connection: Connection, statement: Statement) -> None:
    for members in statement.entries:
        ca, digest = members.get("ca"), _digest(members.get("certificate_sha256"))
        if not isinstance(ca, str) or not is_name(ca):
            raise ApprovalError("the issuer is not of its form")
        noted_approvals.set_active(connection, ca, digest)


def _shares(connection: Connection, statement: Statement) -> None:
    """More for this key holder, where it is the one that takes. The giver's places went before: by
    `signerd key-holder release` beside it, which administrators look at before they sign."""
    own = notes.read_about(connection).holder
    for members in statement.entries:
        match members:
            case {"work_order": str(work_order), "taker": str(taker), "places": int(places)}:
                if type(places) is not int or not 1 <= places <= MAX_QUANTITY or not is_name(work_order):
                    raise ApprovalError("the share is not of its form")
                if taker == own:
                    noted_orders.take_share(connection, work_order, places)
            case _:
                raise ApprovalError("the share is not of its form")


def _digest(value: Any) -> bytes:
    try:
        digest = bytes.fromhex(value)
    except (TypeError, ValueError) as error:
        raise ApprovalError("the issuer is not of its form") from error
    if len(digest) != DIGEST_BYTES:
        raise ApprovalError("the issuer is not of its form")
    return digest


_ACTIONS = {
    "order_opened": _orders,
    "share_given": _shares,
    "administrators_set": _administrators,
    "issuer_activated": _issuers,
}
