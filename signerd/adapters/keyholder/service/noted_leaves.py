"""The certificates that a key holder's service noted, each before it was signed, and how many there may be.

`note_leaf` is a unit of work of each board's. What it needs of the order is kept in memory (`approved.py`);
what was noted is looked at in the notes, each time.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, bindparam, func, insert, select, update

from signerd.adapters.keyholder.service.tables import counts, leaves
from signerd.adapters.store.tables.prepared import Prepared
from signerd.core.approved_order import ApprovedOrder, LeafRefusedError, ShareUsedError
from signerd.core.leaf import Leaf
from signerd.core.names import Reissue

_l, _c = leaves.c, counts.c
_SAME_BYTES = Prepared(select(_l.number).where(_l.tbs_sha256 == bindparam("tbs_sha256")))
_OF_SERIAL = Prepared(
    select(_l.number).where(
        _l.issuer_sha256 == bindparam("issuer_sha256"),
        _l.certificate_serial == bindparam("certificate_serial"),
    )
)
_ADD = Prepared(insert(leaves), [column.name for column in leaves.columns])
_TAKE_PLACE = Prepared(
    update(counts)
    .where(
        _c.work_order == bindparam("order"),
        _c.name == bindparam("certificate"),
        _c.places < bindparam("share"),
    )
    .values(places=_c.places + 1)
)
_TAKEN = Prepared(
    select(_c.places).where(_c.work_order == bindparam("order"), _c.name == bindparam("certificate"))
)
_FIRST_PLACE = Prepared(insert(counts), ("work_order", "name", "places"))
_OF_PLACE = Prepared(
    select(
        func.count().label("certificates"),
        func.count().filter(_l.issuer_sha256 == bindparam("issuer_sha256")).label("of_issuer"),
    ).where(
        _l.work_order == bindparam("order"),
        _l.name == bindparam("certificate"),
        _l.number == bindparam("place"),
    )
)


def note_leaf(
    connection: Connection,
    tbs: bytes,
    leaf: Leaf,
    order: ApprovedOrder,
    *,
    share: int,
    issuer_sha256: bytes,
) -> None:
    """Counts a certificate, before it is signed. The same bytes count once.

    Args:
        tbs: the bytes to be signed.
        leaf: what they were found to be.
        order: theirs.
        share: how many places of it this key holder may certify.
        issuer_sha256: of the certificate of whoever signs.

    Raises:
        ShareUsedError: this key holder has certified as many places of the order as it may.
        LeafRefusedError: the place has its certificates, the serial number is not one of the order's, or the
            certificate's is another certificate's.
    """
    place = leaf.place
    row = {
        "tbs_sha256": hashlib.sha256(tbs).digest(),
        "work_order": place.work_order,
        "name": leaf.name,
        "number": place.number,
        "issuer_sha256": issuer_sha256,
        "product": place.product,
        "chip_id": place.chip_id,
        "serial_number": place.serial_number,
        "certificate_serial": f"{place.certificate_serial:x}",
    }
    if _SAME_BYTES.row(connection, row) is not None:
        return
    of_place = {**_counted(leaf), "place": place.number, "issuer_sha256": issuer_sha256}
    found = _OF_PLACE.row(connection, of_place)
    if found.of_issuer >= order.certificates_a_place:
        raise LeafRefusedError(
            f"place {place.number} of {order.work_order} has {found.of_issuer} certificates"
        )
    _check_serial(connection, leaf, order)
    if _OF_SERIAL.row(connection, row) is not None:
        raise LeafRefusedError(f"the issuer has another certificate {row['certificate_serial']}")
    if not found.certificates:
        _count_place(connection, leaf, share)
    _ADD.run(connection, row)


def _counted(leaf: Leaf) -> dict[str, object]:
    return {"order": leaf.place.work_order, "certificate": leaf.name}


def _count_place(connection: Connection, leaf: Leaf, share: int) -> None:
    counted = _counted(leaf)
    if _TAKE_PLACE.count(connection, {**counted, "share": share}):
        return
    if share <= 0 or _TAKEN.row(connection, counted) is not None:
        raise ShareUsedError(
            f"all {share} places of {leaf.place.work_order} that are this key holder's are taken"
        )
    _FIRST_PLACE.run(connection, {"work_order": leaf.place.work_order, "name": leaf.name, "places": 1})


def _check_serial(connection: Connection, leaf: Leaf, order: ApprovedOrder) -> None:
    """That of the place; or, for a chip that comes again, the one that it had before."""
    place = leaf.place
    if place.serial_number == order.serial_of(place.number):
        return
    before = select(_l.chip_id).where(_l.serial_number == place.serial_number, _l.product == place.product)
    if order.reissue is Reissue.NEVER:
        before = before.where(_l.chip_id == place.chip_id)
    if connection.execute(before.limit(1)).first() is None:
        raise LeafRefusedError(
            f"the serial number {place.serial_number[:64]!r} is none of {order.work_order}"
        )
