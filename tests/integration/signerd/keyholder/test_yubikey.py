"""A key holder on a YubiKey: its slots, the card pulled and put back, a token that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from harness.key_holders import Changes, running
from harness.signing_samples import checkpoint, crl_tbs, leaf_tbs
from harness.yubikey_key_holders import SEALING_SLOT, YubiKeyAtHand, at_hand
from signerd.adapters.keyholder.client import KeyHolderProcess
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.errors import Unavailable
from tokens import presence, yubikey
from tokens.piv_card import PivCard
from tokens.piv_keys import Secret
from tokens.yubikey import VirtualYubiKey

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def key() -> Iterator[VirtualYubiKey]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=41)) as key:
        for slot in ("9a", "9c", "82", SEALING_SLOT):
            key.generate(slot)
        yield key


@pytest.fixture(scope="module")
def held(key: VirtualYubiKey) -> YubiKeyAtHand:
    return at_hand(key, "9a")


async def demand_a_crl(holder: KeyHolderProcess, held: YubiKeyAtHand) -> None:
    tbs = crl_tbs(held.sub_ca)
    public = held.sub_ca.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(await holder.sign_crl(tbs), tbs, ec.ECDSA(hashes.SHA256()))


async def demand_a_certificate(holder: KeyHolderProcess, held: YubiKeyAtHand) -> None:
    tbs = leaf_tbs(held.sub_ca)
    signature = await holder.sign_certificate(tbs)
    public = held.sub_ca.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, tbs, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("slot", ["82", "9c"])  # 9c wants the PIN before each signature
async def test_signs_with_a_key_in_another_slot(key: VirtualYubiKey, slot: str) -> None:
    held = at_hand(key, slot)
    for _ in range(2):  # a restart between
        async with running(held.settings, held.pin) as holder:
            await demand_a_certificate(holder, held)
            await demand_a_crl(holder, held)


@pytest.mark.parametrize("slot", ["82", "9c"])
async def test_signs_with_a_key_in_another_slot_once_the_card_is_back(key: VirtualYubiKey, slot: str) -> None:
    held, changes = at_hand(key, slot), Changes()
    (card,) = key.cards
    async with running(held.settings, held.pin, changes) as holder:
        await demand_a_certificate(holder, held)
        await asyncio.to_thread(key.pull)
        with pytest.raises(Unavailable):
            await demand_a_certificate(holder, held)
        await changes.until(lambda: not holder.serving)
        await asyncio.to_thread(key.put_in)
        await changes.until(lambda: holder.serving)
        await demand_a_certificate(holder, held)
        assert holder.starts == 2
    assert card.pin.left == 3


async def test_opens_what_is_sealed_to_an_rsa_key() -> None:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=42)) as key:
        key.generate("9a")
        key.generate(SEALING_SLOT, "RSA2048")
        held = at_hand(key, "9a")
        async with running(held.settings, held.pin) as holder:
            body = checkpoint(held.log.name, 5)
            signature = await holder.sign_checkpoint(body)
            Ed25519PublicKey.from_public_bytes(held.log.public_key).verify(signature, body)


async def test_a_pin_that_was_changed_meanwhile_is_tried_once(key: VirtualYubiKey) -> None:
    held = at_hand(key, "9c")
    (card,) = key.cards
    usual = card.pin
    async with running(held.settings, held.pin) as holder:
        await demand_a_certificate(holder, held)
        card.pin = Secret(b"654321")
        with pytest.raises(Unavailable):
            await demand_a_certificate(holder, held)
        assert isinstance(await holder.wait_given_up(), WrongPin)
        with pytest.raises(WrongPin):
            await demand_a_certificate(holder, held)
    assert (card.pin.left, card.pin.tries) == (2, 3)
    card.pin = usual


async def test_a_card_that_was_pulled_serves_again_once_it_is_back(
    key: VirtualYubiKey, held: YubiKeyAtHand
) -> None:
    changes = Changes()
    (card,) = key.cards
    async with running(held.settings, held.pin, changes) as holder:
        await demand_a_certificate(holder, held)
        logins = card.uses.pins
        await asyncio.to_thread(key.pull)
        with pytest.raises(Unavailable):
            await demand_a_certificate(holder, held)
        await changes.until(lambda: not holder.serving)
        await asyncio.to_thread(key.put_in)
        await changes.until(lambda: holder.serving)
        await demand_a_certificate(holder, held)
    assert card.uses.pins == logins + 1
    assert card.pin.left == 3


async def test_a_card_that_hangs_costs_the_process_and_serves_again(
    key: VirtualYubiKey, held: YubiKeyAtHand
) -> None:
    changes = Changes()
    async with running(replace(held.settings, deadline_s=2.0), held.pin, changes) as holder:
        await demand_a_certificate(holder, held)
        key.hang()
        try:
            with pytest.raises(Unavailable):
                await demand_a_certificate(holder, held)
        finally:
            key.answer()
        await changes.until(lambda: holder.serving)
        await demand_a_certificate(holder, held)
