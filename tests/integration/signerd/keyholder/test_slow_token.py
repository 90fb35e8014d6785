"""A slow token is no hung one: the deadline belongs to the one operation at work, and each answer of a slow
token goes out when it is there."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from harness.key_holders import Changes, TokenAtHand, running
from harness.shim import Shim
from harness.signing_samples import crl_tbs, leaf_tbs
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.patience import LEAST_OPERATION_S
from signerd.errors import Unavailable

pytestmark = pytest.mark.check


async def sign_all(
    shim: Shim, token: TokenAtHand, requests: int, *, sign_ms: int, deadline_s: float
) -> list[float]:
    """Asks for signatures at once; the moments at which each came."""
    tbs = leaf_tbs(token.sub_ca)
    settings = replace(shim.before(token.settings), deadline_s=deadline_s)
    moments: list[float] = []
    async with running(settings, token.pin) as holder:
        shim.rule("C_Sign", "delay", sign_ms)

        async def sign() -> None:
            await holder.sign_certificate(tbs)
            moments.append(time.monotonic())

        await asyncio.gather(*(sign() for _ in range(requests)))
        assert holder.starts == 1
    # Where a token becomes slow at once, a second process looks whether its first signature hangs.
    assert len(shim.calls("C_Login")) <= (1 if sign_ms < 1_000 * LEAST_OPERATION_S else 2)
    return moments


async def test_a_deadline_of_many_signatures_holds_for_each_of_them(token: TokenAtHand, shim: Shim) -> None:
    # They take 3.2 s together: a deadline for all of them would kill a process that works.
    await sign_all(shim, token, 8, sign_ms=400, deadline_s=2.5)


@pytest.mark.soak
@pytest.mark.parametrize("sign_ms", [1500, 5000])
async def test_sixteen_at_once_at_a_slow_token_are_all_signed(
    token: TokenAtHand, shim: Shim, sign_ms: int
) -> None:
    await sign_all(shim, token, 16, sign_ms=sign_ms, deadline_s=10)


async def test_a_slow_answer_waits_for_no_other(token: TokenAtHand, shim: Shim) -> None:
    moments = await sign_all(shim, token, 16, sign_ms=50, deadline_s=10)
    ends = [call.end_s for call in shim.calls("C_Sign")][-16:]
    # Each came before the token had ended the one after the next: by order, as a busy machine is late.
    late = sum(end is not None and moment > end for moment, end in zip(moments[:-2], ends[2:], strict=True))
    assert late <= 4  # sent by eights, twelve would be


async def test_a_fast_answer_does_not_wait_for_a_slow_operation(token: TokenAtHand, shim: Shim) -> None:
    async with running(shim.before(token.settings), token.pin) as holder:
        shim.rule("C_Sign", "delay", 50)
        await holder.sign_crl(crl_tbs(token.sub_ca))  # now it is known that these are slow
        shim.rule("C_Sign", "delay", 1_000)
        refused = asyncio.create_task(holder.sign_certificate(b""))  # costs the token nothing
        signed = asyncio.create_task(holder.sign_crl(crl_tbs(token.sub_ca)))
        done, _ = await asyncio.wait((refused, signed), return_when=asyncio.FIRST_COMPLETED)
        assert done == {refused}
        with pytest.raises(KeyHolderRefusal):
            await refused
        await signed


async def test_a_hang_in_a_signature_is_ended_after_the_deadline(token: TokenAtHand, shim: Shim) -> None:
    tbs = leaf_tbs(token.sub_ca)
    changes = Changes()
    async with running(replace(shim.before(token.settings), deadline_s=2.0), token.pin, changes) as holder:
        await holder.sign_certificate(tbs)
        shim.rule("C_Sign", "hang", times=1)
        answers = await asyncio.gather(
            *(holder.sign_certificate(tbs) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(answer, Unavailable) for answer in answers)
        await changes.until(lambda: holder.serving)
        assert await holder.sign_certificate(tbs)
        assert holder.starts == 2
    assert len(shim.calls("C_Login")) == 2


async def test_a_hang_is_found_out_by_another_process_long_before_the_deadline(
    token: TokenAtHand, shim: Shim
) -> None:
    tbs = leaf_tbs(token.sub_ca)
    changes = Changes()
    async with running(replace(shim.before(token.settings), deadline_s=120.0), token.pin, changes) as holder:
        await holder.sign_certificate(tbs)
        shim.rule("C_Sign", "hang", times=1)
        begun_s = time.monotonic()
        with pytest.raises(Unavailable):
            await holder.sign_certificate(tbs)
        await changes.until(lambda: holder.serving)
        assert await holder.sign_certificate(tbs)
        took_s = time.monotonic() - begun_s
        print(f"a signature hangs: serves {took_s:.2f} s after its begin")
        assert took_s < 60  # five seconds where nobody else uses the machine
        assert holder.starts == 2
    assert len(shim.calls("C_Login")) == 2


async def test_a_token_that_becomes_slow_keeps_its_process(token: TokenAtHand, shim: Shim) -> None:
    tbs = leaf_tbs(token.sub_ca)
    async with running(replace(shim.before(token.settings), deadline_s=120.0), token.pin) as holder:
        pid = holder.pid
        shim.rule("C_Sign", "delay", round(1_200 * LEAST_OPERATION_S))
        for _ in range(2):
            assert await holder.sign_certificate(tbs)
        assert (holder.pid, holder.starts) == (pid, 1)
        # The second signature was no surprise any more.
        assert len(shim.calls("C_Initialize")) <= 2
