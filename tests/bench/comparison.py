"""What believing no row costs a board: rows compared with the ledger, and the MACs of intents and commits.

The real store on a file, with a log key in software, and 16 boards at once through the calls that signerd
makes for them. Each comparison is timed where it is called. Reads its job as JSON from standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.store_world import NOW, STATION, World, intent, issue, stock, with_terms
from signerd.adapters.store import SqlStore
from signerd.adapters.store.boards.intents import IntentKeys
from signerd.adapters.store.state import compared
from signerd.adapters.store.state.proven_lists import ProvenLists
from signerd.core.commits import Commit
from signerd.ports import IntentRequest

AT_ONCE = 16  # boards, so that commits are shared as under load

# Where it is called, by what is compared.
TIMED: dict[str, list[tuple[Any, str]]] = {
    "peer, order, product": [
        (compared, name) for name in ("peer", "order", "terms", "closed", "product_text", "issuers")
    ],
    "board": [(compared, name) for name in ("board", "not_revoked", "revoked_or_not")],
    "list of chips": [(ProvenLists, "demand_personalized")],
    "intent's MAC": [(IntentKeys, "columns"), (IntentKeys, "made")],
    "commit's MAC": [(Commit, "mac")],
}


def timed(spent: Counter[str]) -> None:
    """From now on, each of them adds the CPU nanoseconds of its thread to `spent`."""
    for what, places in TIMED.items():
        for owner, name in places:
            setattr(owner, name, _timed(getattr(owner, name), what, spent))


def _timed(function: Callable[..., Any], what: str, spent: Counter[str]) -> Callable[..., Any]:
    def called(*given: Any, **named: Any) -> Any:
        begun = time.thread_time_ns()
        try:
            return function(*given, **named)
        finally:
            spent[what] += time.thread_time_ns() - begun

    return called


async def measure(folder: Path, boards: int) -> dict[str, float]:
    """CPU microseconds a board, by what is compared."""
    world, spent = World(folder), Counter[str](dict.fromkeys(TIMED, 0))
    world.create()
    order = with_terms(quantity=boards, not_after=NOW + timedelta(days=1))
    async with world.opened() as store:
        await stock(store, order)
        chips = [f"chip-{number}" for number in range(boards)]
        for start in range(0, boards, 10_000):
            named = chips[start : start + 10_000]
            await store.personalize_chips(
                named, locked=False, site="bench", key="hmac-sha256", by="bench", now=NOW
            )
        timed(spent)
        for start in range(0, boards, AT_ONCE):
            requests = [intent(chip, order=order) for chip in chips[start : start + AT_ONCE]]
            await asyncio.gather(*(one(store, request) for request in requests))
    return {what: round(value / boards / 1_000, 2) for what, value in spent.items()}


async def one(store: SqlStore, request: IntentRequest) -> None:
    """The store's part of the three calls."""
    await context(store, request.chip_id, None)
    await context(store, request.chip_id, request.session_sha256)
    record = await issue(store, request)
    await context(store, request.chip_id, request.session_sha256)
    await store.record_stamp(record, stamp=b"stamp", signature=b"signature", station=STATION, now=NOW)


async def context(store: SqlStore, chip: str, session: bytes | None) -> None:
    """What a call goes by."""
    await store.call_context(peer_uri=STATION, work_order="WO-1", chip_id=chip, session_sha256=session)


if __name__ == "__main__":
    with TemporaryDirectory() as directory:
        job = json.load(sys.stdin)
        json.dump(asyncio.run(measure(Path(directory), job["boards"])), sys.stdout)
