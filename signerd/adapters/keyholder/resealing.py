"""What is sealed, for another list of tokens, from a key holder that can do nothing else.

As in a personalization, the daemon's key holder has no such operation: whoever has the daemon could seal the
secrets to a key of his own. This one lives for one run of `signerd recipient`, with a PIN of its own asking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.adapters.keyholder.channel import KeyHolderRefusal, open_channel
from signerd.adapters.keyholder.hardening import close_memory
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.protocol import Operation, Setup
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.config import AnyTokenSettings
from signerd.core.recipient import Recipient, SealingError
from signerd.core.sealing import SealedSecrets, read_sealed
from signerd.errors import Code, Fault, Refused


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a token opened, and sealed again."""

    own: Recipient  # the token that opened
    sealed: SealedSecrets


async def reseal(
    setup: Setup,
    token: AnyTokenSettings,
    pin: bytes | bytearray,
    rejected: RejectedPins,
    recipients: Sequence[Recipient],
) -> Resealed:
    """Opens each secret with the token, holds it against its commitment, and seals it to those that are new.
    For recipients that stay, nothing changes.

    Args:
        setup: with what is sealed.
        token: how it is reached.
        pin: its PIN.
        rejected: PINs that it rejected before.
        recipients: the new list.

    Raises:
        WrongSettings: the token does not hold what the settings name, or a secret does not open.
        WrongPin: the token rejected the PIN.
        Unavailable: the token does not answer.
        Refused: `invalid`: the token at hand is not among the recipients.
    """
    close_memory()  # from here on this process holds the PIN
    held = HeldPin(pin, rejected)
    try:
        channel = await open_channel(
            setup,
            held,
            environment=token.environment,
            deadline_s=token.deadline_s,
            login_s=token.start_deadline_s,
        )
    finally:
        held.wipe()
    try:
        answer = await channel.request(Operation.RESEAL, *(recipient.spki() for recipient in recipients))
    except KeyHolderRefusal as error:
        raise Refused(Code.INVALID, error.detail) from error
    finally:
        await channel.stop()
    return _read(answer)


def _read(answer: object) -> Resealed:
    match answer:
        case {"sealed": bytes(sealed), "own": bytes(own)}:
            try:
                return Resealed(Recipient.of(load_der_public_key(own)), read_sealed(sealed))
            except (SealingError, ValueError, UnsupportedAlgorithm) as error:
                raise Fault("the key holder answered with something that is not sealed") from error
        case _:
            raise Fault("the key holder answered with something that is not sealed")
