"""The registry in memory: no read of the database for who asked before, and never older than the registry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from harness.store_world import NOW, digest
from signerd.adapters.store import SqlStore
from signerd.adapters.store.boards import calls
from signerd.adapters.store.registry import known_peers
from signerd.adapters.store.registry.known_peers import KnownPeers
from signerd.adapters.store.state.states import States
from signerd.core.names import parse_peer_uri
from signerd.errors import Refused
from signerd.ports import PeerRecord

PC9 = parse_peer_uri("birthmark://test/station/plant1/pc9")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that the database was asked for."""
    asked: list[bytes] = []
    really = calls.peer_of_key

    def peer_of_key(connection: object, states: States, key: bytes) -> PeerRecord | None:
        asked.append(key)
        return really(connection, states, key)  # type: ignore[arg-type] # the store's own connection

    monkeypatch.setattr(calls, "peer_of_key", peer_of_key)
    return asked


async def test_a_key_is_read_once_known_or_not(store: SqlStore, reads: list[bytes]) -> None:
    key = digest("pc9")
    for _ in range(3):
        assert await store.peer_of_key(key) is None
    await store.add_peer(PC9, key, NOW)
    for _ in range(3):
        found = await store.peer_of_key(key)
        assert found is not None
        assert found.revoked_at is None
    assert reads == [key, key]


async def test_revoking_and_adding_hold_at_the_next_call(store: SqlStore) -> None:
    old, new = digest("old"), digest("new")
    await store.add_peer(PC9, old, NOW)
    assert await store.peer_of_key(old) is not None
    assert await store.peer_of_key(new) is None
    await store.revoke_peer(PC9.uri, NOW + timedelta(seconds=1))
    revoked = await store.peer_of_key(old)
    assert revoked is not None
    assert revoked.revoked_at is not None
    await store.add_peer(PC9, new, NOW + timedelta(seconds=2))
    assert await store.peer_of_key(new) is not None


async def test_a_change_that_was_refused_changes_no_answer(store: SqlStore) -> None:
    key = digest("pc9")
    await store.add_peer(PC9, key, NOW)
    with pytest.raises(Refused):
        await store.add_peer(PC9, digest("again"), NOW)
    assert await store.peer_of_key(digest("again")) is None
    assert await store.peer_of_key(key) is not None


async def test_what_was_read_before_a_change_is_not_kept() -> None:
    answers: list[PeerRecord | None] = []

    async def read(_key: bytes) -> PeerRecord | None:
        if not answers:
            known.changed()  # while the answer is on its way
            answers.append(None)
        return answers[-1]

    known = KnownPeers(read)
    assert await known.of_key(b"key") is None
    answers.append(PeerRecord(PC9, b"key", NOW, None))
    assert await known.of_key(b"key") is answers[-1]


async def test_memory_is_bounded_and_strangers_push_out_no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_peers, "CAPACITY", 2)
    monkeypatch.setattr(known_peers, "STRANGERS", 2)
    asked: list[bytes] = []

    async def read(key: bytes) -> PeerRecord | None:
        asked.append(key)
        return PeerRecord(PC9, key, NOW, None) if key.startswith(b"peer") else None

    known = KnownPeers(read)
    for key in (
        b"peer 1",
        b"peer 2",
        *(b"stranger %d" % number for number in range(10)),
        b"peer 1",
        b"peer 2",
    ):
        await known.of_key(key)
    assert asked.count(b"peer 1") == asked.count(b"peer 2") == 1
    assert (len(known._known), len(known._strangers)) == (2, 2)
