"""An installation by the documented steps on a token of the laboratory that has neither Ed25519 nor ECDH:
signerd makes the CA key and an RSA key in it; what it cannot hold is sealed to the RSA key and to a spare's.

    with Tpm2Token() as token, TokenInstallation(directory, token, spare=public_key) as installation:
        …
"""

from __future__ import annotations

from pathlib import Path

from harness.documented import DocumentedInstallation
from harness.softhsm_token import token_options
from tokens.opencryptoki import OpencryptokiToken
from tokens.tpm2_token import Tpm2Token

Token = Tpm2Token | OpencryptokiToken


class TokenInstallation(DocumentedInstallation):
    """On a TPM in software, or opencryptoki's software token."""

    def __init__(
        self, directory: Path, token: Token, spare: Path | None = None, *, key_type: str = "p256"
    ) -> None:
        """`spare` is a file with its public key; `key_type` that of the sub-CA."""
        self.token, self._spare, self._key_type = token, spare, key_type
        super().__init__(directory)

    def _token(self) -> list[str | Path]:
        token = self.token
        spare: tuple[str | Path, ...] = ("--no-spare",) if self._spare is None else ("--spare", self._spare)
        pin_file = self.directory / "pin"
        return [
            *token_options(token.module, token.label, token.pin.encode(), pin_file, token.environment),
            *("--key-type", self._key_type),
            *spare,
        ]
