"""What an administrator is told of an object that exists already, or that is missing: which, and what to do.

The look comes before the write, in the same unit of work, for the sake of the text alone. What holds is the
constraint (`constraints.py`).
"""

from __future__ import annotations

from sqlalchemy import Connection, null, select

from signerd.adapters.store.tables.rows import PEER, moment_of, peer_of
from signerd.adapters.store.tables.schema import orders, peers, products
from signerd.core.names import PeerName, Role, parse_peer_uri
from signerd.errors import Code, Refused
from signerd.ports import PeerRecord


def no_order(work_order: str) -> Refused:
    """The refusal of a work order that there is not."""
    return Refused(Code.NOT_FOUND, f"no work order {work_order!r}: `signerd order list` lists them")


def order_exists(work_order: str, *, closed: bool, opened_index: int) -> Refused:
    """The refusal of a second order of a name, closed ones too."""
    state = "closed" if closed else "open"
    return Refused(
        Code.ALREADY_EXISTS,
        f"work order {work_order} exists, and is {state} (ledger entry {opened_index}): `signerd order show"
        f" {work_order}`\nits terms do not change: for another order, give this one another work_order",
    )


def demand_new_order(connection: Connection, work_order: str) -> None:
    """Raises: Refused: `already_exists`."""
    asked = select(orders.c.closed_at, orders.c.opened_index).where(orders.c.work_order == work_order)
    if (row := connection.execute(asked).one_or_none()) is not None:
        raise order_exists(work_order, closed=row.closed_at is not None, opened_index=row.opened_index)


def demand_new_peer(connection: Connection, name: PeerName, spki_sha256: bytes) -> None:
    """A key is never registered twice; a name has one valid key. Raises: Refused: `already_exists`."""
    demand_new_key(connection, name, spki_sha256)
    asked = select(*PEER).where(
        peers.c.uri == name.uri, peers.c.revoked_at.is_(null()), peers.c.renewed_at.is_(null())
    )
    if (row := connection.execute(asked).one_or_none()) is not None:
        raise Refused(
            Code.ALREADY_EXISTS,
            f"{name.uri} is registered with another key, since {peer_of(row).added_at:%Y-%m-%d}. The same"
            f" {name.role.value} with a newer key: `signerd {name.role.value} renew`. Another one: take"
            f" another name, or `signerd {name.role.value} revoke {name.uri}` first",
        )


def demand_new_key(connection: Connection, name: PeerName, spki_sha256: bytes) -> None:
    """A key is never registered twice, by whatever name. Raises: Refused: `already_exists`."""
    row = connection.execute(select(*PEER).where(peers.c.spki_sha256 == spki_sha256)).one_or_none()
    if row is not None:
        raise Refused(Code.ALREADY_EXISTS, _key_is_registered(peer_of(row), name))


def _key_is_registered(known: PeerRecord, name: PeerName) -> str:
    if known.revoked_at is not None:
        return (
            f"this key was {known.name.uri}'s, revoked on {known.revoked_at:%Y-%m-%d}, and does not come"
            f" back: make a new key where the {name.role.value} is (enroll)"
        )
    said = f"this key is registered as {known.name.uri}, since {known.added_at:%Y-%m-%d}"
    if known.name == name:
        role = name.role.value
        return f"{said}. If its certificate is lost or ends: `signerd {role} renew`"
    return f"{said}: make another key where the {name.role.value} is (enroll)"


def no_peer(connection: Connection, uri: str) -> Refused:
    """The refusal of a peer that there is not, or not any more."""
    asked = select(*PEER).where(peers.c.uri == uri).order_by(peers.c.id.desc()).limit(1)
    row = connection.execute(asked).one_or_none()
    if row is not None:
        return Refused(Code.NOT_FOUND, f"{uri} is revoked already, since {peer_of(row).revoked_at:%Y-%m-%d}")
    return Refused(Code.NOT_FOUND, f"no {_role(uri)} {uri!r} is registered: `signerd {_role(uri)} list`")


def _role(uri: str) -> str:
    try:
        return parse_peer_uri(uri).role.value
    except ValueError:  # no peer's name at all
        return Role.STATION.value


def demand_new_revision(connection: Connection, name: str, sha256: bytes) -> None:
    """Raises: Refused: `already_exists`: this very file was added before."""
    row = connection.execute(select(products.c.added_at).where(products.c.sha256 == sha256)).one_or_none()
    if row is None:
        return
    newest = select(products.c.sha256).where(products.c.name == name).order_by(products.c.id.desc()).limit(1)
    said = f"this file is a revision of product {name}, added on {moment_of(row.added_at):%Y-%m-%d}"
    if connection.execute(newest).scalar_one() == sha256:
        raise Refused(Code.ALREADY_EXISTS, f"{said}, and is the newest: there is nothing to do")
    raise Refused(
        Code.ALREADY_EXISTS,
        f"{said}, and a newer one is in force: `signerd product show {name}`\n"
        "to go back to this one, change anything in it, such as a comment, and add it",
    )


def no_certificate(serial_number: str | None, certificate_sha256: bytes | None) -> Refused:
    """The refusal of a certificate that there is not, named by one of the two."""
    if certificate_sha256 is not None:
        return Refused(Code.NOT_FOUND, f"no certificate has the SHA-256 {certificate_sha256.hex()}")
    return Refused(
        Code.NOT_FOUND,
        f"no board has the serial number {serial_number!r}: `birthmark-auditor list` lists them,"
        " and letter case counts",
    )
