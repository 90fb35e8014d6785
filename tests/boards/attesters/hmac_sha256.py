"""Method `hmac-sha256`: chips with a secret that a trusted personalization burned (docs/formats.md)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class HmacAttester:
    """HMAC-SHA-256 of the transcript under the chip's secret. `keep`: bytes of the MAC that are sent."""

    secret: bytes
    keep: int = MAC_BYTES
    method: str = "hmac-sha256"

    def attest(self, transcript: bytes, csr: bytes) -> bytes:  # noqa: ARG002 (the port)
        return hmac.digest(self.secret, transcript, "sha256")[: self.keep]

    def identity(self) -> None:
        return None


class HmacVendor:
    """Chips whose secrets a trusted site burned, by chip id.

    Wrong chips: `secret="guessed"` has another one, `secret="empty"` an erased one; `keep=16` sends a part
    of the MAC.
    """

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._secrets = secrets

    def product_section(self) -> str:
        return ""

    def attester(
        self, chip_id: str, *, secret: Literal["own", "guessed", "empty"] = "own", keep: int = MAC_BYTES
    ) -> HmacAttester:
        if secret == "own":
            return HmacAttester(self._secrets[chip_id], keep)
        if secret == "guessed":
            return HmacAttester(hashlib.sha256(b"guessed" + chip_id.encode()).digest(), keep)
        return HmacAttester(b"", keep)
