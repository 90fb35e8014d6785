"""A busy token: callers take turns, a checkpoint is shared, a certificate is signed once, and whoever would
wait for too long is told when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from harness.key_holders import TokenAtHand, until
from harness.shim import Shim
from harness.signing_samples import checkpoint, leaf_tbs
from signerd.adapters.caller import CALLER
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.adapters.keyholder.queue import LONGEST_WAIT_S
from signerd.adapters.keyholder.turns import LEAST_SHARED
from signerd.core.names import MacKey, MacQuestion
from signerd.errors import Busy, Code

CKM_ECDSA = "C_Sign-1041"
SIGN_MS = 50
MUCH_MS = 300  # beside which a busy machine's few milliseconds are nothing

pytestmark = pytest.mark.check


@asynccontextmanager
async def slow_pool(token: TokenAtHand, shim: Shim, sign_ms: int = SIGN_MS) -> AsyncIterator[KeyHolderPool]:
    pool = KeyHolderPool(shim.before(token.settings), 1, on_change=lambda: None)
    try:
        await pool.start(token.pin)
        shim.rule(CKM_ECDSA, "delay", sign_ms)
        await pool.sign_certificate(leaf_tbs(token.sub_ca))  # the queue has seen how slow it is
        yield pool
    finally:
        await pool.stop()


async def sign_for(pool: KeyHolderPool, caller: str, tbs: bytes) -> bytes:
    CALLER.set(caller)  # of this task
    return await pool.sign_certificate(tbs)


async def test_one_that_asks_often_does_not_hold_up_one_that_asks_once(
    token: TokenAtHand, shim: Shim
) -> None:
    order: list[str] = []

    async def sign(pool: KeyHolderPool, caller: str) -> None:
        await sign_for(pool, caller, leaf_tbs(token.sub_ca))
        order.append(caller)

    async with slow_pool(token, shim) as pool:
        many = [asyncio.create_task(sign(pool, "many")) for _ in range(12)]
        await asyncio.sleep(0)
        await asyncio.create_task(sign(pool, "one"))
        # Two were handed on before it asked, and one had its turn.
        assert order.index("one") <= 3
        await asyncio.gather(*many)


async def test_the_token_never_waits_for_signerd(token: TokenAtHand, shim: Shim) -> None:
    async def sign(pool: KeyHolderPool, caller: str) -> None:
        for _ in range(3):
            await sign_for(pool, caller, leaf_tbs(token.sub_ca))

    async with slow_pool(token, shim) as pool:
        before = len(shim.calls("C_Sign"))
        await asyncio.gather(*(sign(pool, str(number)) for number in range(8)))
        calls = shim.calls("C_Sign")[before:]
    assert len(calls) == 24
    at_work = sum(call.end_s - call.begin_s for call in calls if call.end_s is not None)
    assert calls[-1].end_s is not None
    # 99 % where nobody else uses the machine (make bench).
    assert at_work / (calls[-1].end_s - calls[0].begin_s) > 0.9


async def test_a_certificate_that_is_asked_for_twice_is_signed_once(token: TokenAtHand, shim: Shim) -> None:
    async with slow_pool(token, shim) as pool:
        tbs = leaf_tbs(token.sub_ca)
        before = len(shim.calls("C_Sign"))
        leaving = asyncio.create_task(sign_for(pool, "one", tbs))
        staying = asyncio.create_task(sign_for(pool, "one", tbs))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying
        assert len(shim.calls("C_Sign")) == before + 1
        assert await sign_for(pool, "one", tbs)
        assert len(shim.calls("C_Sign")) == before + 2


async def test_a_checkpoint_is_for_half_of_those_that_are_there_and_waits_for_nobody_at_an_idle_token(
    token: TokenAtHand, shim: Shim
) -> None:
    body_of = partial(checkpoint, token.log.name)
    async with slow_pool(token, shim) as pool:
        await pool.checkpoint_due()
        shim.rule("C_Sign-1057", "delay", SIGN_MS)  # CKM_EDDSA
        await pool.sign_checkpoint(body_of(1))
        entered: list[int] = []
        published = asyncio.Event()

        async def call(number: int) -> None:
            await certify(pool, str(number), leaf_tbs(token.sub_ca))
            pool.checkpoint_awaited()
            entered.append(number)
            await published.wait()

        many = [asyncio.create_task(call(number)) for number in range(20)]
        await until(lambda: bool(entered))
        await pool.checkpoint_due()
        assert LEAST_SHARED <= len(entered) <= 12  # ten, and those that are entered as this goes on
        await pool.checkpoint_due()
        assert len(entered) < 20
        await pool.checkpoint_due()
        assert len(entered) == 20  # for the last two, once the token has nothing to do
        published.set()
        await asyncio.gather(*many)


async def test_a_checkpoint_that_costs_nothing_is_never_put_off(token: TokenAtHand, shim: Shim) -> None:
    async with slow_pool(token, shim, MUCH_MS) as pool:
        for size in range(1, 21):  # as the queue finds out what one costs, also on a busy machine
            await pool.sign_checkpoint(checkpoint(token.log.name, size))
        before = len(shim.calls("C_Sign"))
        many = [
            asyncio.create_task(certify(pool, str(number), leaf_tbs(token.sub_ca))) for number in range(6)
        ]
        await until(lambda: len(shim.calls("C_Sign")) > before)
        await pool.checkpoint_due()
        assert not all(task.done() for task in many)
        await asyncio.gather(*many)


async def test_a_mac_waits_for_no_certificate_that_waits(token: TokenAtHand, shim: Shim) -> None:
    question = MacQuestion("chip-1", MacKey.CHIP, "sha256", b"transcript", bytes(32))
    async with slow_pool(token, shim, MUCH_MS) as pool:
        for _ in range(20):  # as the queue finds out what one costs, also on a busy machine
            assert await pool.check_chip_mac(question) is False
        many = [
            asyncio.create_task(certify(pool, str(number), leaf_tbs(token.sub_ca))) for number in range(6)
        ]
        await asyncio.sleep(0)
        assert await pool.check_chip_mac(question) is False
        assert sum(task.done() for task in many) <= 3  # those that were handed on before it
        await asyncio.gather(*many)


async def certify(pool: KeyHolderPool, caller: str, tbs: bytes) -> bytes:
    """As a call does it."""
    CALLER.set(caller)
    pool.demand_room()
    return await pool.sign_certificate(tbs)


async def test_beyond_a_bound_a_caller_is_told_when_to_come_back(token: TokenAtHand, shim: Shim) -> None:
    sign_ms = 500
    async with slow_pool(token, shim, sign_ms) as pool:
        most = round(LONGEST_WAIT_S / (sign_ms / 1000))
        many = [asyncio.create_task(certify(pool, "many", leaf_tbs(token.sub_ca))) for _ in range(most + 5)]
        await until(lambda: any(task.done() for task in many))
        refused = [task.exception() for task in many if task.done()]
        assert refused
        for error in refused:
            assert isinstance(error, Busy)
            assert error.code is Code.RATE_LIMITED
            assert 1 < error.retry_s < 60
        # Another one's turn comes after one of theirs.
        assert await asyncio.create_task(certify(pool, "one", leaf_tbs(token.sub_ca)))
        assert sum(task.done() for task in many) < most
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        pool.demand_room()  # nobody who has gone is counted
