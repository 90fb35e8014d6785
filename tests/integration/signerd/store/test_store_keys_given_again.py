"""A personalization that is run again gives the same keys once more: the ledger says for how many chips, or
an insider could fetch the keys of boards in the field behind entries that count nothing."""

from __future__ import annotations

import json
from typing import Any

from harness.store_world import NOW
from signerd.adapters.store import SqlStore
from signerd.core.entry import digest_chips


async def personalize(store: SqlStore, *chips: str) -> dict[str, Any]:
    _, index = await store.personalize_chips(
        chips, locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW
    )
    value = json.loads((await store.published(index)).entry)
    assert isinstance(value, dict)
    return value


async def test_chips_whose_key_is_given_out_again_are_counted(store: SqlStore) -> None:
    first = await personalize(store, "a", "b")
    assert (first["count"], first["again"]) == (2, 0)
    second = await personalize(store, "a", "b", "c", "a")
    assert (second["count"], second["again"]) == (1, 2)
    assert second["chips_sha256"] == digest_chips(["c"]).hex()
    third = await personalize(store, "c")
    assert (third["count"], third["again"]) == (0, 1)
