"""Rows beside what the log says of the same thing: the log decides, and a row that differs is never used.

What administrators entered is in memory, replayed from the log (`core/state/administration.py`). Rows have
what entries hold a digest of alone (a product's text, an order's settings), and what no entry says and
nothing depends on (a peer's end, the CA of its certificate).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

from signerd.adapters.store.tables.rows import AnyRow, order_of, peer_of
from signerd.core.anchors import entry_form
from signerd.core.entry import Issued, Stamped, serial_bytes
from signerd.core.issuers import IssuerRecord
from signerd.core.names import Level, Reissue
from signerd.core.order import FirmwareBundle, WorkOrder
from signerd.core.state.boards import Boards
from signerd.core.state.values import Peer, Terms
from signerd.errors import Fault
from signerd.ports import PeerRecord, Record, RecordState


class Differs(Fault):
    """A row that is not what the log says, in its parts."""

    def __init__(self, table: str, key: str, index: int | None, what: str) -> None:
        """`key`: which row, in words; `index`: of the entry that it does not agree with."""
        super().__init__(
            f"the database's table {table}, {key}: {what}; see docs/operations.md,"
            ' "The tables are not what the ledger says"'
        )
        self.table = table
        self.key = key
        self.index = index
        self.what = what


def differs(table: str, key: str, index: int | None, what: str) -> Differs:
    """For our log: which row, and which entry it does not agree with. The peer is told nothing of it."""
    entry = "no entry of the ledger" if index is None else f"ledger entry {index}"
    return Differs(table, key, index, f"{what}, and {entry} says otherwise")


def missing_certificate(sha256: bytes) -> Fault:
    """A certificate that the ledger revokes, and that no row has."""
    return Differs(
        "records", f"certificate {sha256.hex()}", None, "the ledger revokes it, and it is not there"
    )


def peer(said: Peer | None, row: AnyRow | None, key: str) -> PeerRecord | None:
    """A peer of the registry. `row` has the columns `PEER`; None, or with None in them: there is none.

    Raises:
        Fault: they are not of one peer.
    """
    found = None if row is None or row.peer_uri is None else peer_of(row)
    if said is None:
        if found is not None:
            raise differs("peers", key, None, f"there is {found.name.uri}")
        return None
    if found is None:
        raise differs("peers", key, said.index, "there is no row")
    for name in ("name", "spki_sha256", "added_at", "revoked_at", "automatic"):
        if getattr(found, name) != getattr(said, name):
            raise differs("peers", key, said.index, f"{name} is another")
    return found


def order(said: Terms, row: AnyRow | None) -> WorkOrder:
    """A work order's terms. `row` has the columns `ORDER`. Raises Fault: they are not those of its entry."""
    if row is None:
        raise differs("orders", said.work_order, said.index, "there is no row")
    try:
        found = order_of(row)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise differs("orders", said.work_order, said.index, f"it is damaged: {error}") from error
    if hashlib.sha256(found.settings).digest() != said.settings_sha256:
        raise differs("orders", said.work_order, said.index, "its settings are others")
    wanted = terms(said, found.settings)
    for field in fields(wanted):
        if field.compare and getattr(wanted, field.name) != getattr(found, field.name):
            raise differs("orders", said.work_order, said.index, f"{field.name} is another")
    return wanted


def terms(said: Terms, settings: bytes) -> WorkOrder:
    """As the entry has them."""
    bundle = None if said.bundle_sha256 is None else FirmwareBundle(said.bundle_sha256, said.firmware)
    return WorkOrder(
        work_order=said.work_order,
        product=said.product,
        product_sha256=said.product_sha256,
        quantity=said.quantity,
        not_before=said.not_before,
        not_after=said.not_after,
        stations=said.stations,
        level=Level.from_label(said.level),
        minimum_firmware=said.minimum_firmware,
        serial_pattern=said.serial_pattern,
        serial_start=said.serial_start,
        reissue=Reissue(said.reissue),
        settings=settings,
        bundle=bundle,
    )


