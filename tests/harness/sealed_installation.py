"""A development installation whose checkpoint key and chip master key are sealed, and a token to spare.

with SealedInstallation(directory) as installation:
    spare = SpareToken(directory / "spare")
    installation.admin("recipient", "add", spare.public_key)
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.installation import DEPLOYMENT, Installation
from harness.key_holders import ALL_SEALED, TokenAtHand, make_token
from harness.process import COMMANDS, run
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.core.recipient import Recipient
from signerd.core.sealing import SealedSecrets


class SealedInstallation(Installation):
    """On SoftHSM."""

    def _make(self) -> None:
        sealed = ["--checkpoint-key", "sealed", "--master-key", "sealed", "--no-spare"]
        where = ["--deployment", DEPLOYMENT, "--listen", "127.0.0.1:0"]
        run([self.commands / "signerd", "init", self.home, "--dev", *where, *sealed])

    @property
    def sealed_file(self) -> Path:
        return self.home / "sealed.json"

    def sealed(self) -> SealedSecrets:
        """What the file says."""
        return read_sealed_file(self.sealed_file)

    def refused(self, *arguments: str | Path) -> tuple[int, str]:
        """A command that fails: its exit code, and what it said."""
        command = [str(each) for each in (COMMANDS / "signerd", *arguments, "--config", self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode != 0, done.stdout
        return done.returncode, done.stderr + done.stdout


class SpareToken:
    """A token with a sealing key, which knows nothing of the installation: another one's."""

    def __init__(self, directory: Path) -> None:
        self._token: TokenAtHand = make_token(directory, ALL_SEALED)
        self.recipient: Recipient = read_sealed_file(directory / "sealed.json").recipients[0]
        self.public_key = directory / "spare.pem"
        self.public_key.write_bytes(
            self.recipient.key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.name = self.recipient.spki_sha256().hex()

    @property
    def module(self) -> str:
        """Its PKCS#11 module."""
        return str(self._token.config.hsm.module)

    @property
    def label(self) -> str:
        """The token's."""
        return self._token.config.hsm.token

    @property
    def key(self) -> str:
        """The sealing key's."""
        return self._token.config.hsm.sealing_key

    @property
    def at_hand(self) -> list[str]:
        """Options that have a command take this token instead."""
        environment = self._token.config.hsm.environment
        options = [f"--hsm-env={name}={value}" for name, value in environment.items()]
        return [*options, "--pin", f"file:{self._token.directory / 'hsm.pin'}"]
