"""Whoever writes to signerd's disk, against keys that are sealed to a token: its public key is in the file,
so anybody can seal to it. What is not the installation's own secret is not used."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness.key_holders import ALL_SEALED, TokenAtHand, make_token, running
from signerd.adapters.keyholder.channel import KeyHolderRefusal, open_channel
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.adapters.keyholder.protocol import Operation
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.config import load
from signerd.core.recipient import Recipient
from signerd.core.sealing import KeyRole, SealedSecrets, commitment, seal
from signerd.errors import Unavailable

pytestmark = pytest.mark.check

FOREIGN = bytes(range(32))


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> TokenAtHand:
    return make_token(tmp_path_factory.mktemp("sealed") / "dev", ALL_SEALED)


@pytest.fixture(scope="module")
def other_token(tmp_path_factory: pytest.TempPathFactory) -> TokenAtHand:
    """Of the same labels, and another installation's."""
    return make_token(tmp_path_factory.mktemp("other") / "dev", ALL_SEALED)


@pytest.fixture
def disk(token: TokenAtHand, tmp_path: Path) -> TokenAtHand:
    """The installation's files, but for the token's, and with them its token."""
    shutil.copytree(token.directory, tmp_path / "dev", ignore=shutil.ignore_patterns("softhsm"))
    return TokenAtHand(tmp_path / "dev", load(tmp_path / "dev" / "signerd.toml"))


def own(token: TokenAtHand) -> SealedSecrets:
    assert token.config.hsm.sealed is not None
    return read_sealed_file(token.config.hsm.sealed)


def put(token: TokenAtHand, sealed: SealedSecrets) -> None:
    assert token.config.hsm.sealed is not None
    token.config.hsm.sealed.write_bytes(sealed.encode())


async def serve(token: TokenAtHand) -> None:
    async with running(token.settings, token.pin):
        pass


async def personalize(token: TokenAtHand) -> bytes:
    return (await derive_chip_keys(token.config.hsm, token.pin, ["chip-1"]))["chip-1"]


async def test_the_honest_twin_serves_and_derives(disk: TokenAtHand, token: TokenAtHand) -> None:
    await serve(disk)
    assert await personalize(disk) == await personalize(token)


@pytest.mark.parametrize("role", list(KeyRole))
async def test_a_secret_that_somebody_else_sealed_to_the_same_token(disk: TokenAtHand, role: KeyRole) -> None:
    sealed = own(disk)
    foreign = seal(sealed.origin, {role: FOREIGN}, sealed.recipients)
    put(disk, replace(sealed, secrets={**sealed.secrets, **foreign.secrets}))
    with pytest.raises(Unavailable, match=f"the sealed {role} secret is not this installation's"):
        await serve(disk)
    if role is KeyRole.CHIP_MASTER:
        with pytest.raises(Unavailable, match="is not this installation's"):
            await personalize(disk)


async def test_a_master_key_of_another_log_with_the_commitment_of_the_settings(disk: TokenAtHand) -> None:
    sealed = own(disk)
    put(disk, seal("other/log", dict.fromkeys(sealed.secrets, FOREIGN), sealed.recipients))
    claimed = commitment(KeyRole.CHIP_MASTER, sealed.origin, FOREIGN).hex()
    hsm = disk.config.hsm.model_copy(update={"master_commitment": claimed})
    with pytest.raises(Unavailable, match="is not this installation's"):
        await derive_chip_keys(hsm, disk.pin, ["chip-1"])


async def test_one_secret_in_the_place_of_the_other(disk: TokenAtHand) -> None:
    sealed = own(disk)
    first, second = sealed.secrets
    swapped = {first: sealed.secrets[second], second: sealed.secrets[first]}
    put(disk, replace(sealed, secrets=swapped))
    with pytest.raises(Unavailable, match="does not open with this key"):
        await serve(disk)


async def test_a_copied_disk_without_the_token(disk: TokenAtHand, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {empty}\n", encoding="utf-8")
    environment = {"SOFTHSM2_CONF": str(settings)}
    with pytest.raises(Unavailable, match="the module has no token"):
        await serve(with_environment(disk, environment))


async def test_a_copied_disk_with_another_token(disk: TokenAtHand, other_token: TokenAtHand) -> None:
    """It is of the same labels, and the thief knows its PIN."""
    moved = with_environment(disk, other_token.config.hsm.environment)
    (moved.directory / "hsm.pin").unlink()
    shutil.copy(other_token.directory / "hsm.pin", moved.directory)
    with pytest.raises(Unavailable, match="not sealed to this key"):
        await serve(moved)
    with pytest.raises(Unavailable, match="not sealed to this key"):
        await personalize(moved)


async def test_a_serving_key_holder_seals_nothing_to_a_key_of_the_attackers(disk: TokenAtHand) -> None:
    """Who has the daemon has the line to its key holder, and the PIN in it."""
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    own_key = Recipient.of(stranger).spki()
    settings = disk.settings
    channel = await open_channel(
        settings.setup,
        HeldPin(disk.pin),
        environment=settings.environment,
        deadline_s=settings.deadline_s,
        login_s=settings.start_deadline_s,
    )
    try:
        with pytest.raises(KeyHolderRefusal, match="no operation"):
            await channel.request(Operation.RESEAL, own_key)
    finally:
        await channel.stop()


def with_environment(token: TokenAtHand, environment: dict[str, str]) -> TokenAtHand:
    hsm = token.config.hsm.model_copy(update={"environment": environment})
    return replace(token, config=token.config.model_copy(update={"hsm": hsm}))
