"""The steps of the operations CA's succession, and which CA each peer's certificate is of.

A step is entered into the ledger before the command takes it, and once: a command that a crash stopped is
given again, and finds the entry of before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy import ColumnElement, Connection, bindparam, insert, null, or_, select, update

from signerd.adapters.store.tables.rows import seconds
from signerd.adapters.store.tables.schema import operations_cas, peers
from signerd.adapters.store.writer import Transaction
from signerd.core.entry import Entry, OperationsCaActivated, OperationsCaAdded, OperationsCaRetired
from signerd.errors import Code, Refused

_NAMED = 20  # peers in a refusal


class Step(Enum):
    """What is announced, with the column that has its entry."""

    ADDED = "added_index"
    ACTIVATED = "activated_index"
    RETIRED = "retired_index"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One step of one CA. `not_after` is its certificate's end."""

    step: Step
    ca_sha256: bytes
    not_after: datetime
    by: str | None
    force: bool


_NOTE = update(peers).where(peers.c.spki_sha256 == bindparam("key")).values(ca_sha256=bindparam("ca"))


def announce(tx: Transaction, wanted: Announcement, now: datetime) -> tuple[int, tuple[str, ...]]:
    """`Administration.announce_operations_ca`. One transaction: a crash leaves the entry and its row, or
    neither."""
    known = tx.connection.execute(
        select(operations_cas).where(operations_cas.c.sha256 == wanted.ca_sha256)
    ).one_or_none()
    entered = None if known is None else getattr(known, wanted.step.value)
    if entered is not None:
        return int(entered), ()
    _demand_order(wanted, added=known is not None and known.added_index is not None, known=known)
    behind = _behind(tx.connection, wanted, now)
    if behind and not wanted.force:
        raise Refused(Code.INVALID, _would_be_cut_off(behind))
    index = tx.append(_entry(wanted, now))
    if known is None:
        tx.connection.execute(insert(operations_cas), {"sha256": wanted.ca_sha256, wanted.step.value: index})
    else:
        own = operations_cas.c.sha256 == wanted.ca_sha256
        tx.connection.execute(update(operations_cas).where(own).values({wanted.step.value: index}))
    return index, behind


def _demand_order(wanted: Announcement, *, added: bool, known: object) -> None:
    if known is not None and getattr(known, Step.RETIRED.value) is not None:
        raise Refused(Code.INVALID, "this operations CA is retired for good: make another one")
    if wanted.step is Step.ACTIVATED and not added:
        raise Refused(Code.INVALID, "this operations CA was not added: signerd operations-ca add")


def _entry(wanted: Announcement, now: datetime) -> Entry:
    if wanted.step is Step.ADDED:
        return OperationsCaAdded(
            time=now, by=wanted.by, ca_sha256=wanted.ca_sha256, not_after=wanted.not_after
        )
    kind = OperationsCaActivated if wanted.step is Step.ACTIVATED else OperationsCaRetired
    return kind(time=now, by=wanted.by, ca_sha256=wanted.ca_sha256)


def _behind(connection: Connection, wanted: Announcement, now: datetime) -> tuple[str, ...]:
    """The peers that this step would cut off, as far as the registry knows: those whose certificate has ended
    are cut off already, and one of which nobody knows counts as behind."""
    if wanted.step is Step.ADDED:
        return ()
    ca = peers.c.ca_sha256
    off: ColumnElement[bool] = ca == wanted.ca_sha256
    if wanted.step is Step.ACTIVATED:
        off = ca != wanted.ca_sha256
    asked = (
        select(peers.c.uri)
        .where(peers.c.revoked_at.is_(null()), peers.c.renewed_at.is_(null()), or_(off, ca.is_(null())))
        .where(or_(peers.c.not_after.is_(null()), peers.c.not_after > seconds(now)))
        .order_by(peers.c.uri)
    )
    return tuple(connection.execute(asked).scalars())


def _would_be_cut_off(behind: tuple[str, ...]) -> str:
    named = ", ".join(behind[:_NAMED]) + (f" and {len(behind) - _NAMED} more" if behind[_NAMED:] else "")
    return (
        f"{len(behind)} peers have not moved to the newer operations CA: {named}\n"
        "renew each of them (signerd station renew, signerd auditor renew), and have it call once; those that"
        " are gone: revoke them; --force goes on and cuts them off"
    )


def note_cas(tx: Transaction, seen: Mapping[bytes, bytes]) -> None:
    """`Administration.note_cas`: of each public key (SHA-256), the CA of the certificate that it called with.
    A crash before loses nothing that the next call does not say again."""
    tx.registry_changed = True
    rows = [{"key": key, "ca": ca} for key, ca in seen.items()]
    tx.connection.execute(_NOTE, rows)
