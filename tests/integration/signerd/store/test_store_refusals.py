"""Refusals in the ledger, within each peer's share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from harness.store_world import NOW, STATION, digest
from signerd.adapters import refusals as module
from signerd.adapters.refusals import LedgerRefusals
from signerd.adapters.store import SqlStore
from signerd.core.entry import RefusedCall
from signerd.errors import Unavailable

OTHER = "birthmark://test/station/plant1/pc2"
KEY, OTHER_KEY = digest("key"), digest("other key")


class Sink:
    """Keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.entered: list[RefusedCall] = []
        self.available = True
        self.called = asyncio.Event()

    async def append_refusals(self, refusals: Sequence[RefusedCall]) -> None:
        if not self.available:
            raise Unavailable("disk full")
        self.entered.extend(refusals)
        self.called.set()

    async def until(self, count: int) -> None:
        while len(self.entered) < count:
            self.called.clear()
            await self.called.wait()

    def summary(self) -> list[tuple[str | None, str, int]]:
        return [(refusal.peer, refusal.code, refusal.count) for refusal in self.entered]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def made(sink: Any, clock: Clock | None = None, per_h: int = 2) -> LedgerRefusals:
    monotonic = clock or Clock()
    return LedgerRefusals(sink, refusals_per_h=per_h, clock=lambda: NOW, monotonic=monotonic)


async def test_a_refusal_is_an_entry(store: SqlStore) -> None:
    refusals = made(store)
    refusals.start()
    refusals.refused(
        key=KEY,
        peer=STATION,
        call="SignCsr",
        code="csr_rejected",
        work_order="WO-1",
        chip_id="chip-1",
        csr_sha256=digest("csr"),
    )
    while store._ledger._committed < 5:
        await store.product("sensor")  # lets the event loop turn
    position = await store.published(4)
    members = json.loads(position.entry)
    assert len(bytes.fromhex(members.pop("id"))) == 16
    assert members == {
        "v": 3,
        "type": "refused",
        "time": "2026-11-15T12:00:00Z",
        "peer": STATION,
        "call": "SignCsr",
        "code": "csr_rejected",
        "count": 1,
        "work_order": "WO-1",
        "chip_id": "chip-1",
        "csr_sha256": digest("csr").hex(),
    }
    await refusals.close()


async def test_beyond_the_share_refusals_are_folded() -> None:
    sink = Sink()
    refusals = made(sink)
    for code in ("a", "a", "a", "a", "b"):
        refusals.refused(key=KEY, peer=STATION, call="SignCsr", code=code, chip_id="chip")
    refusals.refused(key=OTHER_KEY, peer=OTHER, call="SignCsr", code="a")
    await refusals.close()
    assert sink.summary() == [
        (STATION, "a", 1),
        (STATION, "a", 1),
        (STATION, "b", 1),
        (OTHER, "a", 1),
        (STATION, "a", 2),
    ]
    assert [refusal.chip_id for refusal in sink.entered] == ["chip", "chip", "chip", None, None]


async def test_a_share_fills_again_over_an_hour() -> None:
    sink, clock = Sink(), Clock()
    refusals = made(sink, clock)
    for _ in range(3):
        refusals.refused(key=KEY, peer=STATION, call="SignCsr", code="a")
    clock.seconds = 1800.0
    refusals.refused(key=KEY, peer=STATION, call="SignCsr", code="a", chip_id="later")
    refusals.refused(key=KEY, peer=STATION, call="SignCsr", code="a")
    await refusals.close()
    assert [(each.chip_id, each.count) for each in sink.entered] == [
        (None, 1),
        (None, 1),
        ("later", 1),
        (None, 2),
    ]


async def test_no_code_and_no_key_takes_from_the_share_of_another() -> None:
    """Also not the revoked key of the same station from the key that came after it."""
    sink = Sink()
    refusals = made(sink)
    for _ in range(100):
        refusals.refused(key=OTHER_KEY, peer=STATION, call="SignCsr", code="evidence_rejected")
        refusals.refused(key=KEY, peer=STATION, call="SignCsr", code="request_malformed")
    for number in range(2):
        refusals.refused(
            key=KEY, peer=STATION, call="SignCsr", code="evidence_rejected", chip_id=f"chip {number}"
        )
    await refusals.close()
    named = [(each.code, each.chip_id) for each in sink.entered if each.chip_id is not None]
    assert named == [("evidence_rejected", "chip 0"), ("evidence_rejected", "chip 1")]
    assert sum(each.count for each in sink.entered) == 202


@pytest.mark.parametrize("code", sorted(module.ATTACKS))
async def test_an_attack_is_named_whatever_else_waits_for_the_store(code: str) -> None:
    sink = Sink()
    refusals = made(sink, per_h=100_000)
    for number in range(3 * module._MAX_PENDING):
        key = digest(f"key {number % 7}")
        refusals.refused(key=key, peer=f"peer {number}", call="SignCsr", code="csr_rejected")
    refusals.refused(
        key=KEY, peer=STATION, call="SignCsr", code=code, chip_id="chip", csr_sha256=digest("csr")
    )
    await refusals.close()
    (named,) = [each for each in sink.entered if each.code == code]
    assert (named.chip_id, named.csr_sha256, named.count) == ("chip", digest("csr"), 1)


async def test_folded_refusals_are_entered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLD_S", 0.0)
    sink = Sink()
    refusals = made(sink, per_h=1)
    refusals.refused(key=KEY, peer=STATION, call="SignCsr", code="a")
    refusals.refused(key=KEY, peer=STATION, call="SignCsr", code="a")
    refusals.start()
    await sink.until(2)
    assert sink.summary() == [(STATION, "a", 1), (STATION, "a", 1)]
    await refusals.close()


async def test_what_could_not_be_entered_is_kept() -> None:
    sink = Sink()
    sink.available = False
    refusals = made(sink, per_h=10)
    for code in ("a", "a", "b"):
        refusals.refused(key=KEY, peer=STATION, call="SignCsr", code=code, chip_id="chip")
    await refusals.flush()
    assert refusals.failed_writes == 1
    sink.available = True
    await refusals.close()
    assert sink.summary() == [(STATION, "a", 2), (STATION, "b", 1)]


@pytest.mark.parametrize("code", ["csr_rejected", "evidence_rejected"])
async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(module, "_MAX_PENDING", 2)
    monkeypatch.setattr(module, "_MAX_FOLDED", 2)
    monkeypatch.setattr(module, "_SHARES", 2)
    sink = Sink()
    refusals = made(sink, per_h=10)
    for number in range(10):
        key = digest(f"key {number}")
        refusals.refused(key=key, peer=f"peer {number}", call="SignCsr", code=code)
    noted = refusals._noted(code)
    assert (len(noted.pending), len(refusals._shares), len(noted.folded)) == (2, 2, 3)
    await refusals.close()
    assert sum(refusal.count for refusal in sink.entered) == 10
