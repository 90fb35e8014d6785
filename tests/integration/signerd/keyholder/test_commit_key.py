"""The keys of commits, from key holders: the same after a restart, wherever the secret is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.key_holders import TokenAtHand, make_token, running
from signerd.adapters.installation import Wishes
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.core.names import Place

STARTS = (bytes(16), b"\x01" * 16)


async def keys_of(token: TokenAtHand) -> list[bytes | None]:
    async with running(token.settings, token.pin) as holder:
        return [await holder.commit_key(start) for start in STARTS]


async def test_each_process_gives_the_same(token: TokenAtHand) -> None:
    first, second = await keys_of(token), await keys_of(token)
    assert first == second
    assert len(set(first)) == 2
    assert None not in first


@pytest.mark.check
async def test_without_a_master_key_they_follow_from_what_the_checkpoint_key_signs(tmp_path: Path) -> None:
    token = await asyncio.to_thread(make_token, tmp_path / "dev", Wishes(master_key=Place.NONE))
    first, second = await keys_of(token), await keys_of(token)
    assert first == second
    assert len(set(first)) == 2
    assert None not in first


@pytest.mark.parametrize("start", [b"", bytes(15), bytes(17)], ids=len)
async def test_no_key_of_what_is_no_start(token: TokenAtHand, start: bytes) -> None:
    async with running(token.settings, token.pin) as holder:
        with pytest.raises(KeyHolderRefusal, match="not the name of a start"):
            await holder.commit_key(start)
        assert await holder.commit_key(STARTS[0])
