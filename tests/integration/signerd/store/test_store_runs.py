"""Starts and stops in the ledger, with what commands did to the database between them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from harness.store_of_before import load
from harness.store_world import NOW, World
from signerd.adapters import migrations
from signerd.adapters.store import SqlStore, note_restored, upgrade_database
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import UPGRADED_FROM, counters
from signerd.errors import Fault
from signerd.program import program_version

RUN, OTHER = bytes(16), bytes([1]) * 16
MADE = NOW - timedelta(days=3)


async def entry_at(store: SqlStore, index: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await store.published(index)).entry)
    return found


def noted(world: World) -> set[str]:
    with make_engine(world.url, "read").begin() as connection:
        return set(connection.execute(select(counters.c.name)).scalars())


async def test_a_start_and_its_stop_have_one_name(world: World) -> None:
    async with world.opened() as store:
        start = await entry_at(store, await store.enter_start(RUN, NOW))
        stop = await entry_at(store, await store.enter_stop(RUN, NOW))
    assert (start["type"], start["run"], start["version"]) == (
        "signerd_started",
        "00" * 16,
        program_version(),
    )
    assert start["schema"] == migrations.HEAD
    assert (start["upgraded_from"], start["backup_made"], start["backup_size"]) == (None, None, None)
    assert (stop["type"], stop["run"]) == ("signerd_stopped", "00" * 16)


async def test_what_was_done_to_the_database_is_told_once(world: World) -> None:
    note_restored(world.url, MADE - timedelta(days=9), 4)
    note_restored(world.url, MADE, 7)
    async with world.opened() as store:
        first = await entry_at(store, await store.enter_start(RUN, NOW))
        second = await entry_at(store, await store.enter_start(OTHER, NOW))
    assert (first["backup_made"], first["backup_size"]) == (f"{MADE:%Y-%m-%dT%H:%M:%SZ}", 7)
    assert (second["backup_made"], second["backup_size"]) == (None, None)
    assert noted(world) == set()


async def test_the_schema_of_before_is_told(tmp_path: Path) -> None:
    world = load("0003", tmp_path)
    upgrade_database(world.url)
    assert UPGRADED_FROM in noted(world)
    async with world.opened() as store:
        start = await entry_at(store, await store.enter_start(RUN, NOW))
    assert (start["schema"], start["upgraded_from"]) == (migrations.HEAD, "0003")
    assert UPGRADED_FROM not in noted(world)


async def test_a_start_that_is_not_committed_leaves_the_note(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before the commit does the same: the entry and the note's end are one transaction."""
    note_restored(world.url, MADE, 7)
    async with world.opened() as store:
        with monkeypatch.context() as broken:
            broken.setattr(
                "signerd.adapters.store.writer._ADD_ENTRIES", text("INSERT INTO nowhere VALUES (1)")
            )
            with pytest.raises(Fault):
                await store.enter_start(RUN, NOW)
        start = await entry_at(store, await store.enter_start(RUN, NOW))
    assert start["backup_size"] == 7
