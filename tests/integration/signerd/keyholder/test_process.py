"""The process itself: one thread, nothing to read from outside, no operation beyond its mode."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.key_holders import TokenAtHand, running
from harness.signing_samples import checkpoint, leaf_tbs
from harness.software_key_holder import make_device_tree
from signerd.adapters.keyholder.channel import Channel, KeyHolderRefusal, open_channel
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.adapters.keyholder.pool import settings_with, setup_for
from signerd.adapters.keyholder.protocol import Mode, Operation, frame
from signerd.core.note import VerifierKey
from signerd.errors import Unavailable

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def channel_in(token: TokenAtHand, mode: Mode) -> Channel:
    setup = token.settings.setup if mode is Mode.SERVE else setup_for(token.config.hsm, mode)
    return await open_channel(
        setup, HeldPin(token.pin), environment=token.settings.environment, deadline_s=10, login_s=30
    )


def threads(pid: int | None) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@linux
async def test_it_has_one_thread_while_it_works(token: TokenAtHand) -> None:
    async with running(token.settings, token.pin) as holder:
        asked = [asyncio.create_task(holder.sign_certificate(leaf_tbs(token.sub_ca))) for _ in range(50)]
        asked += [asyncio.create_task(holder.sign_checkpoint(checkpoint(token.log.name, 1)))]
        seen = {threads(holder.pid)}
        for answer in asyncio.as_completed(asked):
            await answer
            seen.add(threads(holder.pid))
        assert seen == {1}


@linux
async def test_pin_is_neither_in_arguments_nor_in_environment_and_it_leaves_no_core(
    token: TokenAtHand,
) -> None:
    async with running(token.settings, token.pin) as holder:
        process = Path(f"/proc/{holder.pid}")
        assert token.pin not in (process / "cmdline").read_bytes()
        limits = (process / "limits").read_text(encoding="ascii").splitlines()
        (core,) = (line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        # Not dumpable: the kernel gives these files to root, whoever the process belongs to.
        assert (process / "environ").stat().st_uid == 0
        try:
            environment = (process / "environ").read_bytes()
        except PermissionError:
            return
        assert token.pin not in environment


@pytest.mark.parametrize("operation", [Operation.DERIVE_CHIP_KEY, Operation.GENERATE_KEYS, Operation.RESEAL])
async def test_the_daemons_key_holder_gives_no_key_and_makes_none(
    token: TokenAtHand, operation: Operation
) -> None:
    channel = await channel_in(token, Mode.SERVE)
    try:
        with pytest.raises(KeyHolderRefusal, match="no operation"):
            await channel.request(operation, "chip-1")
    finally:
        await channel.stop()


@pytest.mark.parametrize(
    "operation", [Operation.SIGN_CERTIFICATE, Operation.SIGN_CRL, Operation.SIGN_CHECKPOINT]
)
@pytest.mark.parametrize("mode", [Mode.PERSONALIZE, Mode.GENERATE])
async def test_no_other_mode_signs(token: TokenAtHand, mode: Mode, operation: Operation) -> None:
    channel = await channel_in(token, mode)
    try:
        with pytest.raises(KeyHolderRefusal, match="no operation"):
            await channel.request(operation, leaf_tbs(token.sub_ca))
    finally:
        await channel.stop()


async def test_personalization_refuses_what_is_no_chip_id(token: TokenAtHand) -> None:
    keys = await derive_chip_keys(token.config.hsm, token.pin, ["a", "b"])
    assert len(keys["a"]) == 32
    assert keys["a"] != keys["b"]
    with pytest.raises(KeyHolderRefusal, match="not a chip id"):
        await derive_chip_keys(token.config.hsm, token.pin, ["a", "b c"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("chip-1", "chip", "sha384"),
        ("chip-1", "psa-iak", "sha1"),
        ("chip-1", "master", "sha256"),
        ("chip-1", "psa-iak", ["sha256"]),
        ("chip-1", 1, "sha256"),
    ],
)
async def test_personalization_derives_no_other_key(
    token: TokenAtHand, arguments: tuple[object, ...]
) -> None:
    channel = await channel_in(token, Mode.PERSONALIZE)
    try:
        with pytest.raises(KeyHolderRefusal, match="no such key"):
            await channel.request(Operation.DERIVE_CHIP_KEY, *arguments)
        assert await channel.request(Operation.DERIVE_CHIP_KEY, "chip-1", "psa-iak", "sha256")
    finally:
        await channel.stop()


async def test_existing_keys_are_never_replaced(token: TokenAtHand) -> None:
    channel = await channel_in(token, Mode.GENERATE)
    try:
        with pytest.raises(KeyHolderRefusal, match="already"):
            await channel.request(Operation.GENERATE_KEYS, "p256", "ca", "example/log", [], [])
    finally:
        await channel.stop()


async def test_a_line_that_is_no_protocol_ends_it(token: TokenAtHand) -> None:
    channel = await channel_in(token, Mode.SERVE)
    transport = channel._transport
    assert transport is not None
    transport.write(b"\xff\xff\xff\xff")
    async with asyncio.timeout(60):
        await channel.closed.wait()
    await channel.stop()


def test_a_first_frame_that_is_no_setup_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "signerd.adapters.keyholder.process"],
            stdin=theirs.fileno(),
        )
        theirs.close()
        ours.sendall(frame({"mode": "serve"}))
        assert process.wait(timeout=60) == 1
        assert ours.recv(1) == b""


async def test_certificate_and_key_must_belong_together(token: TokenAtHand) -> None:
    other = make_device_tree().sub_ca
    settings = settings_with(token.config, other, token.log.text())
    with pytest.raises(Unavailable, match="not the one of the CA's certificate"):
        async with running(settings, token.pin):
            pass


async def test_verifier_key_and_key_must_belong_together(token: TokenAtHand) -> None:
    other = VerifierKey(token.log.name, make_other_key()).text()
    with pytest.raises(Unavailable, match="not the one of the log's verifier key"):
        async with running(settings_with(token.config, token.sub_ca, other), token.pin):
            pass


def make_other_key() -> bytes:
    return Ed25519PrivateKey.generate().public_key().public_bytes_raw()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ca_key": "no-such-key"}, "NoSuchKey"),
        ({"token": "no-such-token"}, "no token 'no-such-token'; it has 'birthmark-dev'"),
        ({"module": "/nowhere/module.so"}, "cannot load"),
        ({"certificate": b"none"}, "did not start"),
    ],
)
async def test_what_is_missing_is_named(
    token: TokenAtHand, change: dict[str, str | bytes], reason: str
) -> None:
    setup = replace(token.settings.setup, **change)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=reason):
        async with running(replace(token.settings, setup=setup), token.pin):
            pass


EXTRACTABLE = """
import pkcs11, sys
from pkcs11 import Attribute, KeyType, MechanismFlag
module, label = sys.argv[1:]
token = pkcs11.lib(module).get_token(token_label=label)
with token.open(rw=True, user_pin=sys.stdin.read()) as session:
    session.generate_key(KeyType.GENERIC_SECRET, 256, label="open", store=True,
        capabilities=MechanismFlag.SIGN, template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False})
"""


async def test_a_key_that_can_be_read_out_is_not_used(own_token: TokenAtHand) -> None:
    token = own_token
    hsm = token.config.hsm
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", EXTRACTABLE, str(hsm.module), hsm.token),
        stdin=asyncio.subprocess.PIPE,
        env=dict(hsm.environment),
    )
    await made.communicate(token.pin)
    assert made.returncode == 0
    setup = replace(token.settings.setup, master_key="open")
    with pytest.raises(Unavailable, match="can be read out"):
        async with running(replace(token.settings, setup=setup), token.pin):
            pass
