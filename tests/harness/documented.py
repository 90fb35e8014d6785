"""An installation as docs/operations.md has it made, "signerd with a real HSM": two steps, an offline root by
the recipe in deploy/hsm between them, a name that stations dial. Its HSM is SoftHSM, as in
deploy/hsm/softhsm.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.installation import DEPLOYMENT, Installation
from harness.process import COMMANDS, REPOSITORY, run
from signerd.adapters.installation import softhsm

PORT = 8443
_RECIPE = REPOSITORY / "deploy" / "hsm" / "sub-ca.cnf"


class DocumentedInstallation(Installation):
    """Listens on all addresses of both kinds, on the documents' port."""

    def __init__(self, directory: Path, *, server_name: str, signerd: Sequence[str | Path]) -> None:
        self.server_name = server_name
        super().__init__(directory, signerd=signerd)

    @property
    def target(self) -> str:
        """As stations have it in their configuration."""
        return f"{self.server_name}:{PORT}"

    def _make(self) -> None:
        module = softhsm.find_module()
        environment, pin = softhsm.create_token(self.directory / "softhsm", module)
        pin_file = self.directory / "pin"
        pin_file.write_bytes(pin)
        pin_file.chmod(0o400)
        init: list[str | Path] = [COMMANDS / "signerd", "init", self.home]
        run(
            [
                *init,
                *("--module", module, "--token", softhsm.TOKEN_LABEL, "--pin", f"file:{pin_file}"),
                *("--deployment", DEPLOYMENT, "--server-name", self.server_name, "--listen", f"[::]:{PORT}"),
                *(f"--hsm-env={name}={value}" for name, value in environment.items()),
            ]
        )
        sub_ca, root = self.signed_offline(self.home / "ca" / "sub-ca.csr.pem")
        run([*init, "--install-certificate", sub_ca, "--root", root])

    def signed_offline(self, request: Path, *, days: int | None = None) -> tuple[Path, Path]:
        """By the installation's own root: `signed_offline`."""
        return signed_offline(self.directory / "offline", request, days=days)


def signed_offline(folder: Path, request: Path, *, days: int | None = None) -> tuple[Path, Path]:
    """What the recipe's comments say, but for the root's passphrase: the certificate, and the root's.

    `days`: where the root has fewer left than the recipe's.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sub-ca.csr.pem").write_bytes(request.read_bytes())
    (folder / "sub-ca.cnf").write_bytes(_RECIPE.read_bytes())
    sign, make = _commands(_RECIPE.read_text("utf-8"))
    if not (folder / "root.pem").exists():
        run([*make, "-nodes"], directory=folder)
    if days is not None:
        sign[sign.index("-days") + 1] = str(days)
    run(sign, directory=folder)
    return folder / "sub-ca.pem", folder / "root.pem"


def _commands(recipe: str) -> list[list[str]]:
    """The openssl commands in the comments, in their order; none has a quoted word but the subject."""
    text = re.sub(r"\\\n#", " ", recipe)
    lines = re.findall(r"^#   (openssl .*)$", text, re.MULTILINE)
    return [[part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)] for line in lines]
