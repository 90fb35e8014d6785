"""The keys of commits: asked of each key holder, and of this process alone where none has a secret."""

from __future__ import annotations

from collections.abc import Mapping

from signerd.adapters.commit_keys import CommitKeys, Derive


def holder(keys: Mapping[bytes, bytes] | None) -> Derive:
    async def derive(start: bytes) -> bytes | None:
        return None if keys is None else keys.get(start, b"new" + start)

    return derive


async def test_the_first_key_holder_with_a_secret_gives_this_starts_key() -> None:
    keys = CommitKeys(holder(None), holder({}))
    first, second = await keys.new(), await keys.new()
    assert first.key == b"new" + first.start
    assert first.start != second.start
    assert first.key.hex() not in repr(first)


async def test_all_are_asked_for_what_an_earlier_start_committed() -> None:
    start = bytes(16)
    keys = CommitKeys(holder({start: b"one"}), holder(None), holder({start: b"two"}))
    assert await keys.of(start) == [b"one", b"two"]


async def test_without_a_secret_the_key_ends_with_the_process() -> None:
    keys = CommitKeys(holder(None))
    given = await keys.new()
    assert len(given.key) == 32
    assert given.key != (await keys.new()).key
    assert await keys.of(given.start) == []
