"""A public key is certified once in the whole history: no other chip, no other order, no second time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from harness.issuance_world import IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from signerd.core.leaf import Leaf
from signerd.core.names import Reissue
from signerd.errors import Code, Refused, Unavailable


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        yield made


async def refused(world: IssuanceWorld, order: str, board: PaperBoard) -> Code:
    with pytest.raises(Refused) as caught:
        await world.certify(order, board)
    return caught.value.code


async def test_a_key_of_another_order(world: IssuanceWorld) -> None:
    board, twin = world.board(), world.board()
    await world.certify(await world.open_order(), board)
    order = await world.open_order()
    assert await refused(world, order, replace(twin, key=board.key)) is Code.KEY_ALREADY_CERTIFIED
    await world.certify(order, twin)


async def test_a_key_of_a_certificate_that_was_revoked(world: IssuanceWorld) -> None:
    board, twin = world.board(), world.board()
    _, answer = await world.certify(await world.open_order(), board)
    serial = answer.record.place.serial_number
    await world.store.revoke(serial_number=serial, reason="keyCompromise", now=world.now)
    order = await world.open_order(reissue=Reissue.ALWAYS)
    assert await refused(world, order, replace(twin, key=board.key)) is Code.KEY_ALREADY_CERTIFIED
    # Nor does its own chip get it again, where the order would give it a certificate for another key.
    assert await refused(world, order, board) is Code.CERTIFICATE_REVOKED
    await world.certify(order, PaperBoard(board.chip_id, board.chip_key))


async def test_a_key_of_an_intent_that_a_crash_left_open(world: IssuanceWorld) -> None:
    board, twin = world.board(), world.board()
    order = await world.open_order()
    honest = world.key_holder.sign_certificate

    async def fails(tbs: bytes, _leaf: Leaf | None = None) -> bytes:
        assert tbs
        raise Unavailable("the key holder is being replaced")

    world.key_holder.sign_certificate = fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await world.certify(order, board)
    world.key_holder.sign_certificate = honest  # type: ignore[method-assign]
    assert await refused(world, order, replace(twin, key=board.key)) is Code.KEY_ALREADY_CERTIFIED
    await world.certify(order, board)
