"""Chip keys for a trusted personalization, from a key holder that can do nothing else.

The daemon's key holder has no operation that returns a chip's key; this one has, signs nothing, and lives
for one run of `signerd chips personalize`, with a PIN of its own asking.
"""

from __future__ import annotations

from collections.abc import Iterable

from signerd.adapters.keyholder.channel import open_channel
from signerd.adapters.keyholder.hardening import close_memory
from signerd.adapters.keyholder.held_pin import HeldPin
from signerd.adapters.keyholder.pool import setup_for
from signerd.adapters.keyholder.protocol import Mode, Operation
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.config import HsmSettings
from signerd.core.chip_key import KEY_BYTES
from signerd.core.names import MacKey
from signerd.errors import Fault


async def derive_chip_keys(
    hsm: HsmSettings,
    pin: bytes | bytearray,
    chip_ids: Iterable[str],
    kind: MacKey = MacKey.CHIP,
    hash_name: str = "sha256",
    *,
    rejected: RejectedPins | None = None,
) -> dict[str, bytes]:
    """Each chip's key for HMAC with this hash (docs/formats.md, "Chip keys").

    Raises:
        WrongPin: the token rejected the PIN.
        Unavailable: the token does not answer.
        KeyHolderRefusal: a chip id is not of its form.
    """
    close_memory()  # from here on this process holds the PIN, and soon the keys
    held = HeldPin(pin, rejected)
    channel = await open_channel(
        setup_for(hsm, Mode.PERSONALIZE),
        held,
        environment=hsm.environment,
        deadline_s=hsm.deadline_s,
        login_s=hsm.start_deadline_s,
    )
    try:
        keys: dict[str, bytes] = {}
        for chip_id in chip_ids:
            key = await channel.request(Operation.DERIVE_CHIP_KEY, chip_id, kind.value, hash_name)
            if not isinstance(key, bytes) or len(key) != KEY_BYTES[hash_name]:
                raise Fault("the key holder answered with something that is no chip key")
            keys[chip_id] = key
        return keys
    finally:
        await channel.stop()
        held.wipe()
