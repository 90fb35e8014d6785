"""What a station's call needs to know, in one snapshot and mostly in one statement.

Guarantees that nothing of it, its time included, depends on what other work orders did: a chip is looked for
among the places of the order that was asked for, and nowhere else. A station that has shown no evidence yet
must not learn where else a chip was certified.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, bindparam, false, func, select

from signerd.adapters.store.boards.certified_chips import NAME
from signerd.adapters.store.state import compared
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import ORDER, PEER, RECORD, AnyRow, record_of
from signerd.adapters.store.tables.schema import (
    anchors,
    chips,
    grants,
    head,
    identities,
    order_chips,
    orders,
    peers,
    places,
    products,
    records,
)
from signerd.core.evidence.method import IdentityKey
from signerd.core.order import WorkOrder
from signerd.core.state.administration import State
from signerd.core.state.values import Terms
from signerd.ports import CallContext, Chip, Grant, PeerRecord, RecordState

_MAX_ORDERS = 1_024  # work orders kept in memory

# A revoked peer may have come back with another key, as a newer row.
_newest_peer = select(func.max(peers.c.id)).where(peers.c.uri == bindparam("peer")).scalar_subquery()
# The chip that has the name. -1 where none has it: places are looked at either way, in like time.
_chip = func.coalesce(
    select(anchors.c.chip)
    .where(anchors.c.kind == NAME, anchors.c.issuer == "", anchors.c.value == bindparam("chip"))
    .scalar_subquery(),
    -1,
)
_newest = records.alias("newest")  # of the chip, if it is of its place in this order
_CONTEXT = Prepared(
    select(
        head.c.epoch,
        *PEER,
        orders.c.places,
        orders.c.closed_at,
        chips.c.locked,
        chips.c.entry.label("personalized_entry"),
        order_chips.c.chip_id.label("listed"),
        order_chips.c.entry.label("listed_entry"),
        grants.c.record_id.label("grant_record_id"),
        grants.c.challenge.label("grant_challenge"),
        grants.c.station.label("grant_station"),
        grants.c.csr_sha256.label("grant_csr_sha256"),
        places.c.chip.label("place"),
        _newest.c.state.label("newest_state"),
        *RECORD,
    ).select_from(
        head.outerjoin(peers, peers.c.id == _newest_peer)
        .outerjoin(orders, orders.c.work_order == bindparam("order"))
        .outerjoin(chips, chips.c.chip_id == bindparam("chip"))
        .outerjoin(
            order_chips,
            and_(order_chips.c.work_order == bindparam("order"), order_chips.c.chip_id == bindparam("chip")),
        )
        .outerjoin(grants, grants.c.session_sha256 == bindparam("session"))
        .outerjoin(places, and_(places.c.work_order == bindparam("order"), places.c.chip == _chip))
        .outerjoin(
            _newest,
            and_(
                _newest.c.chip == places.c.chip,
                _newest.c.work_order == places.c.work_order,
                _newest.c.superseded == false(),
            ),
        )
        .outerjoin(records, records.c.id == grants.c.record_id)
    )
)
_TERMS = (
    select(*ORDER, products.c.toml)
    .join(products, products.c.sha256 == orders.c.product_sha256)
    .where(orders.c.work_order == bindparam("order"))
)
_IDENTITY = Prepared(
    select(
        head.c.epoch, identities.c.entry, identities.c.chip_id, identities.c.key_id, identities.c.spki
    ).select_from(
        head.outerjoin(
            identities,
            and_(
                identities.c.product == bindparam("product"),
                identities.c.method == bindparam("method"),
                identities.c.chip_id == bindparam("chip"),
            ),
        )
    )
)
_PEER_OF_KEY = Prepared(
    select(head.c.epoch, *PEER).select_from(head.outerjoin(peers, peers.c.spki_sha256 == bindparam("key")))
)


class OrderTerms:
    """Work orders as opened, with their product's text. Neither ever changes, so both are kept in memory,
    once they are known to be what the ledger says.

    Used where the store's short reads run, and nowhere else.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[WorkOrder, str]] = {}

    def of(self, connection: Connection, said: Terms) -> tuple[WorkOrder, str]:
        """A work order of the ledger, and its product's TOML. Raises Fault: a row differs."""
        known = self._known.get(said.work_order)
        if known is None:
            row = connection.execute(_TERMS, {"order": said.work_order}).one_or_none()
            order = compared.order(said, row)
            toml = compared.product_text(said.product_sha256, None if row is None else row.toml)
            if len(self._known) >= _MAX_ORDERS:
                self._known.clear()
            known = self._known[said.work_order] = (order, toml)
        return known


def call_context(
    connection: Connection,
    terms: OrderTerms,
    states: States,
    *,
    peer_uri: str,
    work_order: str,
    chip_id: str,
    session_sha256: bytes | None,
) -> CallContext:
    """`Store.call_context`. Raises Fault: a row is not what the ledger says."""
    row = _CONTEXT.row(
        connection,
        {"peer": peer_uri, "order": work_order, "chip": chip_id, "session": session_sha256},
    )
    state = states.of(row.epoch)
    said = state.orders.get(work_order)
    closed = compared.closed(said, row, work_order)
    order, product_toml = (None, None) if said is None else terms.of(connection, said)
    chip = None
    if row.locked is not None or row.listed is not None:
        chip = _chip_of(connection, states, state, row, work_order, chip_id)
    grant = granted = None
    if session_sha256 is not None and row.grant_record_id is not None:
        grant = Grant(
            session_sha256, row.grant_record_id, row.grant_challenge, row.grant_station, row.grant_csr_sha256
        )
        granted = compared.revoked_or_not(states.boards, record_of(row))
        compared.board(states.entry_of, granted)
    return CallContext(
        peer=compared.peer(state.peer_named(peer_uri), row, peer_uri),
        order=order,
        order_closed=closed,
        product_toml=product_toml,
        places_taken=row.places or 0,
        chip=chip,
        has_place=row.place is not None,
        revoked_here=row.newest_state == RecordState.REVOKED,
        grant=grant,
        granted=granted,
    )


def _chip_of(
    connection: Connection, states: States, state: State, row: AnyRow, work_order: str, chip_id: str
) -> Chip:
    """What lists say of it. Raises Fault: a list is not what the ledger says."""
    personalized, listed, locked = row.locked is not None, row.listed is not None, bool(row.locked)
    if personalized:
        states.lists.demand_personalized(connection, state, chip_id, row.personalized_entry, locked=locked)
    if listed:
        states.lists.demand_listed(connection, state, work_order, chip_id, row.listed_entry)
    return Chip(chip_id, personalized=personalized, locked=locked, listed=listed)


def peer_of_key(connection: Connection, states: States, spki_sha256: bytes) -> PeerRecord | None:
    """The peer that this key was registered for. Raises Fault: its row is not what the ledger says."""
    row = _PEER_OF_KEY.row(connection, {"key": spki_sha256})
    return compared.peer(states.of(row.epoch).peers.get(spki_sha256), row, spki_sha256.hex())


def identity(
    connection: Connection, states: States, *, product: str, method: str, chip_id: str
) -> IdentityKey | None:
    """`Store.identity`. Raises Fault: the list that has it is not what the ledger says."""
    row = _IDENTITY.row(connection, {"product": product, "method": method, "chip": chip_id})
    if row is None or row.key_id is None:
        return None
    state = states.of(row.epoch)
    states.lists.demand_imported(connection, state, (product, method), chip_id, row)
    return IdentityKey(key_id=row.key_id, spki=row.spki)
