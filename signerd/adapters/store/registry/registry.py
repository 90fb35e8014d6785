"""The writes of administration: peers, products, work orders, chips, numbers of CRLs.

Each function is one unit of work of the writer, with its ledger entry: undone whole if it raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, false, insert, null, select, update

from signerd.adapters.store.boards.open_intents import enter_open_intents
from signerd.adapters.store.boards.revoking import revoke
from signerd.adapters.store.registry.approving import append_approved
from signerd.adapters.store.registry.existing import (
    demand_new_key,
    demand_new_order,
    demand_new_peer,
    demand_new_revision,
    no_certificate,
    no_order,
    no_peer,
)
from signerd.adapters.store.registry.renewals import approve
from signerd.adapters.store.registry.spellings import demand_one_spelling
from signerd.adapters.store.state import compared
from signerd.adapters.store.tables.rows import (
    PEER,
    RECORD,
    record_of,
    row_of_order,
    seconds,
)
from signerd.adapters.store.tables.schema import (
    CLOCK_ACCEPTED,
    CRL_NUMBER,
    KEYS_COMMITTED,
    chips,
    counters,
    crl_next_update_of,
    order_chips,
    orders,
    peers,
    products,
    records,
)
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval, Preparing
from signerd.core.entry import (
    AuditorAdded,
    AuditorRenewed,
    AuditorRevoked,
    ChipsImported,
    ChipsPersonalized,
    ClockAccepted,
    CrlIssued,
    EntryError,
    KeysCommitted,
    OrderClosed,
    OrderOpened,
    ProductAdded,
    ShareGiven,
    StationAdded,
    StationRenewed,
    StationRevoked,
    digest_chips,
)
from signerd.core.names import PeerName, Place, Role
from signerd.core.order import Share, WorkOrder
from signerd.core.serial_number import Pattern, overlap, parse_pattern
from signerd.core.state.values import Terms
from signerd.errors import Code, Refused
from signerd.ports import PeerRecord

_IN_CHUNK = 500  # values in one IN (…): well below every database's bound on parameters

# Its newest key: older ones go on beside it until their certificates end.
_VALID_PEER = select(*PEER).where(
    peers.c.uri == bindparam("peer"), peers.c.revoked_at.is_(null()), peers.c.renewed_at.is_(null())
)
_NEWEST_KEY = update(peers).where(
    peers.c.uri == bindparam("peer"), peers.c.revoked_at.is_(null()), peers.c.renewed_at.is_(null())
)
_REVOKE_PEER = (
    update(peers)
    .where(peers.c.uri == bindparam("peer"), peers.c.revoked_at.is_(null()))
    .values(revoked_at=bindparam("at"))
)
_CLOSE = (
    update(orders)
    .where(orders.c.work_order == bindparam("order"), orders.c.closed_at.is_(null()))
    .values(closed_at=bindparam("at"))
)


def add_peer(
    tx: Transaction,
    name: PeerName,
    spki_sha256: bytes,
    now: datetime,
    by: str | None,
    not_after: datetime | None,
    ca_sha256: bytes | None,
) -> tuple[PeerRecord, int]:
    """`Administration.add_peer`."""
    tx.registry_changed = True
    demand_new_peer(tx.connection, name, spki_sha256)
    tx.connection.execute(insert(peers), _peer_row(name, spki_sha256, now, not_after, ca_sha256))
    entry = StationAdded if name.role is Role.STATION else AuditorAdded
    index = tx.append(
        entry(
            time=now,
            by=by,
            peer=name.uri,
            spki_sha256=spki_sha256,
            not_after=not_after,
            ca_sha256=ca_sha256,
        )
    )
    return PeerRecord(name, spki_sha256, now.replace(microsecond=0), None, not_after, ca_sha256), index


def renew_peer(
    tx: Transaction,
    name: PeerName,
    spki_sha256: bytes,
    now: datetime,
    by: str | None,
    not_after: datetime,
    certificate: bytes | None,
) -> tuple[PeerRecord, int]:
    """`Administration.renew_peer`. One transaction: after a crash the peer has the old end and the old key
    alone, and there is no entry; or all of the new."""
    tx.registry_changed = True
    peer = _valid_peer(tx, name.uri)
    if spki_sha256 == peer.spki_sha256:
        tx.connection.execute(_NEWEST_KEY.values(not_after=seconds(not_after)), {"peer": name.uri})
        renewed = replace(peer, not_after=not_after)
    else:
        demand_new_key(tx.connection, name, spki_sha256)
        tx.connection.execute(_NEWEST_KEY.values(renewed_at=seconds(now)), {"peer": name.uri})
        newer = _peer_row(name, spki_sha256, now, not_after) | {"automatic": peer.automatic}
        tx.connection.execute(insert(peers), newer)
        renewed = PeerRecord(
            name, spki_sha256, now.replace(microsecond=0), None, not_after, None, peer.automatic
        )
    entry = StationRenewed if name.role is Role.STATION else AuditorRenewed
    if certificate is not None:
        approve(tx, spki_sha256, certificate)
    index = tx.append(entry(time=now, peer=name.uri, spki_sha256=spki_sha256, not_after=not_after, by=by))
    return renewed, index


def _valid_peer(tx: Transaction, uri: str) -> PeerRecord:
    """The peer, by its newest key. Raises Refused `not_found`; Fault: its row is not what the ledger says."""
    said = tx.state.peer_named(uri)
    row = tx.connection.execute(_VALID_PEER, {"peer": uri}).one_or_none()
    valid = None if said is None or not said.newest else said
    found = compared.peer(valid, row, uri)
    if found is None:
        raise no_peer(tx.connection, uri)
    return found


def _peer_row(
    name: PeerName,
    spki_sha256: bytes,
    now: datetime,
    not_after: datetime | None,
    ca_sha256: bytes | None = None,
) -> dict[str, object]:
    return {
        "uri": name.uri,
        "role": name.role.value,
        "spki_sha256": spki_sha256,
        "added_at": seconds(now),
        "not_after": None if not_after is None else seconds(not_after),
        "ca_sha256": ca_sha256,  # of one that is renewed: once it calls with the new key
    }


def revoke_peer(tx: Transaction, uri: str, now: datetime, by: str | None) -> tuple[PeerRecord, int]:
    """`Administration.revoke_peer`."""
    tx.registry_changed = True
    peer = _valid_peer(tx, uri)
    tx.connection.execute(_REVOKE_PEER, {"peer": uri, "at": seconds(now)})
    entry = StationRevoked if peer.name.role is Role.STATION else AuditorRevoked
    index = tx.append(entry(time=now, peer=uri, by=by))
    return replace(peer, revoked_at=now.replace(microsecond=0)), index


def add_product(
    tx: Transaction, name: str, toml: str, now: datetime, by: str | None, approval: Approval
) -> int:
    """`Administration.add_product`."""
    digest = hashlib.sha256(toml.encode()).digest()
    demand_new_revision(tx.connection, name, digest)
    row = {"name": name, "sha256": digest, "toml": toml, "added_at": seconds(now)}
    tx.connection.execute(insert(products), row)
    entry = ProductAdded(time=now, product=name, product_sha256=digest, by=by)
    return append_approved(tx, entry, approval)


def open_order(
    tx: Transaction, order: WorkOrder, now: datetime, by: str | None, approval: Approval, *, rehearsed: bool
) -> int:
    """`Administration.open_order`."""
    _check_terms(tx, order)
    try:
        index = append_approved(tx, _opened(order, now, by, rehearsed=rehearsed), approval)
    except EntryError as error:  # a number or a list of stations beyond all bounds
        raise Refused(Code.INVALID, str(error)) from error
    tx.connection.execute(insert(orders), row_of_order(order, index))
    return index


def _opened(order: WorkOrder, now: datetime, by: str | None, *, rehearsed: bool) -> OrderOpened:
    return OrderOpened(
        time=now,
        by=by,
        work_order=order.work_order,
        product=order.product,
        product_sha256=order.product_sha256,
        quantity=order.quantity,
        not_before=order.not_before,
        not_after=order.not_after,
        stations=order.stations,
        level=order.level.label,
        minimum_firmware=order.minimum_firmware,
        serial_pattern=order.serial_pattern,
        serial_start=order.serial_start,
        reissue=order.reissue.value,
        settings_sha256=hashlib.sha256(order.settings).digest(),
        bundle_sha256=None if order.bundle is None else order.bundle.sha256,
        firmware=None if order.bundle is None else order.bundle.firmware or None,
        rehearsed=rehearsed,
        shares=order.shares,
    )


def _check_terms(tx: Transaction, order: WorkOrder) -> None:
    revision = tx.state.revisions.get(order.product_sha256)
    if revision is None or revision.product != order.product:
        raise Refused(Code.INVALID, f"product {order.product} has no such revision")
    for station in order.stations:
        peer = tx.state.peer_named(station)
        if peer is None or not peer.newest or peer.name.role is not Role.STATION:
            raise Refused(Code.INVALID, f"no station {station} is registered: `signerd station add`")
    demand_new_order(tx.connection, order.work_order)
    ours = _serials(order)
    for other in tx.state.orders.values():
        if overlap(*ours, *_serials(other)):
            raise Refused(
                Code.INVALID,
                f"its serial numbers overlap those of work order {other.work_order}:"
                " take another serial_pattern or serial_start",
            )


def _serials(order: WorkOrder | Terms) -> tuple[Pattern, range]:
    try:
        pattern = parse_pattern(order.serial_pattern)
    except ValueError as error:
        raise Refused(Code.INVALID, str(error)) from error
    return pattern, range(order.serial_start, order.serial_start + order.quantity)


def close_order(tx: Transaction, work_order: str, now: datetime, by: str | None) -> int:
    """`Administration.close_order`."""
    said = _open_order(tx, work_order)
    if tx.connection.execute(_CLOSE, {"order": work_order, "at": seconds(now)}).rowcount != 1:
        raise compared.differs("orders", work_order, said.index, "it is closed, or there is no row")
    return tx.append(OrderClosed(time=now, work_order=work_order, by=by))


def give_share(tx: Transaction, share: Share, now: datetime, *, by: str | None, approval: Approval) -> int:
    """`Administration.give_share`."""
    quantity = _open_order(tx, share.work_order).quantity
    if share.places > quantity:
        raise Refused(Code.INVALID, f"work order {share.work_order} has only {quantity} places")
    entry = ShareGiven(
        time=now,
        by=by,
        work_order=share.work_order,
        giver=share.giver,
        taker=share.taker,
        places=share.places,
    )
    return append_approved(tx, entry, approval)


def _open_order(tx: Transaction, work_order: str) -> Terms:
    said = tx.state.orders.get(work_order)
    if said is None:
        raise no_order(work_order)
    if said.closed is not None:
        raise Refused(Code.INVALID, f"work order {work_order} is closed")
    return said


def import_chips(
    tx: Transaction, work_order: str, chip_ids: Sequence[str], now: datetime, by: str | None
) -> tuple[int, int]:
    """`Administration.import_chips`."""
    _open_order(tx, work_order)
    demand_one_spelling(tx.connection, chip_ids)
    listed: set[str] = set()
    for chunk in _chunks(chip_ids):
        asked = select(order_chips.c.chip_id).where(
            order_chips.c.work_order == work_order, order_chips.c.chip_id.in_(chunk)
        )
        listed.update(tx.connection.execute(asked).scalars())
    added = sorted(set(chip_ids) - listed)
    index = tx.append(
        ChipsImported(
            time=now, work_order=work_order, count=len(added), chips_sha256=digest_chips(added), by=by
        )
    )
    if added:
        common = {"work_order": work_order, "entry": index}
        tx.connection.execute(insert(order_chips), [{"chip_id": chip_id, **common} for chip_id in added])
    return len(added), index


def personalize_chips(
    tx: Transaction,
    chip_ids: Sequence[str],
    *,
    locked: bool,
    site: str,
    key: str,
    by: str,
    now: datetime,
    approval: Approval,
) -> tuple[int, int]:
    """`Administration.personalize_chips`."""
    demand_one_spelling(tx.connection, chip_ids)
    known: set[str] = set()
    for chunk in _chunks(chip_ids):
        asked = select(chips.c.chip_id, chips.c.locked, chips.c.key).where(chips.c.chip_id.in_(chunk))
        for row in tx.connection.execute(asked):
            if row.locked is not locked:
                state = "locked: give --locked" if row.locked else "not locked, for good: leave --locked out"
                raise Refused(Code.INVALID, f"chip {row.chip_id} is registered as {state}")
            if row.key != key:
                raise Refused(
                    Code.INVALID, f"chip {row.chip_id} keeps the key that it has: give --key {row.key}"
                )
            known.add(row.chip_id)
    added = sorted(set(chip_ids) - known)
    entry = ChipsPersonalized(
        time=now,
        count=len(added),
        again=len(known),
        chips_sha256=digest_chips(added),
        locked=locked,
        site=site,
        key=key,
        by=by,
    )
    index = append_approved(tx, entry, approval)
    if added:
        common = {"locked": locked, "site": site, "key": key, "by": by, "personalized_at": seconds(now)}
        rows = [{"chip_id": chip_id, "entry": index, **common} for chip_id in added]
        tx.connection.execute(insert(chips), rows)
    return len(added), index


def _chunks(chip_ids: Sequence[str]) -> list[Sequence[str]]:
    return [chip_ids[start : start + _IN_CHUNK] for start in range(0, len(chip_ids), _IN_CHUNK)]


def revoke_certificate(
    tx: Transaction,
    *,
    serial_number: str | None,
    certificate_sha256: bytes | None,
    reason: str,
    now: datetime,
    by: str | None,
    approval: Approval,
) -> int:
    """`Administration.revoke`."""
    if certificate_sha256 is not None:
        asked = select(*RECORD).where(records.c.certificate_sha256 == certificate_sha256)
    else:
        asked = select(*RECORD).where(
            records.c.serial_number == serial_number, records.c.superseded == false()
        )
    row = tx.connection.execute(asked).one_or_none()
    if row is None:
        raise no_certificate(serial_number, certificate_sha256)
    return revoke(tx, record_of(row), reason, now, by, approval)


def allot_crl_number(tx: Transaction) -> int:
    """`Administration.allot_crl_number`. A crash after the commit leaves a gap, which RFC 5280 allows."""
    step = update(counters).where(counters.c.name == CRL_NUMBER).values(value=counters.c.value + 1)
    number = tx.connection.execute(step.returning(counters.c.value)).scalar_one_or_none()
    if number is None:
        number = 1
        tx.connection.execute(insert(counters), {"name": CRL_NUMBER, "value": number})
    return int(number)


def record_crl(tx: Transaction, entry: CrlIssued, issuer: str) -> int:
    """`Administration.record_crl`. The end of an issuer's newest CRL is kept beside: nobody reads the log for
    it."""
    name, value = crl_next_update_of(issuer), seconds(entry.next_update)
    kept = update(counters).where(counters.c.name == name).values(value=value)
    if tx.connection.execute(kept.returning(counters.c.value)).scalar_one_or_none() is None:
        tx.connection.execute(insert(counters), {"name": name, "value": value})
    return tx.append(entry)


def commit_recipients(tx: Transaction, entry: KeysCommitted, approval: Approval) -> int:
    """`Administration.commit_recipients`. A list that the ledger names was approved, and asks nobody. Where
    keys are does not change with who opens them: that is as the entry before says."""
    last = tx.state.keys_committed
    if last is not None:
        entry = replace(
            entry,
            checkpoint=last.checkpoint,
            chip_master=last.chip_master,
            chip_master_commitment=last.chip_master_commitment,
        )
    sealed = Place.SEALED in (entry.checkpoint, entry.chip_master)
    if not sealed and not tx.state.sealed_keys:
        raise Refused(Code.INVALID, "nothing is sealed: each key is in the token")
    if last is not None and last.recipients == entry.recipients:
        if isinstance(approval, Preparing):
            raise Refused(
                Code.ALREADY_EXISTS, f"these recipients are in the ledger already: entry {last.index}"
            )
        return last.index
    index = append_approved(tx, entry, approval)
    _keep(tx, KEYS_COMMITTED, index)
    return index


def _keep(tx: Transaction, name: str, value: int) -> None:
    """A counter's newest value."""
    kept = update(counters).where(counters.c.name == name).values(value=value)
    if tx.connection.execute(kept.returning(counters.c.value)).scalar_one_or_none() is None:
        tx.connection.execute(insert(counters), {"name": name, "value": value})


def accept_clock(tx: Transaction, *, by: str, before: datetime, now: datetime) -> int:
    """`Administration.accept_clock`, and the intents that are open: the next start is not to take the times
    that were theirs for this clock's."""
    index = tx.append(ClockAccepted(time=now, by=by, clock_from=before, clock_to=now))
    _keep(tx, CLOCK_ACCEPTED, index)
    enter_open_intents(tx, now)
    return index
