"""What entries name by a digest alone, for `signerd database rebuild`: looked for in databases of before.

Guarantees that nothing of such a database is taken that its entry does not bear out, but for what no entry
says and nothing certifies: ids of records, whose certificate it is, the end of a peer's certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select

from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.schema import (
    chips,
    identities,
    order_chips,
    orders,
    peers,
    products,
    records,
)
from signerd.adapters.store.verification.claims_of_rows import claims_of
from signerd.core.entry import chip_line, digest_lines, identity_line
from signerd.core.state.values import NamedList

Row = Mapping[str, Any]

_RECORD = Prepared(select(records).where(records.c.certificate_sha256 == bindparam("sha256")))
_LISTS: Mapping[str, Table] = {table.name: table for table in (chips, order_chips, identities)}


class Parts:
    """Databases of before, the one that is asked first, first."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections

    def product(self, sha256: bytes) -> str | None:
        """The text of a revision."""
        for row in self._rows(products, products.c.sha256 == sha256):
            if isinstance(row.toml, str) and hashlib.sha256(row.toml.encode()).digest() == sha256:
                return row.toml
        return None

    def settings(self, work_order: str, sha256: bytes) -> bytes | None:
        """Of a work order."""
        for row in self._rows(orders, orders.c.work_order == work_order):
            if _is(row.settings, sha256.hex()):
                return bytes(row.settings)
        return None

    def peer(self, spki_sha256: bytes) -> Row:
        """What no entry says of a peer: the end of its certificate, and its CA."""
        for row in self._rows(peers, peers.c.spki_sha256 == spki_sha256):
            return {"not_after": row.not_after, "ca_sha256": row.ca_sha256}
        return {}

    def listed(self, table: str, said: NamedList) -> list[Row] | None:
        """All rows of a list: chip ids, and of identities their keys."""
        kept = _LISTS[table]
        for connection in self._connections:
            found = connection.execute(select(kept).where(kept.c.entry == said.index)).mappings().all()
            try:
                lines = list(map(_line, found))
            except (TypeError, ValueError, AttributeError):
                continue
            if len(found) == said.count and digest_lines(lines) == said.sha256:
                return [dict(row) for row in found]
        return None

    def board(self, issued: Row) -> Row | None:
        """The record of a certificate: with certificate, CSR, evidence, settings and attestation key."""
        for connection in self._connections:
            row = _RECORD.row(connection, {"sha256": bytes.fromhex(issued["certificate_sha256"])})
            if row is not None and _fits(row, issued):
                found: Row = row._asdict()
                return found
        return None

    def stamp(self, certificate_sha256: str, stamp_sha256: str) -> Row | None:
        """Stamp and signature."""
        for connection in self._connections:
            row = _RECORD.row(connection, {"sha256": bytes.fromhex(certificate_sha256)})
            if row is not None and _is(row.stamp, stamp_sha256):
                return {"stamp": row.stamp, "stamp_signature": row.stamp_signature}
        return None

    def _rows(self, table: Table, which: Any) -> Iterator[Any]:
        for connection in self._connections:
            yield from connection.execute(select(table).where(which))


def _fits(row: Any, issued: Row) -> bool:
    """Certificate, CSR, evidence, settings and attestation key are those of the entry."""
    return (
        _is(row.certificate_der, issued["certificate_sha256"])
        and _is(row.csr_der, issued["csr_sha256"])
        and _is(row.evidence, issued["evidence_sha256"])
        and _is(row.settings, issued["settings_sha256"])
        and (_is(row.attester, attester) if (attester := issued.get("attester_sha256")) else True)
        and ("claims" not in issued or claims_of(row.claims) == issued["claims"])
    )


def _is(value: object, sha256: str) -> bool:
    return isinstance(value, bytes) and hashlib.sha256(value).hexdigest() == sha256


def _line(row: Any) -> str:
    if "spki" in row:
        return identity_line(row["chip_id"], row["key_id"], hashlib.sha256(row["spki"]).digest())
    return chip_line(row["chip_id"])
