"""A board's proof-of-possession code, and the commitment to it that its stamp carries.

The code is a secret of whoever buys the board: it goes onto the label and nowhere else. Neither `repr` nor an
error shows it. docs/formats.md, "Stamp": commitment = SHA-256(salt ‖ code).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

SALT_BYTES = 16
# Printable ASCII without space: it goes into QR codes, and people type it.
_CODE = re.compile(r"[!-~]{4,64}")


class PopError(ValueError):
    """The board's answer is no code with its salt. The text does not show what it answered."""


@dataclass(frozen=True, slots=True)
class ProofOfPossession:
    """A code of 4 to 64 printable ASCII characters and its salt of 16 bytes, both made by the board."""

    code: str = field(repr=False)
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if _CODE.fullmatch(self.code) is None:
            raise PopError("the code is not 4 to 64 printable ASCII characters")
        if len(self.salt) != SALT_BYTES:
            raise PopError(f"the salt is not {SALT_BYTES} bytes long")

    @property
    def commitment(self) -> bytes:
        """What the stamp carries, 32 bytes."""
        return hashlib.sha256(self.salt + self.code.encode("ascii")).digest()
