from __future__ import annotations

import sqlite3
from pathlib import Path

from harness.store_world import NOW, ORDER, STATION, World, intent, issue, stock
from signerd.adapters.store import SqlStore
from signerd.adapters.store.boards.issuing import MAX_GRANTS
from signerd.ports import Grant

OTHER = 3


async def granted(store: SqlStore, session: bytes) -> Grant | None:
    context = await store.call_context(
        peer_uri=STATION, work_order=ORDER.work_order, chip_id="chip", session_sha256=session
    )
    return context.grant


async def test_one_certificate_asked_for_in_ever_new_sessions_takes_bounded_room(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await stock(store, ORDER)
        await issue(store, intent("other"))
        requests = [
            intent("chip", "key", session=f"session {number}") for number in range(MAX_GRANTS + OTHER)
        ]
        records = [await issue(store, request) for request in requests]
        assert {record.record_id for record in records} == {records[0].record_id}
        assert await granted(store, requests[OTHER - 1].session_sha256) is None
        for request in (requests[OTHER], requests[-1], intent("other")):
            assert await granted(store, request.session_sha256) is not None
        # The newest of them still leads to its stamp.
        await store.record_stamp(records[-1], stamp=b"stamp", signature=b"s", station=STATION, now=NOW)
    connection = sqlite3.connect(world.database)
    assert connection.execute("SELECT count(*) FROM grants").fetchone() == (MAX_GRANTS + 1,)
    connection.close()
