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
from harness.softhsm_token import new_token

PORT = 8443
_RECIPE = REPOSITORY / "deploy" / "hsm" / "sub-ca.cnf"


class DocumentedInstallation(Installation):
    """`any_port`: on a port that the kernel chooses, and without metrics, which have one port of the machine.
    Else on all addresses of both kinds, on the documents' port."""

    def __init__(
        self,
        directory: Path,
        *,
        server_name: str = "127.0.0.1",
        signerd: Sequence[str | Path] = (COMMANDS / "signerd",),
        any_port: bool = True,
    ) -> None:
        self.server_name, self._any_port = server_name, any_port
        super().__init__(directory, signerd=signerd)

    @property
    def target(self) -> str:
        """As stations have it in their configuration."""
        port = int(self.port_file.read_text(encoding="ascii")) if self._any_port else PORT
        return f"{self.server_name}:{port}"

    def _make(self) -> None:
        init: list[str | Path] = [COMMANDS / "signerd", "init", self.home]
        listen = "127.0.0.1:0" if self._any_port else f"[::]:{PORT}"
        where = ("--deployment", DEPLOYMENT, "--server-name", self.server_name, "--listen", listen)
        run([*init, *self._token(), *where])
        sub_ca, root = self.signed_offline(self.home / "ca" / "sub-ca.csr.pem")
        run([*init, "--install-certificate", sub_ca, "--root", root])
        if self._any_port:
            text = self.config.read_text("utf-8")
            self.config.write_text(re.sub(r"\[metrics\]\nlisten = .*\n", "", text), encoding="utf-8")

    def _token(self) -> list[str | Path]:
        """What `init` is told of the token, and of keys in it."""
        return new_token(self.directory / "softhsm")

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
