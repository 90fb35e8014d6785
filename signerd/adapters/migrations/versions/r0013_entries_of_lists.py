"""The entry that a chip of a list came with: personalized, on an order's list, or with an imported key.

Rows of before get it where the entry's count and digest bear them out. Others get none, and signerd
refuses their chips: somebody else put one there, or altered another of the same list.

Revision ID: 0013
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from signerd.core.entry import chip_line, digest_lines, identity_line
from signerd.core.state.kinds import mentioned

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BATCH = 1_000
_TABLES = ("chips", "order_chips", "identities")
_TYPES = frozenset({b"chips_personalized", b"chips_imported", b"identities_imported"})
_Row = Sequence[Any]


def upgrade() -> None:
    """Adds a column and an index to three tables, and fills the column; reads each entry once."""
    for table in _TABLES:
        op.add_column(table, sa.Column("entry", sa.BigInteger()))
    connection = op.get_bind()
    for index, members in list(_lists(connection)):
        _fill(connection, index, members)
    for table in _TABLES:  # after the rows: an index that grows with each is slower
        op.create_index(f"{table}_by_entry", table, ["entry"])


def _lists(connection: sa.Connection) -> Iterator[tuple[int, dict[str, Any]]]:
    """The entries that name chips by a digest."""
    with connection.execute(
        sa.text("SELECT entry_index, data FROM entries ORDER BY entry_index"),
        execution_options={"yield_per": _BATCH},
    ) as rows:
        for index, data in rows:
            if not _TYPES.isdisjoint(mentioned(data)):
                members = json.loads(data)
                if members["type"].encode() in _TYPES and members["count"]:
                    yield index, members


def _fill(connection: sa.Connection, index: int, members: dict[str, Any]) -> None:
    """Rows stand in the order in which they came, so that an entry's are the first that have none yet."""
    table, columns, where, values, sha256, line = _asked(members)
    order = "rowid" if connection.dialect.name == "sqlite" else "ctid"
    rows = connection.execute(
        sa.text(
            f"SELECT {columns} FROM {table} WHERE entry IS NULL AND {where}"  # noqa: S608 - all of it is ours
            f" ORDER BY {order} LIMIT :count"
        ),
        {**values, "count": members["count"]},
    ).all()
    if len(rows) != members["count"] or digest_lines(map(line, rows)).hex() != sha256:
        return
    connection.execute(
        sa.text(
            f"UPDATE {table} SET entry = :index"  # noqa: S608 - all of it is ours
            f" WHERE chip_id = :chip_id AND entry IS NULL AND {where}"
        ),
        [{**values, "index": index, "chip_id": row[0]} for row in rows],
    )


def _asked(
    members: dict[str, Any],
) -> tuple[str, str, str, dict[str, Any], str, Callable[[_Row], str]]:
    """Table, columns, which rows, by which values, the digest of them, and what it is over."""
    match members["type"]:
        case "chips_imported":
            where = "work_order = :work_order"
            values = {"work_order": members["work_order"]}
            return "order_chips", "chip_id", where, values, members["chips_sha256"], _chip
        case "chips_personalized":
            where = "site = :site AND key = :key AND coalesce(\"by\", '') = :by AND locked = :locked"
            values = {
                "site": members["site"],
                "key": members.get("key", "hmac-sha256"),
                "by": members.get("by") or "",
                "locked": members["locked"],
            }
            return "chips", "chip_id", where, values, members["chips_sha256"], _chip
        case _:
            where = "product = :product AND method = :method"
            values = {"product": members["product"], "method": members["method"]}
            return "identities", "chip_id, key_id, spki", where, values, members["identities_sha256"], _key


def _chip(row: _Row) -> str:
    return chip_line(row[0])


def _key(row: _Row) -> str:
    return identity_line(row[0], row[1], hashlib.sha256(row[2]).digest())
