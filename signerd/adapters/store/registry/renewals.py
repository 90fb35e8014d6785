"""Renewals that peers ask for: what waits for an administrator, and what was made and may be fetched again.

One row a key, so that nobody makes it grow by asking: a peer has one newest key, and only that is renewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, null, select, update

from signerd.adapters.store.registry.existing import no_peer
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.rows import PEER, moment_of, peer_of, seconds
from signerd.adapters.store.tables.schema import head, peers, renewals
from signerd.adapters.store.writer import Transaction
from signerd.core.entry import AuditorRenewed, RenewalChosen, StationRenewed
from signerd.core.names import PeerName, Role

_NEWEST = (peers.c.revoked_at.is_(null()), peers.c.renewed_at.is_(null()))
_OF_KEY = renewals.c.spki_sha256 == bindparam("key")


@dataclass(frozen=True, slots=True)
class PendingRenewal:
    """A request that waits for an administrator."""

    name: PeerName
    spki: bytes
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """Who asks: the name and the key (SubjectPublicKeyInfo, DER, and its SHA-256) of a registered peer."""

    name: PeerName
    spki_sha256: bytes
    spki: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """How a request stands. `newest` False: another key took this one's place, and it is not renewed."""

    newest: bool
    automatic: bool
    certificate: bytes | None  # of the last renewal that was asked for


def asked(connection: Connection, states: States, request: RenewalRequest) -> Asked:
    """`Administration.renewal_of`."""
    peer = states.of(connection.execute(select(head.c.epoch)).scalar_one()).peers.get(request.spki_sha256)
    newest = peer is not None and peer.newest
    made = select(renewals.c.certificate).where(_OF_KEY)
    certificate = connection.execute(made, {"key": request.spki_sha256}).scalar_one_or_none()
    return Asked(newest, newest and peer is not None and peer.automatic, certificate)


def ask(tx: Transaction, request: RenewalRequest, now: datetime) -> bool:
    """`Administration.ask_renewal`. Whether it waits since now. A crash leaves the request or none: the peer
    asks again."""
    known = select(renewals.c.certificate).where(_OF_KEY)
    row = tx.connection.execute(known, {"key": request.spki_sha256}).one_or_none()
    if row is not None and row.certificate is None:
        return False
    tx.connection.execute(delete(renewals).where(_OF_KEY), {"key": request.spki_sha256})
    values = {"spki_sha256": request.spki_sha256, "asked_at": seconds(now), "spki": request.spki}
    tx.connection.execute(insert(renewals), values)
    return True


def renew(
    tx: Transaction, request: RenewalRequest, certificate: bytes, not_after: datetime, now: datetime
) -> int:
    """`Administration.renew_by_itself`. One transaction: a crash before leaves a certificate that nobody was
    given; after it the peer fetches this one."""
    own = peers.c.spki_sha256 == request.spki_sha256
    said = tx.state.peers.get(request.spki_sha256)
    if said is None or not said.newest:  # revoked, or replaced, since it was let in
        raise no_peer(tx.connection, request.name.uri)
    changed = tx.connection.execute(update(peers).where(own, *_NEWEST).values(not_after=seconds(not_after)))
    if changed.rowcount != 1:
        raise no_peer(tx.connection, request.name.uri)
    tx.registry_changed = True
    tx.connection.execute(delete(renewals).where(_OF_KEY), {"key": request.spki_sha256})
    values = {
        "spki_sha256": request.spki_sha256,
        "asked_at": seconds(now),
        "spki": request.spki,
        "certificate": certificate,
    }
    tx.connection.execute(insert(renewals), values)
    entry = StationRenewed if request.name.role is Role.STATION else AuditorRenewed
    return tx.append(
        entry(
            time=now,
            peer=request.name.uri,
            spki_sha256=request.spki_sha256,
            not_after=not_after,
            by=None,
        )
    )


def approve(tx: Transaction, spki_sha256: bytes, certificate: bytes) -> None:
    """The administrator's certificate, for the peer to fetch; nothing where it did not ask."""
    made = update(renewals).where(_OF_KEY).values(certificate=bindparam("made"))
    tx.connection.execute(made, {"key": spki_sha256, "made": certificate})


def choose(tx: Transaction, uri: str, now: datetime, *, automatic: bool, by: str | None) -> int:
    """`Administration.choose_renewal`."""
    chosen = update(peers).where(peers.c.uri == uri, *_NEWEST).values(automatic=automatic)
    if tx.connection.execute(chosen).rowcount != 1:
        raise no_peer(tx.connection, uri)
    tx.registry_changed = True
    return tx.append(RenewalChosen(time=now, by=by, peer=uri, automatic=automatic))


def pending(connection: Connection) -> list[PendingRenewal]:
    """`Administration.pending_renewals`."""
    waiting = (
        select(*PEER, renewals.c.spki, renewals.c.asked_at)
        .join(renewals, renewals.c.spki_sha256 == peers.c.spki_sha256)
        .where(renewals.c.certificate.is_(null()), *_NEWEST)
        .order_by(renewals.c.asked_at, peers.c.uri)
    )
    return [
        PendingRenewal(peer_of(row).name, row.spki, moment_of(row.asked_at))
        for row in connection.execute(waiting)
    ]
