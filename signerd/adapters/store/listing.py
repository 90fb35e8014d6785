"""Reads for administrators and auditors: lists, records, entries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, false, func, literal, null, select

from signerd.adapters.store.state import compared
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.rows import (
    ORDER,
    RECORD,
    AnyRow,
    moment_of,
    order_of,
    record_of,
)
from signerd.adapters.store.tables.schema import (
    counters,
    entries,
    head,
    issuer_of_next_update,
    orders,
    peers,
    products,
    records,
)
from signerd.adapters.store.values import (
    OrderCounts,
    OrderState,
    ProductRevision,
    RecordFilter,
    RecordPage,
    RevokedCertificate,
)
from signerd.core.names import Role
from signerd.core.state.administration import State
from signerd.core.state.values import Peer
from signerd.ports import PeerRecord, Record, RecordState

# Of what stations may make large, in one page: it has to fit a message, and an auditor's calls the memory.
_PAGE_BYTES = 2**20
_MAX_ID = 2**63 - 1  # what a database's integer holds; a page token may be larger

_r = records.c
_COUNTS = select(
    func.count(_r.certificate_sha256).label("issued"),
    func.count(_r.stamped_at).label("stamped"),
    func.count(_r.revoked_at).label("revoked"),
    func.count(case(((_r.state == "intent") & (_r.superseded == false()), 1))).label("open_intents"),
)
_p = products.c
_PRODUCT = (_p.name, _p.sha256, _p.toml, _p.added_at)


def _in_state(state: RecordState) -> ColumnElement[bool]:
    """Written into the statement, since the indexes over one state serve no parameter."""
    return _r.state == literal(state.value, literal_execute=True)


def list_peers(connection: Connection, states: States, role: Role | None) -> list[PeerRecord]:
    """`Administration.list_peers`."""
    found = peers_of(connection, states.of(connection.execute(select(head.c.epoch)).scalar_one()))
    return [each for each in found if role is None or each.name.role is role]


def peers_of(connection: Connection, state: State) -> list[PeerRecord]:
    """The peers of this state, in the order of the ledger. Rows add what no entry says: the end of the
    certificate that a peer called with, and its CA."""
    asked = select(peers.c.spki_sha256, peers.c.not_after, peers.c.ca_sha256)
    rows = {row.spki_sha256: row for row in connection.execute(asked)}
    return [_peer_of(peer, rows.get(key)) for key, peer in state.peers.items()]


def _peer_of(peer: Peer, row: AnyRow | None) -> PeerRecord:
    end = None if row is None or row.not_after is None else moment_of(row.not_after)
    return PeerRecord(
        name=peer.name,
        spki_sha256=peer.spki_sha256,
        added_at=peer.added_at,
        revoked_at=peer.revoked_at,
        not_after=end,
        ca_sha256=None if row is None else row.ca_sha256,
        automatic=peer.automatic,
    )


def crl_next_updates(connection: Connection) -> dict[str, datetime]:
    """`Administration.crl_next_updates`."""
    found = {}
    for row in connection.execute(select(counters.c.name, counters.c.value)):
        if (issuer := issuer_of_next_update(row.name)) is not None:
            found[issuer] = moment_of(row.value)
    return found


def list_products(connection: Connection) -> list[ProductRevision]:
    """`Administration.list_products`."""
    newest = select(func.max(_p.id)).group_by(_p.name)
    asked = select(*_PRODUCT).where(_p.id.in_(newest)).order_by(_p.name)
    return [_revision(row) for row in connection.execute(asked)]


def product(connection: Connection, states: States, name: str) -> ProductRevision | None:
    """`Administration.product`. Raises Fault: its row is not what the ledger says."""
    epoch = connection.execute(select(head.c.epoch)).scalar_one()
    newest = states.of(epoch).newest_revision.get(name)
    if newest is None:
        return None
    row = connection.execute(select(*_PRODUCT).where(_p.sha256 == newest)).one_or_none()
    if row is None or row.name != name:
        raise compared.differs("products", newest.hex(), None, "there is no row of this product")
    compared.product_text(newest, row.toml)
    return _revision(row)


def _revision(row: AnyRow) -> ProductRevision:
    return ProductRevision(row.name, row.sha256, row.toml, moment_of(row.added_at))


def product_text(connection: Connection, sha256: bytes) -> str | None:
    """`Audit.product_text`."""
    return connection.execute(select(_p.toml).where(_p.sha256 == sha256)).scalar_one_or_none()


def open_revisions(connection: Connection, name: str) -> Sequence[str]:
    """`Administration.open_revisions`."""
    kept = select(orders.c.product_sha256).where(orders.c.product == name, orders.c.closed_at.is_(null()))
    return connection.execute(select(_p.toml).where(_p.sha256.in_(kept))).scalars().all()


def list_orders(connection: Connection) -> list[OrderState]:
    """`Administration.list_orders`."""
    rows = connection.execute(_orders().order_by(orders.c.id)).all()
    return [_state(connection, row) for row in rows]


def open_windows(connection: Connection, now: datetime) -> dict[str, datetime]:
    """`Administration.open_windows`."""
    over = orders.c.not_after <= int(now.timestamp())
    asked = select(orders.c.work_order, orders.c.not_after).where(orders.c.closed_at.is_(null()), ~over)
    return {
        row.work_order: moment_of(row.not_after) for row in connection.execute(asked.order_by(orders.c.id))
    }


def order(connection: Connection, work_order: str) -> OrderState | None:
    """`Administration.order`."""
    row = connection.execute(_orders().where(orders.c.work_order == work_order)).one_or_none()
    return None if row is None else _state(connection, row)


def _orders() -> Select[Any]:
    return select(*ORDER, orders.c.closed_at, orders.c.opened_index, orders.c.places)


def _state(connection: Connection, row: Any) -> OrderState:
    terms = order_of(row)
    counts = connection.execute(_COUNTS.where(_r.work_order == terms.work_order)).one()
    return OrderState(
        order=terms,
        closed=row.closed_at is not None,
        opened_index=row.opened_index,
        counts=OrderCounts(row.places, counts.issued, counts.stamped, counts.revoked, counts.open_intents),
    )


def revoked_certificates(
    connection: Connection, states: States, ours: Callable[[bytes], bool] | None
) -> list[RevokedCertificate]:
    """`Administration.revoked_certificates`. The log says which; a row has no more than the certificate, to
    see whose it is.

    Raises:
        Fault: a certificate that the log revokes is gone, or is another one: a CRL without it would lie.
    """
    return [
        RevokedCertificate(each.certificate_serial, each.revoked_at, each.reason)
        for each in states.boards.revocations
        if ours is None or ours(_certificate(connection, each.certificate_sha256))
    ]


def _certificate(connection: Connection, sha256: bytes) -> bytes:
    asked = select(_r.certificate_der).where(_r.certificate_sha256 == sha256)
    der = connection.execute(asked).scalar_one_or_none()
    if not isinstance(der, bytes) or hashlib.sha256(der).digest() != sha256:
        raise compared.missing_certificate(sha256)
    return der


def find_records(
    connection: Connection, wanted: RecordFilter, *, after_record_id: int, page_size: int
) -> RecordPage:
    """`Audit.find_records`."""
    after = min(after_record_id, _MAX_ID)
    asked = select(*RECORD).where(_r.id > after).order_by(_r.id).limit(page_size + 1)
    if wanted.state is not None:
        asked = asked.where(_in_state(wanted.state))
    for column, value in (
        (_r.work_order, wanted.work_order),
        (_r.chip_id, wanted.chip_id),
        (_r.serial_number, wanted.serial_number),
    ):
        if value is not None:
            asked = asked.where(column == value)
    found: list[Record] = []
    room = _PAGE_BYTES
    with connection.execute(asked) as rows:
        for row in rows:
            if len(found) == page_size or room < 0:
                return RecordPage(tuple(found), more=True)
            record = record_of(row)
            found.append(record)
            room -= len(record.csr_der) + len(record.evidence) + len(record.claims) + len(record.settings)
            room -= len(record.attester) + sum(map(len, (*record.measured, *record.measured.values())))
    return RecordPage(tuple(found), more=False)


def record_by_serial(connection: Connection, serial_number: str) -> Record | None:
    """`Audit.record_by_serial`."""
    asked = select(*RECORD).where(_r.serial_number == serial_number, _r.superseded == false())
    row = connection.execute(asked).one_or_none()
    return None if row is None else record_of(row)


def record_by_certificate(connection: Connection, certificate_sha256: bytes) -> Record | None:
    """`Audit.record_by_certificate`."""
    row = connection.execute(select(*RECORD).where(_r.certificate_sha256 == certificate_sha256)).one_or_none()
    return None if row is None else record_of(row)


def read_entries(connection: Connection, start: int, end: int) -> Sequence[bytes]:
    """The data of entries start…end."""
    index = entries.c.entry_index
    asked = select(entries.c.data).where(index >= start, index < end).order_by(index)
    return connection.execute(asked).scalars().all()