def closed(said: Terms | None, row: AnyRow, work_order: str) -> bool:
    """Whether an order is closed; True where there is none. `row` has `places` and `closed_at`, with None in
    `places` where there is no row. Raises Fault."""
    if said is None:
        if row.places is not None:
            raise differs("orders", work_order, None, "there is a row")
        return False
    if row.places is None:
        raise differs("orders", work_order, said.index, "there is no row")
    if (row.closed_at is None) != (said.closed is None):
        state = "open" if row.closed_at is None else "closed"
        raise differs("orders", work_order, said.closed or said.index, f"it is {state}")
    return said.closed is not None


def product_text(sha256: bytes, text: object) -> str:
    """The text of a product's revision. Raises Fault: it is not the one that was added."""
    if not isinstance(text, str) or hashlib.sha256(text.encode()).digest() != sha256:
        raise differs("products", sha256.hex(), None, "its text is another, or missing")
    return text


def board(entry_of: Callable[[int], bytes], record: Record) -> None:
    """A record that has a certificate is what the entry says that issued it, and its stamp the one that was
    entered. `entry_of` gives an entry by its index, as it was logged.

    Members that entries of older forms do not have are not compared.

    Raises:
        Fault: it is not, or `entry_of` raises it.
    """
    if record.issued_index is None and record.state is RecordState.INTENT and not record.certificate_der:
        return
    _demand_said(entry_of, record, record.issued_index, _issued(record))
    if record.stamp is not None or record.stamped_index is not None:
        _demand_said(entry_of, record, record.stamped_index, _stamped(record))


def _issued(record: Record) -> dict[str, object]:
    place = record.place
    return {
        "type": Issued.type,
        "work_order": place.work_order,
        "product": place.product,
        "number": place.number,
        "chip_id": place.chip_id,
        "serial_number": place.serial_number,
        "certificate_serial": serial_bytes(place.certificate_serial).hex(),
        "certificate_sha256": hashlib.sha256(record.certificate_der).hexdigest(),
        "spki_sha256": record.spki_sha256.hex(),
        "csr_sha256": hashlib.sha256(record.csr_der).hexdigest(),
        "settings_sha256": hashlib.sha256(record.settings).hexdigest(),
        "level": record.level.label,
        "method": record.method,
        "measured": record.measured,
        "attester_sha256": hashlib.sha256(record.attester).hexdigest() if record.attester else None,
        "evidence_sha256": hashlib.sha256(record.evidence).hexdigest(),
        "challenge": record.challenge.hex(),
        "station": record.station,
        "anchors": [list(anchor) for anchor in entry_form(record.anchors)],
    }


def _stamped(record: Record) -> dict[str, object]:
    return {
        "type": Stamped.type,
        "certificate_sha256": hashlib.sha256(record.certificate_der).hexdigest(),
        "stamp_sha256": hashlib.sha256(record.stamp or b"").hexdigest(),
    }


def _demand_said(
    entry_of: Callable[[int], bytes], record: Record, index: object, found: Mapping[str, object]
) -> None:
    key = f"record {record.record_id}"
    if not isinstance(index, int):
        raise differs("records", key, None, f"it is {found['type']}")
    said = json.loads(entry_of(index))
    for name, value in found.items():
        if said.get(name, value) != value:
            raise differs("records", key, index, f"{name} is another")


def not_revoked(boards: Boards, record: Record) -> None:
    """A record that its row does not call revoked is none that the log does. Raises Fault."""
    if record.state is RecordState.REVOKED or not record.certificate_der:
        return
    if boards.revocations.hold(hashlib.sha256(record.certificate_der).digest()):
        raise Differs(
            "records", f"record {record.record_id}", None, f"it is {record.state}, and the ledger revokes it"
        )


def revoked_or_not(boards: Boards, record: Record) -> Record:
    """A record of a snapshot: revoked where the log says so, which may be newer than the snapshot."""
    if boards.revocations.hold(hashlib.sha256(record.certificate_der).digest()):
        return replace(record, state=RecordState.REVOKED)
    return record


def issuers(said: Sequence[IssuerRecord], found: Sequence[IssuerRecord]) -> list[IssuerRecord]:
    """All issuers. Raises Fault."""
    if list(found) != list(said):
        which = next((each for each in said if each not in found), None)
        name, index = ("a row more", None) if which is None else (which.name, which.added_index)
        raise differs("issuers", name, index, "it is another, or missing")
    return list(said)
