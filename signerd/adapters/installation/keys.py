"""Keys in the token, made by a key holder process: signerd itself never loads a PKCS#11 module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from signerd.adapters.installation.places import Places
from signerd.adapters.keyholder.channel import Channel, KeyHolderRefusal, open_channel
from signerd.adapters.keyholder.client import KeyHolderProcess, KeyHolderSettings
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.pool import setup_for, setup_of_checkpoint_key, setup_of_issuer
from signerd.adapters.keyholder.protocol import Mode, Operation, Setup
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.adapters.pin import read_pin
from signerd.config import AnyTokenSettings, CheckpointKeySettings, HsmSettings, TokenSettings
from signerd.core.issuer_algorithm import KEY_TYPES
from signerd.core.names import Place
from signerd.errors import ConfigError, Fault, Unavailable

_KEY_GENERATION_S = 120.0  # small tokens take their time


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What leaves the token when its keys are made."""

    request: x509.CertificateSigningRequest  # of the sub-CA
    checkpoint_key: bytes  # Ed25519 public key, 32 bytes
    sealed: bytes  # the file of the sealed secrets; empty where none is sealed
    master_commitment: bytes  # empty where the master key is not sealed


def demand_key_type(key_type: str) -> None:
    """Raises ConfigError for a type that no CA key may have."""
    if key_type not in KEY_TYPES:
        raise ConfigError(f"key type {key_type!r}: use {', '.join(KEY_TYPES[:-1])} or {KEY_TYPES[-1]}")


async def ask_offers(hsm: HsmSettings, pin: bytes | bytearray, rejected: RejectedPins) -> list[str]:
    """What the token can hold and do: roles, and `SEALING`. It makes nothing.

    Raises:
        WrongPin: the token rejected the PIN, now or before.
        Unavailable: the token does not answer.
    """
    held = HeldPin(pin, rejected)
    channel = await _generating(hsm, held, setup_for(hsm, Mode.GENERATE))
    try:
        answer = await channel.request(Operation.OFFERS)
    finally:
        await channel.stop()
        held.wipe()
    if not isinstance(answer, list) or not all(isinstance(item, str) for item in answer):
        raise Fault("the key holder answered with something that is no list of names")
    return answer


async def generate_keys(
    hsm: HsmSettings,
    pin: bytes | bytearray,
    rejected: RejectedPins | None,
    *,
    key_type: str,
    common_name: str,
    origin: str,
    places: Places,
    new_pin: bytes | None = None,
) -> NewKeys:
    """Makes CA key, checkpoint key and master key, in the token or sealed to it and to the spares; with
    `new_pin`, changes the token's PIN before. `origin`: the log's name, to which what is sealed is bound.
    `rejected`: None for a token that was made a moment ago.

    Raises:
        WrongPin: the token rejected the PIN.
        KeyHolderRefusal: the token holds an object of one of the labels already; nothing was made.
        Unavailable: the token does not do it. If keys may be left in it, the text says which.
    """
    held = HeldPin(pin, rejected)
    setup = replace(
        setup_for(hsm, Mode.GENERATE),
        checkpoint_key_in=places.checkpoint_key.value,
        master_key_in=places.master_key.value,
    )
    channel = await _generating(hsm, held, setup)
    try:
        if new_pin is not None:
            await channel.request(Operation.CHANGE_PIN, new_pin)
        try:
            answer = await channel.request(
                Operation.GENERATE_KEYS,
                key_type,
                common_name,
                origin,
                list(places.spares),
                list(places.there),
            )
        except Unavailable as error:
            raise type(error)(f"{error.detail}\n{leftovers(hsm, places)}") from error
    finally:
        await channel.stop()
        held.wipe()
    match answer:
        case {
            "csr": bytes(request),
            "checkpoint_key": bytes(checkpoint_key),
            "sealed": bytes(sealed),
            "master_commitment": bytes(master_commitment),
        }:
            return NewKeys(x509.load_der_x509_csr(request), checkpoint_key, sealed, master_commitment)
        case _:
            raise Fault("the key holder answered with something that is not keys")


