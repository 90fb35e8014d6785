"""An installation by the documented steps whose token is a YubiKey in software, with keys that Yubico's tool
made; checkpoint key and chip master key are sealed to it and to a second one.

    with VirtualYubiKey(PivCard(serial=11), PivCard(serial=12)) as keys:
        with YubiKeyInstallation(directory, keys, "9a") as installation:
            …
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.documented import DocumentedInstallation
from harness.softhsm_token import token_options
from tokens.yubikey import VirtualYubiKey


class YubiKeyInstallation(DocumentedInstallation):
    """On the first of two cards."""

    def __init__(self, directory: Path, keys: VirtualYubiKey, slot: str, *, spare: bool = True) -> None:
        """`slot` is the CA key's: 9a, 9c or 82. Without `spare` nothing is sealed to the second card."""
        self.keys, self._slot, self._with_spare = keys, slot, spare
        super().__init__(directory)

    def _token(self) -> list[str | Path]:
        keys = self.keys
        keys.generate("9d", number=1)
        self.spare = Path(shutil.copy(keys.directory / "9d.pem", self.directory / "spare.pem"))
        keys.generate("9d")
        keys.generate(self._slot)
        token, pin_file = f"pkcs11:serial={keys.cards[0].serial}", self.directory / "pin"
        return [
            *token_options(keys.module, token, keys.pin.encode("ascii"), pin_file, keys.environment),
            *("--ca-key", f"slot:{self._slot}", "--sealing-key", "slot:9d"),
            *(("--spare", self.spare) if self._with_spare else ("--no-spare",)),
        ]
