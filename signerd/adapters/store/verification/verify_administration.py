"""The tables of what administrators did, beside the log, for `signerd database verify`.

The state that follows from the log decides (`core/state/administration.py`): signerd does not believe these
rows. Each is compared all the same, and each member of the state has its row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from signerd.adapters.store.log.checkpoint_keys import read_log_keys
from signerd.adapters.store.registry.issuers import issuer_rows
from signerd.adapters.store.state import compared
from signerd.adapters.store.state.proven_lists import compare_lists
from signerd.adapters.store.tables.rows import ORDER, PEER, seconds
from signerd.adapters.store.tables.schema import (
    BACKUP_MADE,
    BACKUP_SIZE,
    CLOCK_ACCEPTED,
    CRL_NUMBER,
    KEYS_COMMITTED,
    UPGRADED_FROM,
    administrator_sets,
    approvals,
    checkpoint_keys,
    chips,
    counters,
    head,
    identities,
    issuer_of_next_update,
    issuers,
    operations_cas,
    orders,
    peers,
    products,
    renewals,
)
from signerd.adapters.store.verification.findings import Found, Remedy
from signerd.adapters.store.verification.verify_log import ReadLog
from signerd.core.approval.administrators import read_members
from signerd.core.approval.errors import ApprovalError
from signerd.errors import ConfigError

EntryOf = Callable[[int], bytes]

_NOTES = (UPGRADED_FROM, BACKUP_MADE, BACKUP_SIZE)  # of what happened since the last start


def compare_administration(connection: Connection, log: ReadLog, entry_of: EntryOf, found: Found) -> None:
    """All of it in one snapshot, up to whose head `log` was read."""
    for name, compare in _TABLES.items():
        with found.comparing(name, "its rows"):
            compare(connection, log, entry_of, found)


def compare_chip_lists(
    connection: Connection, log: ReadLog, entry_of: EntryOf, found: Found
) -> Iterator[None]:
    """Chips that came by lists, a list at a time: `chips`, `order_chips`, `identities`."""
    for wrong in compare_lists(connection, log.state):
        found.counts["lists of chips"] += 1
        if wrong is not None:
            remedy = Remedy.RESTORE if wrong.index is not None else Remedy.REGISTER
            found.add(wrong.table, wrong.key, wrong.what, wrong.index, remedy=remedy)
        yield
    for table, moment in ((chips, chips.c.personalized_at), (identities, identities.c.imported_at)):
        asked = select(table.c.entry, func.min(moment).label("first"), func.max(moment).label("last"))
        for row in connection.execute(asked.where(table.c.entry.is_not(None)).group_by(table.c.entry)):
            if isinstance(row.entry, int) and 0 <= row.entry < log.size:
                at = _time(entry_of, row.entry)
                if (row.first, row.last) != (at, at):
                    found.add(table.name, f"rows of entry {row.entry}", "their time is another", row.entry)
            yield


def _head(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    epoch = connection.execute(select(head.c.epoch)).scalar_one()
    if epoch != log.state.epoch:
        what = f"epoch is {epoch}, and {log.state.epoch} entries changed the administration"
        found.add(head.name, "the head", what)


def _peers(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    rows = {
        bytes(row.peer_spki_sha256): row
        for row in connection.execute(select(*PEER, peers.c.role, peers.c.renewed_at))
    }
    for key in {**log.state.peers, **rows}:
        said, row = log.state.peers.get(key), rows.get(key)
        found.counts[peers.name] += 1
        name = said.name.uri if said is not None else f"key {key.hex()}"
        with found.comparing(peers.name, name):
            compared.peer(said, row, name)
            if said is None or row is None:
                continue
            if row.role != said.name.role.value:
                raise compared.differs(peers.name, name, said.index, "role is another")
            if (row.renewed_at is not None) is not said.renewed:
                raise compared.differs(peers.name, name, said.index, "whether another key took its place")


def _products(connection: Connection, log: ReadLog, entry_of: EntryOf, found: Found) -> None:
    missing, last = dict(log.state.revisions), -1
    asked = select(products.c.sha256, products.c.name, products.c.toml, products.c.added_at)
    for row in connection.execute(asked.order_by(products.c.id)):
        said, key = missing.pop(row.sha256, None), f"{row.name} {_hex(row.sha256)}"
        found.counts[products.name] += 1
        if said is None:
            found.add(products.name, key, "no entry of the ledger added it")
            continue
        with found.comparing(products.name, key):
            compared.product_text(said.sha256, row.toml)
            if row.name != said.product:
                raise compared.differs(products.name, key, said.index, "its name is another")
            if row.added_at != _time(entry_of, said.index):
                raise compared.differs(products.name, key, said.index, "added_at is another")
            if said.index < last:
                raise compared.differs(products.name, key, said.index, "it stands behind a later revision")
        last = said.index
    for said in missing.values():
        found.add(products.name, f"{said.product} {said.sha256.hex()}", "there is no row", said.index)


def _orders(connection: Connection, log: ReadLog, entry_of: EntryOf, found: Found) -> None:
    missing = dict(log.state.orders)
    for row in connection.execute(select(*ORDER, orders.c.opened_index, orders.c.closed_at)):
        said, key = missing.pop(row.work_order, None), str(row.work_order)
        found.counts[orders.name] += 1
        if said is None:
            found.add(orders.name, key, "no entry of the ledger opened it")
            continue
        with found.comparing(orders.name, key):
            compared.order(said, row)
            if row.opened_index != said.index:
                raise compared.differs(orders.name, key, said.index, "opened_index is another")
            closed = None if said.closed is None else _time(entry_of, said.closed)
            if row.closed_at != closed:
                what = "whether it is closed, or when"
                raise compared.differs(orders.name, key, said.closed or said.index, what)
    for said in missing.values():
        found.add(orders.name, said.work_order, "there is no row", said.index)


def _issuers(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    found.counts[issuers.name] += len(log.state.issuers)
    compared.issuers(log.state.issuers, issuer_rows(connection))


def _log_keys(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    keys = log.state.log_keys
    if keys is None:
        return
    found.counts[checkpoint_keys.name] += len(keys.keys)
    try:
        right = read_log_keys(connection, keys.keys[0].verifier) == keys
    except ConfigError as error:
        found.add(checkpoint_keys.name, "all", str(error))
        return
    if not right:
        found.add(checkpoint_keys.name, "all", "they are not those of the ledger")


def _operations_cas(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    rows = {bytes(row["sha256"]): row for row in connection.execute(select(operations_cas)).mappings()}
    for sha256 in {**log.operations_cas, **rows}:
        found.counts[operations_cas.name] += 1
        row = {name: value for name, value in rows.get(sha256, {}).items() if name != "sha256"}
        said = log.operations_cas.get(sha256, {})
        if {name: index for name, index in row.items() if index is not None} != said:
            what = f"its steps are not those of entries {sorted(said.values())}"
            found.add(operations_cas.name, sha256.hex(), what)


def _administrators(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    rows = {row.entry_index: row for row in connection.execute(select(administrator_sets))}
    for index in {**log.administrators, **rows}:
        found.counts[administrator_sets.name] += 1
        said, row = log.administrators.get(index), rows.get(index)
        if said is None or row is None:
            what = "no entry set them" if said is None else "there is no row"
            found.add(administrator_sets.name, f"set of entry {index}", what, index)
            continue
        try:
            given = read_members(row.threshold, json.loads(row.administrators))
            right = given == read_members(said["threshold"], said["administrators"])
        except (ApprovalError, ValueError, TypeError):
            right = False
        if not right:
            found.add(administrator_sets.name, f"set of entry {index}", "they are others", index)


def _approvals(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    asked = select(approvals.c.request, approvals.c.part, approvals.c.entry_index)
    rows = {(bytes(row.request), row.part): row.entry_index for row in connection.execute(asked)}
    for use in {**log.state.approvals, **rows}:
        found.counts[approvals.name] += 1
        said = log.state.approvals.get(use)
        if rows.get(use) != said:
            what = "no entry used it" if said is None else "there is no row, or one of another entry"
            found.add(approvals.name, f"part {use[1]} of request {use[0].hex()}", what, said)


def _counters(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    state = log.state
    keys = state.keys_committed
    wanted = {
        CLOCK_ACCEPTED: state.clock_accepted or None,
        KEYS_COMMITTED: None if keys is None or keys.index == 1 else keys.index,
    }
    rows = {row.name: row.value for row in connection.execute(select(counters))}
    for name, value in wanted.items():
        if rows.get(name) != value:
            found.add(counters.name, name, f"it is {rows.get(name)}, and the ledger says {value}", value)
    if rows.get(CRL_NUMBER, 0) < log.crl_number:
        what = f"it is {rows.get(CRL_NUMBER, 0)}, and a CRL of number {log.crl_number} was issued"
        found.add(counters.name, CRL_NUMBER, what)
    for name in rows:
        found.counts[counters.name] += 1
        issuer = issuer_of_next_update(name)
        if issuer is not None and all(each.name != issuer for each in state.issuers):
            found.add(counters.name, name, "there is no such issuer")
        elif issuer is not None or name in _NOTES:
            found.unproven["ends of CRLs, and notes for the next start (counters)"] += 1
        elif name not in {*wanted, CRL_NUMBER}:
            found.add(counters.name, name, "signerd keeps no such counter")


def _renewals(connection: Connection, log: ReadLog, _entry_of: EntryOf, found: Found) -> None:
    for row in connection.execute(select(renewals.c.spki_sha256, renewals.c.spki)):
        right = isinstance(row.spki, bytes) and hashlib.sha256(row.spki).digest() == row.spki_sha256
        if not right or row.spki_sha256 not in log.state.peers:
            found.add(renewals.name, _hex(row.spki_sha256), "it is of no key of a peer")
        else:
            found.unproven["renewals that peers asked for"] += 1


def _time(entry_of: EntryOf, index: int) -> int:
    said: Mapping[str, Any] = json.loads(entry_of(index))
    return seconds(datetime.fromisoformat(said["time"]))


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)[:80]


_TABLES: Mapping[str, Callable[[Connection, ReadLog, EntryOf, Found], None]] = {
    head.name: _head,
    peers.name: _peers,
    products.name: _products,
    orders.name: _orders,
    issuers.name: _issuers,
    checkpoint_keys.name: _log_keys,
    operations_cas.name: _operations_cas,
    administrator_sets.name: _administrators,
    approvals.name: _approvals,
    counters.name: _counters,
    renewals.name: _renewals,
}