async def generate_ca_key(
    token: TokenSettings,
    pin: bytes | bytearray,
    rejected: RejectedPins,
    *,
    key_type: str,
    common_name: str,
    taken: bool,
) -> x509.CertificateSigningRequest:
    """Makes a CA key, or takes the one that is there, and nothing else; the request for its certificate.

    Raises:
        WrongPin: the token rejected the PIN, now or before.
        ConfigError: the token holds an object of the key's name already, and was to make it; or no key that
            can be taken.
        Unavailable: the token does not do it.
    """
    held = HeldPin(pin, rejected)
    channel = await _generating(token, held, setup_of_issuer(token, Mode.GENERATE))
    there = [token.ca_key] if taken else []
    try:
        answer = await channel.request(Operation.GENERATE_KEYS, key_type, common_name, "", [], there)
    except KeyHolderRefusal as error:
        raise ConfigError(error.detail) from error
    finally:
        await channel.stop()
        held.wipe()
    match answer:
        case {"csr": bytes(request)}:
            return x509.load_der_x509_csr(request)
        case _:
            raise Fault("the key holder answered with something that is no request")


async def generate_checkpoint_key(
    settings: CheckpointKeySettings,
    pin: bytes | bytearray,
    rejected: RejectedPins,
    *,
    origin: str,
    recipients: Sequence[bytes],
) -> tuple[bytes, bytes]:
    """Makes a key of the log, and nothing else: its public key, and the file of its sealed seed, empty where
    it is in the token.

    Raises:
        WrongPin: the token rejected the PIN, now or before.
        ConfigError: the token holds an object of the key's name already.
        Unavailable: the token does not do it.
    """
    held = HeldPin(pin, rejected)
    channel = await _generating(settings, held, setup_of_checkpoint_key(settings, Mode.GENERATE))
    try:
        answer = await channel.request(Operation.GENERATE_CHECKPOINT_KEY, origin, list(recipients))
    except KeyHolderRefusal as error:
        raise ConfigError(error.detail) from error
    finally:
        await channel.stop()
        held.wipe()
    match answer:
        case {"checkpoint_key": bytes(public), "sealed": bytes(sealed)}:
            return public, sealed
        case _:
            raise Fault("the key holder answered with something that is no key")


async def prove_keys(settings: KeyHolderSettings, pin_source: str, directory: Path) -> None:
    """Starts a key holder as `signerd run` will: it tries each key against certificate and verifier key.

    A PIN that the token rejects is noted where the settings say, and not tried again.

    Raises:
        WrongPin: the token rejected the PIN, now or before.
        Unavailable: the token does not answer, or its key is another one.
    """
    pin = read_pin(pin_source, directory)
    held = HeldPin(pin, settings.rejected_pins)
    pin[:] = bytes(len(pin))
    holder = KeyHolderProcess(settings)
    try:
        await holder.start(held)
    finally:
        await holder.stop()
        held.wipe()


async def _generating(hsm: AnyTokenSettings, held: HeldPin, setup: Setup) -> Channel:
    return await open_channel(
        setup,
        held,
        environment=hsm.environment,
        deadline_s=_KEY_GENERATION_S,
        login_s=hsm.start_deadline_s,
    )


def leftovers(hsm: HsmSettings, places: Places) -> str:
    """What to remove from the token after a failure. It held none of these before, so they are this run's;
    keys that `init` was told to take are not among them."""
    made = {
        hsm.ca_key: True,
        hsm.checkpoint_key: places.checkpoint_key is Place.TOKEN,
        hsm.master_key: places.master_key is Place.TOKEN,
        hsm.sealing_key: places.seals,
    }
    labels = ", ".join(name for name, was in made.items() if was and name not in places.there)
    return f"remove what is there of {labels} from the token {hsm.token!r}" if labels else "nothing was made"
