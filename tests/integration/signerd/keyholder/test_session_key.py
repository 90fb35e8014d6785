"""The keys of sessions, from key holders: the same after a restart, wherever the secret is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.key_holders import TokenAtHand, make_token, running
from signerd.adapters.installation import Wishes
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.core.internal_key import day_of
from signerd.core.names import Place

SEALED_CHECKPOINT_KEY = Wishes(Place.SEALED, Place.NONE, no_spare=True)


def today() -> int:
    return day_of(datetime.now(UTC))


async def keys_of(token: TokenAtHand, day: int) -> list[bytes]:
    async with running(token.settings, token.pin) as holder:
        return [await holder.session_key(day + more, era) for more in (-1, 0, 1) for era in (0, 5)]


async def test_each_process_gives_the_same(token: TokenAtHand) -> None:
    day = today()
    first, second = await keys_of(token, day), await keys_of(token, day)
    assert first == second
    assert len(set(first)) == 6


@pytest.mark.check
async def test_from_a_sealed_master_key(token: TokenAtHand, sealed_token: TokenAtHand) -> None:
    day = today()
    first, second = await keys_of(sealed_token, day), await keys_of(sealed_token, day)
    assert first == second
    assert not set(first) & set(await keys_of(token, day))


@pytest.mark.check
async def test_from_a_sealed_checkpoint_key_where_there_is_no_master_key(tmp_path: Path) -> None:
    token = await asyncio.to_thread(make_token, tmp_path / "dev", SEALED_CHECKPOINT_KEY)
    day = today()
    assert await keys_of(token, day) == await keys_of(token, day)


@pytest.mark.check
async def test_from_nothing_where_there_is_no_such_secret(tmp_path: Path) -> None:
    token = await asyncio.to_thread(make_token, tmp_path / "dev", Wishes(master_key=Place.NONE))
    async with running(token.settings, token.pin) as holder:
        with pytest.raises(KeyHolderRefusal, match="no internal key"):
            await holder.session_key(today(), 0)


@pytest.mark.parametrize(
    ("more", "era"), [(30, 0), (-30, 0), (0, -1), (0, 2**63)], ids=["ahead", "behind", "below", "beyond"]
)
async def test_no_key_of_days_to_come_and_of_no_era(token: TokenAtHand, more: int, era: int) -> None:
    async with running(token.settings, token.pin) as holder:
        with pytest.raises(KeyHolderRefusal, match=r"not a day"):
            await holder.session_key(today() + more, era)
        assert await holder.session_key(today(), 0)
