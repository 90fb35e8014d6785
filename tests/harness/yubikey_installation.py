"""An installation by the documented steps whose token is a YubiKey in software, with keys that Yubico's tool
made; checkpoint key and chip master key are sealed to it and to a second one.

    with VirtualYubiKey(PivCard(serial=11), PivCard(serial=12)) as keys:
        with YubiKeyInstallation(directory, keys, "9a") as installation:
            …
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness.documented import DocumentedInstallation
from harness.installation import DEPLOYMENT
from harness.process import COMMANDS, run
from tokens.yubikey import VirtualYubiKey

_CA = {"9a": "%01", "9c": "%02", "82": "%05"}


class YubiKeyInstallation(DocumentedInstallation):
    """On the first of two cards."""

    def __init__(self, directory: Path, keys: VirtualYubiKey, slot: str, *, spare: bool = True) -> None:
        """`slot` is the CA key's: 9a, 9c or 82. Without `spare` nothing is sealed to the second card."""
        self.keys, self._slot, self._with_spare = keys, slot, spare
        super().__init__(directory, server_name="127.0.0.1", signerd=[COMMANDS / "signerd"])

    @property
    def target(self) -> str:
        return f"{self.server_name}:{int(self.port_file.read_text(encoding='ascii'))}"

    def _make(self) -> None:
        self.keys.generate("9d", number=1)
        self.spare = Path(shutil.copy(self.keys.directory / "9d.pem", self.directory / "spare.pem"))
        self.keys.generate("9d")
        self.keys.generate(self._slot)
        pin_file = self.directory / "pin"
        pin_file.write_text(self.keys.pin, encoding="ascii")
        pin_file.chmod(0o400)
        token = f"pkcs11:serial={self.keys.cards[0].serial}"
        init: list[str | Path] = [COMMANDS / "signerd", "init", self.home]
        run(
            [
                *init,
                *("--module", self.keys.module, "--token", token, "--pin", f"file:{pin_file}"),
                *("--ca-key", f"pkcs11:id={_CA[self._slot]}", "--sealing-key", "pkcs11:id=%03"),
                *(("--spare", self.spare) if self._with_spare else ("--no-spare",)),
                *("--deployment", DEPLOYMENT, "--server-name", "127.0.0.1", "--listen", "127.0.0.1:0"),
                *(f"--hsm-env={name}={value}" for name, value in self.keys.environment.items()),
            ]
        )
        sub_ca, root = self.signed_offline(self.home / "ca" / "sub-ca.csr.pem")
        run([*init, "--install-certificate", sub_ca, "--root", root])
        # Another installation of this machine may have the port of the metrics.
        text = self.config.read_text("utf-8")
        self.config.write_text(re.sub(r"\[metrics\]\nlisten = .*\n", "", text), encoding="utf-8")
