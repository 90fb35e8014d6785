"""The tables of what administrators did, made from the log, for `signerd database rebuild`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from signerd.adapters.store.state import compared
from signerd.adapters.store.tables.rows import row_of_order, seconds
from signerd.adapters.store.tables.schema import (
    CLOCK_ACCEPTED,
    CRL_NUMBER,
    KEYS_COMMITTED,
    administrator_sets,
    approvals,
    checkpoint_keys,
    chips,
    counters,
    crl_next_update_of,
    identities,
    issuers,
    operations_cas,
    order_chips,
    orders,
    peers,
    products,
)
from signerd.adapters.store.verification.rebuild_parts import Parts
from signerd.adapters.store.verification.verify_log import ReadLog
from signerd.core.names import FIRST
from signerd.core.state.values import NamedList, Peer, Terms

Said = Callable[[int], Mapping[str, Any]]  # an entry by its index, as JSON has it
Missing = Callable[[str], None]  # is told what is in no database of before


def write_administration(
    connection: Connection, log: ReadLog, said: Said, parts: Parts, missing: Missing
) -> None:
    """All of it, in the caller's transaction. `log` was read to its end."""
    state = log.state
    for peer in state.peers.values():
        connection.execute(insert(peers), _peer(log, said, parts, peer))
    for revision in state.revisions.values():
        toml = parts.product(revision.sha256)
        if toml is None:
            missing(f"the text of product {revision.product}, revision {revision.sha256.hex()}")
            continue
        at = _time(said, revision.index)
        connection.execute(
            insert(products),
            {"sha256": revision.sha256, "name": revision.product, "toml": toml, "added_at": at},
        )
    for terms in state.orders.values():
        _order(connection, log, said, parts, missing, terms)
    for each in state.issuers:
        row: dict[str, Any] = {
            "id": each.issuer_id,
            "name": each.name,
            "ca": each.ca,
            "state": each.state.value,
        }
        digests = {"certificate_sha256": each.certificate_sha256, "root_sha256": each.root_sha256}
        connection.execute(insert(issuers), row | digests | {"added_index": each.added_index})
    for sha256, steps in log.operations_cas.items():
        connection.execute(insert(operations_cas), {"sha256": sha256, **steps})
    _log_keys(connection, log, said)
    for index, members in log.administrators.items():
        given = json.dumps(members["administrators"])
        connection.execute(
            insert(administrator_sets),
            {"entry_index": index, "threshold": members["threshold"], "administrators": given},
        )
    for (request, part), index in state.approvals.items():
        connection.execute(insert(approvals), {"request": request, "part": part, "entry_index": index})
    _counters(connection, log)


def _peer(log: ReadLog, said: Said, parts: Parts, peer: Peer) -> dict[str, Any]:
    """Where another key took its place, that one's entry says when."""
    later = [
        each.added_at
        for each in log.state.peers.values()
        if each.name == peer.name and each.index > peer.index
    ]
    entry = said(peer.index)
    end, ca = entry.get("not_after"), entry.get("ca_sha256")
    return {
        "uri": peer.name.uri,
        "role": peer.name.role.value,
        "spki_sha256": peer.spki_sha256,
        "added_at": seconds(peer.added_at),
        "revoked_at": None if peer.revoked_at is None else seconds(peer.revoked_at),
        "renewed_at": seconds(min(later)) if peer.renewed else None,
        "automatic": peer.automatic,
        "not_after": None if end is None else seconds(datetime.fromisoformat(end)),
        "ca_sha256": None if ca is None else bytes.fromhex(ca),
        **parts.peer(peer.spki_sha256),
    }


def _order(
    connection: Connection, log: ReadLog, said: Said, parts: Parts, missing: Missing, terms: Terms
) -> None:
    settings = parts.settings(terms.work_order, terms.settings_sha256)
    if settings is None:
        missing(f"the settings of work order {terms.work_order}")
        return
    row = row_of_order(compared.terms(terms, settings), terms.index)
    row["places"] = log.boards.highest.get(terms.work_order, 0)
    row["closed_at"] = None if terms.closed is None else _time(said, terms.closed)
    # A product that is missing was told of: the order's row would refer to nothing.
    if connection.execute(select(products.c.id).where(products.c.sha256 == terms.product_sha256)).first():
        connection.execute(insert(orders), row)


def _log_keys(connection: Connection, log: ReadLog, said: Said) -> None:
    keys = log.state.log_keys
    if keys is None:
        return
    for number, key in enumerate(keys.keys):
        row: dict[str, Any] = {"vkey": key.verifier.text(), "retired_index": key.retired}
        if number:
            row |= {"added_index": key.added, "activated_index": key.activated}
        elif key.retired is None:
            continue  # the first one has a row once it is retired
        connection.execute(insert(checkpoint_keys), row)
    for each in keys.successions:
        row = {"vkey": said(each.index)["vkey"], "added_index": each.index}
        connection.execute(insert(checkpoint_keys), row)


def _counters(connection: Connection, log: ReadLog) -> None:
    state = log.state
    committed = state.keys_committed
    values = {
        CRL_NUMBER: log.crl_number,
        CLOCK_ACCEPTED: state.clock_accepted,
        KEYS_COMMITTED: 0 if committed is None or committed.index == 1 else committed.index,
        # Of several issuers no entry says whose CRL it is: until each has a newer one, nothing reminds of it.
        crl_next_update_of(FIRST): log.crl_next_update if len(state.issuers) == 1 else 0,
    }
    for name, value in values.items():
        if value:
            connection.execute(insert(counters), {"name": name, "value": value})


def write_lists(connection: Connection, log: ReadLog, said: Said, parts: Parts, missing: Missing) -> None:
    """Chips that came by lists. Their orders are there."""
    state = log.state
    for table, lists in (
        (chips, state.personalized),
        (order_chips, state.lists),
        (identities, state.identities),
    ):
        for each in lists:
            rows = parts.listed(table.name, each) if each.count else []
            if rows is None:
                missing(f"the {each.count} chips of entry {each.index} ({table.name})")
            elif rows:
                common = _common(table.name, each, said)
                connection.execute(insert(table), [{**_own(row), **common} for row in rows])


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("chip_id", "key_id", "spki") if name in row}


def _common(table: str, each: NamedList, said: Said) -> dict[str, Any]:
    """What the entry says of all of them."""
    if table == order_chips.name:
        return {"entry": each.index, "work_order": each.of[0]}
    by, at = said(each.index).get("by"), _time(said, each.index)
    if table == identities.name:
        product, method = each.of
        return {"entry": each.index, "product": product, "method": method, "by": by, "imported_at": at}
    key, site, _ = each.of
    own = {"locked": each.locked, "site": site, "key": key, "by": by}
    return {"entry": each.index, "personalized_at": at, **own}


def _time(said: Said, index: int) -> int:
    return seconds(datetime.fromisoformat(said(index)["time"]))
