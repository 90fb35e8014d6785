"""Keys in the token, made by a key holder process: signerd itself never loads a PKCS#11 module."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from signerd.adapters.keyholder.channel import open_channel
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.pool import setup_for
from signerd.adapters.keyholder.protocol import Mode, Operation
from signerd.config import HsmSettings
from signerd.errors import Fault, Unavailable

_KEY_GENERATION_S = 120.0  # small tokens take their time


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What leaves the token when its keys are made."""

    request: x509.CertificateSigningRequest  # of the sub-CA
    checkpoint_key: bytes  # Ed25519 public key, 32 bytes


async def generate_keys(
    hsm: HsmSettings, pin: bytes | bytearray, *, key_type: str, common_name: str, new_pin: bytes | None = None
) -> NewKeys:
    """Makes CA key, checkpoint key and master key; with `new_pin`, changes the token's PIN before.

    Raises:
        WrongPin: the token rejected the PIN.
        KeyHolderRefusal: the token holds an object of one of the labels already; nothing was made.
        Unavailable: the token does not do it. If keys may be left in it, the text says which.
    """
    held = HeldPin(pin)
    channel = await open_channel(
        setup_for(hsm, Mode.GENERATE),
        held,
        environment=hsm.environment,
        deadline_s=_KEY_GENERATION_S,
        login_s=hsm.start_deadline_s,
    )
    try:
        if new_pin is not None:
            await channel.request(Operation.CHANGE_PIN, new_pin)
        try:
            answer = await channel.request(Operation.GENERATE_KEYS, key_type, common_name)
        except Unavailable as error:
            raise Unavailable(f"{error.detail}\n{leftovers(hsm)}") from error
    finally:
        await channel.stop()
        held.wipe()
    match answer:
        case {"csr": bytes(request), "checkpoint_key": bytes(checkpoint_key)}:
            return NewKeys(x509.load_der_x509_csr(request), checkpoint_key)
        case _:
            raise Fault("the key holder answered with something that is not keys")


def leftovers(hsm: HsmSettings) -> str:
    """What to remove from the token after a failure. It held none of these before, so they are this run's."""
    labels = ", ".join((hsm.ca_key, hsm.checkpoint_key, hsm.master_key))
    return f"remove what is there of {labels} from the token {hsm.token!r}"
