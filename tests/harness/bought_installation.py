"""An installation whose sub-CA was bought: SoftHSM, a chain of CAs, both steps of `signerd init`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from harness.ca_chains import Terms, certify, make
from harness.installation import DEPLOYMENT, Installation
from harness.process import run
from harness.softhsm_token import new_token


class BoughtInstallation(Installation):
    """`authorities`: from the root downwards to the one above the sub-CA, which is `sub_ca`."""

    def __init__(
        self, directory: Path, authorities: Sequence[Terms], sub_ca: Terms, *options: str | Path
    ) -> None:
        """`options` of `signerd init`, first step."""
        self._terms, self._sub_ca, self._options = authorities, sub_ca, options
        super().__init__(directory)

    def _make(self) -> None:
        init: list[str | Path] = [self.commands / "signerd", "init", self.home]
        where = ("--deployment", DEPLOYMENT, "--server-name", "127.0.0.1", "--listen", "127.0.0.1:0")
        run([*init, *new_token(self.directory / "softhsm"), *where, *self._options])
        # Metrics have one port of the machine, and tests run beside each other.
        text = self.config.read_text("utf-8")
        self.config.write_text(text.replace('[metrics]\nlisten = "127.0.0.1:9464"\n', ""), "utf-8")
        sent, root = self._bought()
        run([*init, "--install-certificate", sent, "--root", root])

    def _bought(self) -> tuple[Path, Path]:
        """One file with all of the chain and its root's file."""
        request = x509.load_pem_x509_csr((self.home / "ca" / "sub-ca.csr.pem").read_bytes())
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        made = [make(self._terms[0])]
        for terms in self._terms[1:]:
            made.append(make(terms, made[-1]))
        chain = [certify(self._sub_ca, key, made[-1]), *(each.certificate for each in made)]
        sent, root = self.directory / "sent.pem", self.directory / "root.pem"
        sent.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        root.write_bytes(made[0].certificate.public_bytes(Encoding.PEM))
        return sent, root
