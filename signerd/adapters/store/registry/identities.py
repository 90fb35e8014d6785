"""Importing attestation keys: one unit of work of the writer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from signerd.adapters.store.registry.approving import append_approved
from signerd.adapters.store.registry.spellings import demand_one_spelling
from signerd.adapters.store.tables.rows import seconds
from signerd.adapters.store.tables.schema import identities
from signerd.adapters.store.writer import Transaction
from signerd.core.approval.actions import Approval
from signerd.core.entry import IdentitiesImported, digest_identities
from signerd.core.identity_list import ChipIdentity
from signerd.errors import Code, Refused

_IN_CHUNK = 500  # values in one IN (…): well below every database's bound on parameters
_i = identities.c


class _Known:
    """What is imported, by each of the three names that must be unique."""

    def __init__(self) -> None:
        self._chips: dict[str, ChipIdentity] = {}
        self._key_ids: dict[bytes, str] = {}
        self._keys: dict[bytes, str] = {}

    def note(self, identity: ChipIdentity) -> None:
        self._chips[identity.chip_id] = identity
        self._key_ids[identity.key_id] = identity.chip_id
        self._keys[identity.spki] = identity.chip_id

    def holds(self, wanted: ChipIdentity) -> bool:
        """True if it is imported as it stands.

        Raises:
            Refused: `invalid`: the chip, the key id or the key is imported with something else.
        """
        chip = wanted.chip_id
        known = self._chips.get(chip)
        if known is not None:
            if (known.key_id, known.spki) == (wanted.key_id, wanted.spki):
                return True
            what = "key" if known.key_id == wanted.key_id else "key id"
            raise Refused(Code.INVALID, f"chip {chip}: it was imported before, with another {what}")
        if wanted.key_id in self._key_ids:
            other = self._key_ids[wanted.key_id]
            raise Refused(Code.INVALID, f"chip {chip}: its key id was imported before, for chip {other}")
        if wanted.spki in self._keys:
            other = self._keys[wanted.spki]
            raise Refused(Code.INVALID, f"chip {chip}: its public key was imported before, for chip {other}")
        return False


def import_identities(
    tx: Transaction,
    product: str,
    method: str,
    wanted: Sequence[ChipIdentity],
    *,
    by: str,
    now: datetime,
    approval: Approval,
) -> tuple[int, int]:
    """`Administration.import_identities`."""
    demand_one_spelling(tx.connection, [identity.chip_id for identity in wanted])
    known = _Known()
    for identity in _imported(tx.connection, product, method, wanted):
        known.note(identity)
    added: list[ChipIdentity] = []
    for identity in wanted:
        if not known.holds(identity):
            known.note(identity)
            added.append(identity)
    if added:
        _demand_one_chip_a_key(tx.connection, product, method, added)
    lines = ((each.chip_id, each.key_id, hashlib.sha256(each.spki).digest()) for each in added)
    entry = IdentitiesImported(
        time=now,
        product=product,
        method=method,
        count=len(added),
        identities_sha256=digest_identities(lines),
        by=by,
    )
    index = append_approved(tx, entry, approval)
    if added:
        common = {
            "product": product, "method": method, "imported_at": seconds(now), "by": by, "entry": index
        }  # fmt: skip
        tx.connection.execute(
            insert(identities),
            [{"chip_id": each.chip_id, "key_id": each.key_id, "spki": each.spki, **common} for each in added],
        )
    return len(added), index


def _demand_one_chip_a_key(
    connection: Connection, product: str, method: str, added: Sequence[ChipIdentity]
) -> None:
    """Refuses a key that is another chip's in the list of another product or method.

    Chip ids are one space over all products: under two of them, one chip could have two certificates.
    """
    chips = {identity.spki: identity.chip_id for identity in added}
    for spki, other, of_product, of_method in _of_other_lists(connection, product, method, added):
        if chips[spki] != other:
            raise Refused(
                Code.INVALID,
                f"chip {chips[spki]}: its public key was imported before, for chip {other},"
                f" product {of_product}, method {of_method}",
            )


def _of_other_lists(
    connection: Connection, product: str, method: str, added: Sequence[ChipIdentity]
) -> Iterator[tuple[bytes, str, str, str]]:
    """Key, chip id, product and method of what has one of these keys elsewhere."""
    for start in range(0, len(added), _IN_CHUNK):
        keys = [each.spki for each in added[start : start + _IN_CHUNK]]
        asked = select(_i.spki, _i.chip_id, _i.product, _i.method).where(_i.spki.in_(keys))
        for row in connection.execute(asked):
            if (row.product, row.method) != (product, method):
                yield row.spki, row.chip_id, row.product, row.method


def _imported(
    connection: Connection, product: str, method: str, wanted: Sequence[ChipIdentity]
) -> Iterator[ChipIdentity]:
    """All that shares a chip id, a key id or a key with one of those wanted; some of it more than once.

    One statement for each of the three, so that each is served by its own unique index.
    """
    for start in range(0, len(wanted), _IN_CHUNK):
        chunk = wanted[start : start + _IN_CHUNK]
        for shared in (
            _i.chip_id.in_([each.chip_id for each in chunk]),
            _i.key_id.in_([each.key_id for each in chunk]),
            _i.spki.in_([each.spki for each in chunk]),
        ):
            asked = select(_i.chip_id, _i.key_id, _i.spki).where(
                _i.product == product, _i.method == method, shared
            )
            for row in connection.execute(asked):
                yield ChipIdentity(row.chip_id, row.key_id, row.spki)
