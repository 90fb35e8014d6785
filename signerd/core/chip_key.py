"""Keys of chips, derived from the master key (docs/formats.md, "Chip keys").

The master key stays in the HSM: what comes in is the HSM's own HMAC-SHA-256 with it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from signerd.core.names import MacKey

KEY_BYTES = {"sha256": 32, "sha384": 48, "sha512": 64}  # an HMAC key of its hash's size (RFC 9053 §3.1)
_CHIP_LABEL = b"birthmark-chip-key-v1"
_PSA_IAK_LABEL = b"birthmark-psa-iak-v1"
_BLOCK_BYTES = 32


class BurnedKey(StrEnum):
    """Which secret a trusted personalization burns, as registry and ledger name it."""

    HMAC_SHA256 = "hmac-sha256"
    PSA_IAK_SHA256 = "psa-iak-sha256"
    PSA_IAK_SHA384 = "psa-iak-sha384"
    PSA_IAK_SHA512 = "psa-iak-sha512"

    @property
    def mac_key(self) -> tuple[MacKey, str]:
        """The key of the chip, and the hash of its HMAC."""
        key = MacKey.CHIP if self is BurnedKey.HMAC_SHA256 else MacKey.PSA_IAK
        return key, self.rpartition("-")[2]


def derive_chip_key(mac: Callable[[bytes], bytes], chip_id: str, key: MacKey, hash_name: str) -> bytes:
    """The chip's key for HMAC with this hash.

    Args:
        mac: HMAC-SHA-256 with the master key.
        chip_id: of its form.
        key: which of the chip's keys.
        hash_name: "sha256", "sha384" or "sha512".

    Raises:
        ValueError: no such hash for this key.
    """
    if key is MacKey.CHIP and hash_name == "sha256":
        return mac(_CHIP_LABEL + chip_id.encode())
    if key is MacKey.PSA_IAK and hash_name in KEY_BYTES:
        size = KEY_BYTES[hash_name]
        # What stands before the chip id is of fixed length, so no two chips share an input.
        prefix = _PSA_IAK_LABEL + hash_name.encode()
        blocks = -(-size // _BLOCK_BYTES)
        return b"".join(mac(prefix + bytes((block,)) + chip_id.encode()) for block in range(1, blocks + 1))[
            :size
        ]
    raise ValueError(f"a chip has no key {key} for {hash_name}")
