"""Whoever can write signerd's database and nothing else: no PIN, no socket, no second place.

What they change, they change everywhere: entry, leaf hash, head and rows agree with each other afterwards.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rfc8785

from harness.store_world import ORDER, World
from signerd.core.merkle import Frontier, leaf_hash
from signerd.core.state.administration import changes

Entry = dict[str, Any]


@contextmanager
def database(world: World) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are committed at the end."""
    connection = sqlite3.connect(world.database, timeout=10)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def sql(world: World, statement: str, *values: object) -> int:
    """One statement; how many rows it changed."""
    with database(world) as connection:
        return connection.execute(statement, values).rowcount


def log_of(world: World) -> list[bytes]:
    """The entries' bytes."""
    with database(world) as connection:
        return [row[0] for row in connection.execute("SELECT data FROM entries ORDER BY entry_index")]


def encoded(**members: Any) -> bytes:
    """An entry of form 2, as signerd would write it."""
    return rfc8785.dumps({"v": 2, "id": secrets.token_hex(16), **members})


def write_log(world: World, entries: list[bytes]) -> None:
    """These are all entries from now on, and the head is theirs."""
    frontier = Frontier()
    for data in entries:
        frontier.append(leaf_hash(data))
    epoch = sum(changes(json.loads(data)["type"]) for data in entries)
    with database(world) as connection:
        connection.execute("DELETE FROM entries")
        rows = [(index, leaf_hash(data), data) for index, data in enumerate(entries)]
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
        connection.execute(
            "UPDATE head SET size = ?, root = ?, epoch = ?", (len(entries), frontier.root(), epoch)
        )


def append(world: World, *entries: bytes) -> None:
    """At the end of the log."""
    write_log(world, [*log_of(world), *entries])


def change(world: World, index: int, edit: Callable[[Entry], Entry]) -> None:
    """An entry, with its hash and the head."""
    entries = log_of(world)
    entries[index] = rfc8785.dumps(edit(json.loads(entries[index])))
    write_log(world, entries)


def forged_order(work_order: str = "WO-FORGED") -> bytes:
    """An order that nobody opened, otherwise like the honest one."""
    return encoded(
        type="order_opened",
        time="2026-11-15T12:00:00Z",
        by="mallory",
        work_order=work_order,
        product=ORDER.product,
        product_sha256=ORDER.product_sha256.hex(),
        quantity=1_000,
        not_before="2026-11-14T12:00:00Z",
        not_after="2026-11-16T12:00:00Z",
        stations=list(ORDER.stations),
        level="none",
        minimum_firmware={},
        serial_pattern="FORGED-{number:06d}",
        serial_start=1,
        reissue="never",
        settings_sha256="c19a797fa1fd590cd2e5b42d1cf5f246e29b91684e2f87404b81dc345c7a56a0",
        bundle_sha256=None,
        firmware=None,
        rehearsed=True,
    )


def forge_row_of_order(world: World, work_order: str = "WO-FORGED") -> None:
    """The row that goes with it."""
    with database(world) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(orders)") if row[1] != "id"]
        honest = connection.execute(f"SELECT {', '.join(names)} FROM orders").fetchone()
        row = dict(zip(names, honest, strict=True)) | {
            "work_order": work_order,
            "level": "none",
            "quantity": 1_000,
            "places": 0,
            "serial_pattern": "FORGED-{number:06d}",
        }
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO orders ({', '.join(row)}) VALUES ({marks})", list(row.values()))
