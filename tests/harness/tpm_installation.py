"""An installation by the documented steps on a TPM 2.0: signerd makes the CA key and an RSA key through
tpm2-pkcs11; checkpoint key and chip master key are sealed to the RSA key and to a spare's.

    with Tpm2Token() as token, TpmInstallation(directory, token, spare=public_key) as installation:
        …
"""

from __future__ import annotations

from pathlib import Path

from harness.documented import DocumentedInstallation
from harness.softhsm_token import token_options
from tokens.tpm2_token import Tpm2Token


class TpmInstallation(DocumentedInstallation):
    """On swtpm."""

    def __init__(self, directory: Path, token: Tpm2Token, spare: Path | None = None) -> None:
        """`spare` is a file with its public key."""
        self.token, self._spare = token, spare
        super().__init__(directory)

    def _token(self) -> list[str | Path]:
        token = self.token
        spare: tuple[str | Path, ...] = ("--no-spare",) if self._spare is None else ("--spare", self._spare)
        pin_file = self.directory / "pin"
        return [
            *token_options(token.module, token.label, token.pin.encode(), pin_file, token.environment),
            *spare,
        ]
