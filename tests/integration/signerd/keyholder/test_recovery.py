"""Whatever took the token away, a key holder serves again soon after it is back, with one login."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.key_holders import Changes, TokenAtHand, running, until
from harness.shim import CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_USER_NOT_LOGGED_IN, Shim
from harness.signing_samples import leaf_tbs
from signerd.adapters.keyholder.channel import SignatureDamaged
from signerd.adapters.keyholder.client import KeyHolderProcess
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.errors import Unavailable

# Five seconds where nobody else uses the machine (`tests/unit/…/test_patience.py` counts them); a login that
# was not ended early is beyond this too.
SOON_S = 20.0
ATTEMPTS = 2  # of processes to reach the token, before it comes back

pytestmark = pytest.mark.check


@dataclass(frozen=True)
class Trouble:
    begin: Callable[[Shim], None]
    end: Callable[[Shim], None]


def rule(function: str, action: str, value: int = 0) -> Trouble:
    return Trouble(
        lambda shim: shim.rule(function, action, value),  # type: ignore[arg-type]
        lambda shim: shim.clear(function, action),  # type: ignore[arg-type]
    )


TROUBLES = {
    "pulled": Trouble(Shim.pull, Shim.put_back),
    "login hangs": rule("C_Login", "hang"),
    "signature hangs": rule("C_Sign", "hang"),
    "signature crashes": rule("C_Sign", "crash"),
    "signature is garbage": rule("C_Sign", "garble"),
    "session is lost": rule("C_SignInit", "drop"),
    "user is logged out": rule("C_SignInit", "fail", CKR_USER_NOT_LOGGED_IN),
    "module does not start": rule("C_Initialize", "fail", CKR_GENERAL_ERROR),
}


@pytest.mark.parametrize("name", TROUBLES)
async def test_it_serves_again_when_the_cause_is_over(
    token: TokenAtHand, shim: Shim, name: str, record_property: Callable[[str, object], None]
) -> None:
    changes = Changes()
    tbs = leaf_tbs(token.sub_ca)
    async with running(shim.before(token.settings), token.pin, changes) as holder:
        await holder.sign_certificate(tbs)
        assert holder.pid is not None
        TROUBLES[name].begin(shim)
        os.kill(holder.pid, signal.SIGKILL)
        await until(lambda: len(shim.calls("C_Initialize")) >= 1 + ATTEMPTS)
        assert not holder.serving
        TROUBLES[name].end(shim)
        over_s = time.monotonic()
        await changes.until(lambda: holder.serving)
        assert await holder.sign_certificate(tbs)
        took_s = time.monotonic() - over_s
        record_property("seconds from the cause's end", round(took_s, 2))
        print(f"{name}: serves {took_s:.2f} s after the cause's end")
        assert took_s < SOON_S
        assert holder.starts == 2
        # Those that served; the others failed at or after theirs, and the PIN was never the reason.
        served = {holder.pid, shim.calls("C_Login")[0].pid}
        assert [call.rv for call in shim.calls("C_Login") if call.pid in served] == [0, 0]


@pytest.mark.parametrize(
    ("function", "action", "value"),
    [
        ("C_Sign", "fail", CKR_DEVICE_ERROR),
        ("C_Sign", "drop", 0),
        ("C_Sign", "crash", 0),
        ("C_SignInit", "fail", CKR_USER_NOT_LOGGED_IN),
    ],
)
async def test_a_failure_of_one_call_costs_one_login(
    token: TokenAtHand, shim: Shim, function: str, action: str, value: int
) -> None:
    changes = Changes()
    tbs = leaf_tbs(token.sub_ca)
    async with running(shim.before(token.settings), token.pin, changes) as holder:
        shim.rule(function, action, value, times=1)  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await holder.sign_certificate(tbs)
        await changes.until(lambda: holder.serving)
        assert await holder.sign_certificate(tbs)
    assert len(shim.calls("C_Login")) == 2


async def test_one_garbage_signature_costs_one_login_and_no_caller(token: TokenAtHand, shim: Shim) -> None:
    tbs = leaf_tbs(token.sub_ca)
    async with running(shim.before(token.settings), token.pin) as holder:
        shim.rule("C_Sign", "garble", times=1)
        assert await holder.sign_certificate(tbs)
    assert len(shim.calls("C_Login")) == 2


async def test_where_garbage_recurs_nothing_is_tried_again(token: TokenAtHand, shim: Shim) -> None:
    """The token's self-test holds, and what signerd asks for does not."""

    class AgainOnceItServes(Changes):
        def __call__(self) -> None:
            super().__call__()
            if holder.starts == 2 and holder.serving:  # before the caller, who waits, goes on
                shim.rule("C_Sign", "garble", times=1)

    changes = AgainOnceItServes()
    tbs = leaf_tbs(token.sub_ca)
    holder = KeyHolderProcess(shim.before(token.settings), on_change=changes)
    try:
        await holder.start(HeldPin(token.pin))
        shim.rule("C_Sign", "garble", times=1)
        with pytest.raises(Unavailable, match="no signature"):
            await holder.sign_certificate(tbs)
        assert isinstance(await holder.wait_given_up(), SignatureDamaged)
        assert (holder.serving, holder.starts) == (False, 2)
    finally:
        await holder.stop()
