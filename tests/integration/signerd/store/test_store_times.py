"""No entry goes back in time by more than auditors bear, whatever the caller's clock says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from harness.store_world import NOW, ORDER, World, intent, prepare, stock
from signerd.adapters.store import SqlStore
from signerd.core.clock import BOUND
from signerd.core.names import parse_peer_uri
from signerd.errors import ClockWrong

LATER = NOW + timedelta(days=2)
AHEAD = NOW + timedelta(hours=2)  # within the order's window


async def add(store: SqlStore, key: int, at: timedelta) -> int:
    peer = parse_peer_uri(f"birthmark://test/station/plant1/pc{key}")
    return (await store.add_peer(peer, bytes([key]) * 32, NOW + at))[1]


async def test_an_entry_out_of_order_is_not_entered(world: World) -> None:
    async with world.opened() as store:
        await add(store, 1, timedelta(days=2))
        await add(store, 2, timedelta(days=2) - BOUND)
        with pytest.raises(ClockWrong):
            await add(store, 3, timedelta(days=2) - BOUND - timedelta(seconds=1))
        assert store.newest == LATER
    async with world.opened() as store:  # after a start as well
        assert store.newest == LATER
        with pytest.raises(ClockWrong):
            await add(store, 3, timedelta(0))


async def test_an_accepted_clock_is_where_times_go_on(world: World) -> None:
    async with world.opened() as store:
        await add(store, 1, timedelta(days=2))
        assert await store.clock_era() == 0
        index = await store.accept_clock(by="ann", before=LATER, now=NOW)
        assert await store.clock_era() == index
        entry = json.loads((await store.published(index)).entry)
        assert (entry["type"], entry["by"], entry["clock_to"]) == ("clock_accepted", "ann", entry["time"])
        await add(store, 2, timedelta(0))
    async with world.opened() as store:
        assert store.newest == NOW.replace(microsecond=0)
        assert await store.clock_era() == index
        await add(store, 3, timedelta(0))


@pytest.mark.parametrize("restarted", [False, True], ids=["in one run", "after a crash"])
async def test_an_intent_of_a_time_that_was_taken_back_holds_no_clock_up(
    world: World, restarted: bool
) -> None:
    async with world.opened() as store:
        await stock(store, ORDER)
        await store.take_place(replace(intent("chip-1"), moment=AHEAD), prepare)
        if not restarted:
            await store.accept_clock(by="ann", before=AHEAD, now=NOW)
    if restarted:
        async with world.opened(now=None) as store:
            assert store.newest == AHEAD
            await store.accept_clock(by="ann", before=AHEAD, now=NOW)
    for now in (None, NOW):
        async with world.opened(now=now) as store:
            assert store.newest == NOW.replace(microsecond=0)
            await add(store, 3 if now else 2, timedelta(0))


async def test_what_is_undone_moves_no_time(world: World) -> None:
    async with world.opened() as store:
        await add(store, 1, timedelta(0))
        with pytest.raises(Exception, match="already_exists"):
            await add(store, 1, timedelta(days=2))
        await add(store, 2, timedelta(0))
