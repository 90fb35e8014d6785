"""`KeyChecks` and the process behind it, and the fake that tests of issuance have in its place."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import gmpy2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.issuance_world import QualityAtOnce
from harness.shared_primes import key_of
from signerd.adapters import key_quality
from signerd.adapters.key_quality import BUDGET, WAITING, KeyChecks, cost_s
from signerd.core.key_policy import WeakKeyError
from signerd.errors import Code, Unavailable, Unrecorded
from signerd.ports import KeyQuality

PAYER, OTHER = b"payer", b"other"
FOUND = {"good", "weak"}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, 2048).public_key()


@pytest.fixture(scope="module")
def weak() -> rsa.RSAPublicKey:
    """Of two primes that are close to each other."""
    p = gmpy2.next_prime(gmpy2.mpz(3) << 1022)
    return key_of(int(p), int(gmpy2.next_prime(p))).public_key()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def checks() -> AsyncIterator[KeyChecks]:
    checks = KeyChecks(Clock())
    checks.start()
    yield checks
    await checks.stop()


class Contract:
    """What each `KeyQuality` does."""

    async def test_a_good_key_passes_and_a_weak_one_does_not(
        self, quality: KeyQuality, key: rsa.RSAPublicKey, weak: rsa.RSAPublicKey
    ) -> None:
        await quality.check([key], PAYER)
        await quality.check([], PAYER)
        for keys in ([weak], [key, weak], [weak]):
            with pytest.raises(WeakKeyError, match="fermat"):
                await quality.check(keys, PAYER)


class TestKeyChecks(Contract):
    @pytest.fixture
    async def quality(self, checks: KeyChecks) -> KeyQuality:
        return checks


class TestQualityAtOnce(Contract):
    @pytest.fixture
    async def quality(self) -> KeyQuality:
        return QualityAtOnce()


def keys(count: int) -> list[rsa.RSAPublicKey]:
    """Moduli that differ; what they are made of does not matter."""
    return [rsa.RSAPublicNumbers(65537, (3 << 2046) + 2 * number + 1).public_key() for number in range(count)]


async def outcome(checks: KeyChecks, key: rsa.RSAPublicKey, payer: bytes = PAYER) -> str:
    try:
        await checks.check([key], payer)
    except WeakKeyError:
        return "weak"
    except Unrecorded as refusal:
        return refusal.code.value
    return "good"


async def test_a_payer_pays_by_cost_and_for_itself(checks: KeyChecks, key: rsa.RSAPublicKey) -> None:
    affordable = int(BUDGET.burst / cost_s(2048))
    told = [await outcome(checks, each) for each in keys(affordable + 5)]
    assert 5 <= told.count(Code.RATE_LIMITED) <= 6  # of sums of fractions
    assert await outcome(checks, key) == Code.RATE_LIMITED
    assert await outcome(checks, key, OTHER) == "good"
    assert await outcome(checks, key) == "good"  # known by now, at nobody's cost


async def test_so_many_may_wait_and_the_payers_take_turns(checks: KeyChecks, key: rsa.RSAPublicKey) -> None:
    ended: list[str] = []

    async def one(name: str, each: rsa.RSAPublicKey, payer: bytes) -> str:
        told = await outcome(checks, each, payer)
        ended.append(name)
        return told

    flood = [asyncio.create_task(one("flood", each, PAYER)) for each in keys(2 * WAITING)]
    await asyncio.sleep(0)
    honest = asyncio.create_task(one("honest", key, OTHER))
    told = [await each for each in flood]
    assert await honest == "good"
    assert told.count(Code.RATE_LIMITED.value) >= WAITING - 1
    # Those that were refused ended first; then one of the flood, at most two, then the honest one.
    assert ended.index("honest") <= told.count(Code.RATE_LIMITED.value) + 2


async def test_a_process_that_dies_is_replaced(checks: KeyChecks) -> None:
    first, second, third = keys(3)
    assert await outcome(checks, first) in FOUND
    process = checks._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await checks.check([second], PAYER)
    assert await outcome(checks, third) in FOUND
    assert checks._process is not process


async def test_a_process_that_hangs_is_replaced(
    checks: KeyChecks, key: rsa.RSAPublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await outcome(checks, key) == "good"
    process = checks._process
    assert process is not None
    monkeypatch.setattr(key_quality, "DEADLINE_S", 0.2)
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await checks.check(keys(1), PAYER)
    monkeypatch.setattr(key_quality, "DEADLINE_S", 10.0)
    assert await outcome(checks, keys(2)[1]) in FOUND
    assert process.returncode is not None


async def test_the_end_answers_who_waits_and_leaves_no_process(key: rsa.RSAPublicKey) -> None:
    checks = KeyChecks(Clock())
    checks.start()
    assert await outcome(checks, key) == "good"
    process = checks._process
    waiting = [asyncio.create_task(checks.check([each], PAYER)) for each in keys(3)]
    await asyncio.sleep(0)
    await checks.stop()
    for each in waiting:
        with pytest.raises(Unavailable):
            await each
    assert process is not None
    assert process.returncode is not None
