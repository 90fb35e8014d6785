"""The key holder process dies, hangs or loses its token: what is under way fails, and it is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from harness.key_holders import Changes, TokenAtHand, running, until
from harness.signing_samples import checkpoint, leaf_tbs
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.client import KeyHolderProcess
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.errors import Unavailable

pytestmark = pytest.mark.check


def pid_of(holder: KeyHolderProcess) -> int:
    assert holder.pid is not None
    return holder.pid


async def test_killed_between_requests_it_is_replaced(token: TokenAtHand) -> None:
    changes = Changes()
    async with running(token.settings, token.pin, changes) as holder:
        first = pid_of(holder)
        os.kill(first, signal.SIGKILL)
        await changes.until(lambda: not holder.serving)
        with pytest.raises(Unavailable):
            await holder.sign_certificate(leaf_tbs(token.sub_ca))
        await changes.until(lambda: holder.serving)
        assert pid_of(holder) != first
        assert holder.starts == 2
        assert await holder.sign_certificate(leaf_tbs(token.sub_ca))
    assert not holder.serving


async def test_killed_in_a_signature_the_callers_hear_of_it_and_it_is_replaced(token: TokenAtHand) -> None:
    changes = Changes()
    async with running(token.settings, token.pin, changes) as holder:
        first = pid_of(holder)
        os.kill(first, signal.SIGSTOP)
        asked = [asyncio.create_task(holder.sign_certificate(leaf_tbs(token.sub_ca))) for _ in range(3)]
        await until(lambda: holder.in_flight == 3)
        os.kill(first, signal.SIGKILL)
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, Unavailable)
        await changes.until(lambda: holder.serving)
        assert await holder.sign_certificate(leaf_tbs(token.sub_ca))


async def test_one_that_hangs_is_killed_and_replaced(token: TokenAtHand) -> None:
    changes = Changes()
    async with running(replace(token.settings, deadline_s=0.3), token.pin, changes) as holder:
        first = pid_of(holder)
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="no answer within"):
            await holder.sign_certificate(leaf_tbs(token.sub_ca))
        await until(lambda: not psutil.pid_exists(first))
        await changes.until(lambda: holder.serving)
        assert pid_of(holder) != first


async def test_a_caller_that_leaves_harms_nobody(token: TokenAtHand) -> None:
    async with running(token.settings, token.pin) as holder:
        leaving = asyncio.create_task(holder.sign_certificate(leaf_tbs(token.sub_ca)))
        staying = asyncio.create_task(holder.sign_certificate(leaf_tbs(token.sub_ca)))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying
        assert holder.starts == 1


async def test_a_lost_token_replaces_it_until_the_token_is_back(own_token: TokenAtHand) -> None:
    token = own_token
    tokens = token.directory / "softhsm" / "tokens"
    changes = Changes()
    async with running(token.settings, token.pin, changes) as holder:
        tokens.rename(tokens.with_name("away"))
        tokens.mkdir()
        with pytest.raises(Unavailable):
            await holder.sign_certificate(leaf_tbs(token.sub_ca))
        await changes.until(lambda: not holder.serving)
        tokens.rmdir()
        tokens.with_name("away").rename(tokens)
        await changes.until(lambda: holder.serving)
        assert await holder.sign_certificate(leaf_tbs(token.sub_ca))


async def test_a_refusal_replaces_nothing(token: TokenAtHand) -> None:
    async with running(token.settings, token.pin) as holder:
        with pytest.raises(KeyHolderRefusal):
            await holder.sign_certificate(b"")
        assert await holder.sign_certificate(leaf_tbs(token.sub_ca))
        assert holder.starts == 1


async def test_a_pool_signs_on_while_one_of_it_is_replaced(token: TokenAtHand) -> None:
    changes = Changes()
    pool = KeyHolderPool(token.settings, 2, on_change=changes)
    try:
        await pool.start(token.pin)
        first, second = pool.pids
        os.kill(second, signal.SIGKILL)
        await until(lambda: second not in pool.pids)
        assert pool.serving
        assert await pool.sign_certificate(leaf_tbs(token.sub_ca))
        os.kill(first, signal.SIGKILL)
        await changes.until(lambda: not pool.serving)
        with pytest.raises(Unavailable):
            await pool.sign_checkpoint(checkpoint(token.log.name, 1))
        await changes.until(lambda: pool.serving)
        assert await pool.sign_checkpoint(checkpoint(token.log.name, 1))
    finally:
        await pool.stop()
    assert pool.pids == []


PARENT = """
import asyncio, sys
from pathlib import Path
from harness.key_holders import TokenAtHand, running
from signerd.config import load

async def main(directory):
    token = TokenAtHand(directory, load(directory / "signerd.toml"))
    async with running(token.settings, token.pin) as holder:
        print(holder.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["idle", "hanging"])
def test_it_dies_with_its_parent(token: TokenAtHand, stopped: bool) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(token.directory)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        if stopped:
            child.suspend()
        parent.kill()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone
