"""An installation by the documented steps on a TPM 2.0: signerd makes the CA key and an RSA key through
tpm2-pkcs11; checkpoint key and chip master key are sealed to the RSA key and to a spare's.

    with Tpm2Token() as token, TpmInstallation(directory, token, spare=public_key) as installation:
        …
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.documented import DocumentedInstallation
from harness.installation import DEPLOYMENT
from harness.process import COMMANDS, run
from tokens.tpm2_token import Tpm2Token


class TpmInstallation(DocumentedInstallation):
    """On swtpm."""

    def __init__(self, directory: Path, token: Tpm2Token, spare: Path | None = None) -> None:
        """`spare` is a file with its public key."""
        self.token, self._spare = token, spare
        super().__init__(directory, server_name="127.0.0.1", signerd=[COMMANDS / "signerd"])

    @property
    def target(self) -> str:
        return f"{self.server_name}:{int(self.port_file.read_text(encoding='ascii'))}"

    def _make(self) -> None:
        pin_file = self.directory / "pin"
        pin_file.write_text(self.token.pin, encoding="ascii")
        pin_file.chmod(0o400)
        init: list[str | Path] = [COMMANDS / "signerd", "init", self.home]
        spare: tuple[str | Path, ...] = ("--no-spare",) if self._spare is None else ("--spare", self._spare)
        run(
            [
                *init,
                *("--module", self.token.module, "--token", self.token.label, "--pin", f"file:{pin_file}"),
                *spare,
                *("--deployment", DEPLOYMENT, "--server-name", "127.0.0.1", "--listen", "127.0.0.1:0"),
                *(f"--hsm-env={name}={value}" for name, value in self.token.environment.items()),
            ]
        )
        sub_ca, root = self.signed_offline(self.home / "ca" / "sub-ca.csr.pem")
        run([*init, "--install-certificate", sub_ca, "--root", root])
        # Another installation of this machine may have the port of the metrics.
        text = self.config.read_text("utf-8")
        self.config.write_text(re.sub(r"\[metrics\]\nlisten = .*\n", "", text), encoding="utf-8")
