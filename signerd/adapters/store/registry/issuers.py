"""Issuers: which there are, and which of them issues."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from signerd.adapters.store.registry.approving import append_approved
from signerd.adapters.store.state import compared
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.rows import AnyRow
from signerd.adapters.store.tables.schema import head, issuers
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval
from signerd.core.entry import IssuerActivated, IssuerAdded, IssuerRetired, LogOpened
from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.core.names import FIRST
from signerd.errors import Code, Fault, IssuerChanged, Refused

_i = issuers.c
_ISSUER = select(
    _i.id, _i.name, _i.ca, _i.state, _i.certificate_sha256, _i.root_sha256, _i.added_index
).order_by(_i.id)


def first_issuer(opened: LogOpened) -> dict[str, object]:
    """The row of the issuer that a log begins with."""
    return {
        "id": 1,
        "name": FIRST,
        "ca": FIRST,
        "state": IssuerState.ACTIVE.value,
        "added_index": 0,
        "certificate_sha256": opened.issuer_sha256,
        "root_sha256": opened.root_sha256,
    }


def list_issuers(connection: Connection, states: States) -> list[IssuerRecord]:
    """`Administration.list_issuers`. Raises Fault: a row is not what the ledger says."""
    epoch = connection.execute(select(head.c.epoch)).scalar_one()
    return compared.issuers(states.of(epoch).issuers, issuer_rows(connection))


def issuer_rows(connection: Connection) -> list[IssuerRecord]:
    """As the table has them, the first one first. Raises ValueError: a row is damaged."""
    return [_issuer_of(row) for row in connection.execute(_ISSUER)]


def known_issuers(url: str) -> list[IssuerRecord]:
    """The same, of a database that no signerd has open, or that one has. Raises ConfigError."""
    with reading_database(url, "cannot read the issuers") as connection:
        return issuer_rows(connection)


def demand_active(tx: Transaction, issuer_id: int) -> None:
    """Raises IssuerChanged unless the issuer issues now. Of two calls, an activation and an issuance, the
    database's order decides: no `issued` entry follows the entry that took its issuer out of service."""
    if not is_active(tx, issuer_id):
        raise IssuerChanged("another issuer took over meanwhile")


def is_active(tx: Transaction, issuer_id: int) -> bool:
    """Whether the issuer issues now, as the ledger says."""
    return any(each.issuer_id == issuer_id and each.state is IssuerState.ACTIVE for each in tx.state.issuers)


def add_issuer(tx: Transaction, entry: IssuerAdded, approval: Approval) -> IssuerRecord:
    """`Administration.add_issuer`."""
    for known in tx.state.issuers:
        if entry.issuer == known.name:
            same = known.certificate_sha256 == entry.certificate_sha256
            which = "this" if same else "another"
            remedy = "`signerd ca list` shows it" if same else "take another name"
            raise Refused(
                Code.ALREADY_EXISTS,
                f"issuer {known.name} is there already, with {which} certificate (ledger entry"
                f" {known.added_index}): {remedy}",
            )
        if entry.certificate_sha256 == known.certificate_sha256:
            raise Refused(Code.ALREADY_EXISTS, f"issuer {known.name} has this certificate: `signerd ca list`")
    index = append_approved(tx, entry, approval)
    added = _named(tx, entry.issuer)
    row = {
        "id": added.issuer_id,
        "name": entry.issuer,
        "ca": entry.ca,
        "state": IssuerState.STANDBY.value,
        "added_index": index,
        "certificate_sha256": entry.certificate_sha256,
        "root_sha256": entry.root_sha256,
    }
    tx.connection.execute(insert(issuers), row)
    return added


def activate_issuer(
    tx: Transaction, name: str, now: datetime, by: str | None, approval: Approval
) -> tuple[IssuerRecord, int]:
    """`Administration.activate_issuer`. One transaction: after a crash the CA has the issuer of before and
    there is no entry, or the new one."""
    issuer = _named(tx, name)
    if issuer.state is IssuerState.ACTIVE:
        raise Refused(Code.ALREADY_EXISTS, f"issuer {name} is active already")
    if issuer.state is IssuerState.RETIRED:
        raise Refused(Code.INVALID, f"issuer {name} is retired for good: add another one (`signerd ca add`)")
    before = update(issuers).where(_i.ca == issuer.ca, _i.state == IssuerState.ACTIVE.value)
    tx.connection.execute(before.values(state=IssuerState.STANDBY.value))
    return _changed(tx, issuer, IssuerState.ACTIVE, IssuerActivated, now, by, approval)


def retire_issuer(
    tx: Transaction, name: str, now: datetime, by: str | None, approval: Approval
) -> tuple[IssuerRecord, int]:
    """`Administration.retire_issuer`."""
    issuer = _named(tx, name)
    if issuer.state is IssuerState.ACTIVE:
        raise Refused(
            Code.INVALID,
            f"issuer {name} is active: activate another one of CA {issuer.ca} first (`signerd ca activate`)",
        )
    if issuer.state is IssuerState.RETIRED:
        raise Refused(Code.ALREADY_EXISTS, f"issuer {name} is retired already")
    return _changed(tx, issuer, IssuerState.RETIRED, IssuerRetired, now, by, approval)


def _changed(
    tx: Transaction,
    issuer: IssuerRecord,
    state: IssuerState,
    kind: type[IssuerActivated | IssuerRetired],
    now: datetime,
    by: str | None,
    approval: Approval,
) -> tuple[IssuerRecord, int]:
    tx.connection.execute(update(issuers).where(_i.id == issuer.issuer_id).values(state=state.value))
    entry = kind(
        time=now, by=by, issuer=issuer.name, ca=issuer.ca, certificate_sha256=issuer.certificate_sha256
    )
    return replace(issuer, state=state), append_approved(tx, entry, approval)


def _named(tx: Transaction, name: str) -> IssuerRecord:
    for each in tx.state.issuers:
        if each.name == name:
            return each
    raise Refused(Code.NOT_FOUND, f"no issuer {name!r}: `signerd ca list` lists them")


def _issuer_of(row: AnyRow) -> IssuerRecord:
    return IssuerRecord(
        issuer_id=row.id,
        name=row.name,
        ca=row.ca,
        state=IssuerState(row.state),
        certificate_sha256=row.certificate_sha256,
        root_sha256=row.root_sha256,
        added_index=row.added_index,
    )


def issuer_name(tx: Transaction, issuer_id: int) -> str:
    """Of one that there is."""
    for each in tx.state.issuers:
        if each.issuer_id == issuer_id:
            return each.name
    raise Fault(f"no issuer {issuer_id}")
