"""A wrong PIN reaches the token once, and never again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from harness.key_holders import PATIENCE_S, Changes, TokenAtHand, running
from harness.shim import CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, Shim
from harness.signing_samples import leaf_tbs
from signerd.adapters.keyholder.channel import open_channel
from signerd.adapters.keyholder.client import KeyHolderProcess, KeyHolderSettings
from signerd.adapters.keyholder.held_pin import HeldPin, WrongPin
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.adapters.keyholder.pool import KeyHolderPool, rejected_pins, setup_for
from signerd.adapters.keyholder.protocol import Mode, Operation
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.errors import Unavailable

pytestmark = pytest.mark.check

FLAGS = """
import pkcs11, sys
from pkcs11 import TokenFlag
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
print(bool(token.flags & TokenFlag.USER_PIN_COUNT_LOW))
"""


def pin_count_is_low(token: TokenAtHand) -> bool:
    hsm = token.config.hsm
    command = [sys.executable, "-c", FLAGS, str(hsm.module), hsm.token]
    done = subprocess.run(command, env=dict(hsm.environment), capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


def logins(shim: Shim) -> int:
    """Calls of C_Login so far, of all processes."""
    return len(shim.calls("C_Login"))


@pytest.fixture
def own_shim(own_token: TokenAtHand, tmp_path: Path) -> Shim:
    """Before the module of the token of this test alone."""
    return Shim.build(tmp_path / "shim", before=own_token.config.hsm.module)


async def test_a_right_pin_logs_in_once_a_process(token: TokenAtHand, shim: Shim) -> None:
    async with running(shim.before(token.settings), token.pin) as holder:
        await holder.sign_certificate(leaf_tbs(token.sub_ca))
    assert logins(shim) == 1


async def test_a_wrong_pin_is_tried_once(own_token: TokenAtHand, own_shim: Shim) -> None:
    pin = HeldPin(b"not the PIN")
    holder = KeyHolderProcess(own_shim.before(own_token.settings))
    for _ in range(3):
        with pytest.raises(WrongPin):
            await holder.start(pin)
    assert logins(own_shim) == 1
    assert not holder.serving


async def test_a_pool_tries_a_wrong_pin_once(own_token: TokenAtHand, own_shim: Shim) -> None:
    pool = KeyHolderPool(own_shim.before(own_token.settings), 4, on_change=lambda: None)
    with pytest.raises(WrongPin):
        await pool.start(b"not the PIN")
    assert logins(own_shim) == 1


async def test_the_token_counts_a_wrong_pin(own_token: TokenAtHand) -> None:
    assert not pin_count_is_low(own_token)
    with pytest.raises(WrongPin, match="CKR_PIN_INCORRECT"):
        async with running(own_token.settings, b"not the PIN"):
            pass
    assert pin_count_is_low(own_token)
    async with running(own_token.settings, own_token.pin):
        pass
    assert not pin_count_is_low(own_token)


async def test_a_pin_changed_meanwhile_is_not_tried_again(own_token: TokenAtHand) -> None:
    changes = Changes()
    settings = own_token.settings
    async with running(settings, own_token.pin, changes) as holder:
        await change_pin(own_token, b"another PIN")
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            known = await holder.wait_given_up()
        assert "CKR_PIN_INCORRECT" in known.detail
        assert holder.starts == 1
        assert not holder.serving
        with pytest.raises(WrongPin):
            await holder.sign_certificate(leaf_tbs(own_token.sub_ca))
        assert pin_count_is_low(own_token)


async def change_pin(token: TokenAtHand, new: bytes) -> None:
    channel = await open_channel(
        setup_for(token.config.hsm, Mode.GENERATE),
        HeldPin(token.pin),
        environment=token.settings.environment,
        deadline_s=10,
        login_s=30,
    )
    await channel.request(Operation.CHANGE_PIN, new)
    await channel.stop()


async def test_personalization_says_so_too(own_token: TokenAtHand) -> None:
    with pytest.raises(WrongPin):
        await derive_chip_keys(own_token.config.hsm, b"not the PIN", ["chip-1"])


async def test_a_wrong_pin_is_a_fault_that_the_peer_hears_as_unavailable() -> None:
    pin = HeldPin(b"1234")
    assert "1234" not in repr(pin)
    error = pin.reject("no")
    assert isinstance(error, Unavailable)
    with pytest.raises(WrongPin):
        async with pin.attempt():
            pass


async def start(settings: KeyHolderSettings, pin: bytes) -> None:
    """As a new start of signerd does it."""
    pool = KeyHolderPool(settings, 1, on_change=lambda: None)
    try:
        await pool.start(pin)
    finally:
        await pool.stop()


async def test_a_later_start_tries_no_rejected_pin_again(own_token: TokenAtHand, own_shim: Shim) -> None:
    settings = own_shim.before(own_token.settings)
    with pytest.raises(WrongPin, match="CKR_PIN_INCORRECT"):
        await start(settings, b"not the PIN")
    for _ in range(2):
        with pytest.raises(WrongPin, match="not tried again"):
            await start(settings, b"not the PIN")
    with pytest.raises(WrongPin, match="not tried again"):
        await derive_chip_keys(
            own_token.config.hsm, b"not the PIN", ["chip-1"], rejected=rejected_pins(own_token.config)
        )
    assert logins(own_shim) == 1
    await start(settings, own_token.pin)
    with pytest.raises(WrongPin, match="not tried again"):
        await start(settings, b"not the PIN")
    assert logins(own_shim) == 2


async def test_the_file_holds_no_pin_and_another_tokens_are_its_own(own_token: TokenAtHand) -> None:
    noted = rejected_pins(own_token.config)
    noted.add(b"the wrong one")
    assert noted.file.stat().st_mode & 0o777 == 0o600
    assert b"the wrong one" not in noted.file.read_bytes()
    assert noted.since(b"the wrong one")
    assert noted.since(own_token.pin) is None
    other = RejectedPins(noted.file, module=str(own_token.config.hsm.module), token="another")
    assert other.since(b"the wrong one") is None


async def test_a_look_takes_as_long_however_many_are_noted(
    own_token: TokenAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = rejected_pins(own_token.config)
    wrong = [f"wrong {number}".encode() for number in range(4)]
    for pin in wrong:
        noted.add(pin, ["its label", "1234"])
    counted = Mock(side_effect=hashlib.scrypt)
    with monkeypatch.context() as slow:
        slow.setattr("hashlib.scrypt", counted)
        assert noted.since(own_token.pin) is None
    assert counted.call_count <= 2
    assert all(noted.since(pin) for pin in wrong)


async def test_a_start_that_dies_before_the_note_is_written_leaves_the_one_before(
    own_token: TokenAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = rejected_pins(own_token.config)
    noted.add(b"first")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", dies)
        with pytest.raises(KeyboardInterrupt):
            noted.add(b"second")
    assert noted.since(b"first")
    assert noted.since(b"second") is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b'{"v": 3, "rejected": []}',
        b'{"v": 1, "rejected": [1]}',
        b'{"v": 1, "rejected": [{"salt": "", "scrypt": "\\u00e9", "at": ""}]}',
    ],
)
async def test_a_file_that_cannot_be_read_lets_no_pin_through(
    own_token: TokenAtHand, own_shim: Shim, damage: bytes
) -> None:
    rejected_pins(own_token.config).file.write_bytes(damage)
    with pytest.raises(WrongPin, match="remove the file"):
        await start(own_shim.before(own_token.settings), own_token.pin)
    assert logins(own_shim) == 0


@pytest.mark.parametrize("flag", [CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED])
async def test_a_token_with_one_try_left_is_left_alone_and_the_pin_is_not_held_against(
    own_token: TokenAtHand, own_shim: Shim, flag: int
) -> None:
    settings = own_shim.before(own_token.settings)
    own_shim.rule("C_GetTokenInfo", "flags", flag)
    for _ in range(2):
        with pytest.raises(WrongPin, match="lock"):
            await start(settings, own_token.pin)
    assert logins(own_shim) == 0
    own_shim.clear("C_GetTokenInfo", "flags")
    await start(settings, own_token.pin)
