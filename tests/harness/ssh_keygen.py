"""Administrators with the genuine `ssh-keygen`, each with keys in a folder of his own."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tokens import presence


@dataclass(frozen=True)
class Keygen:
    """One key, in `folder`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, kind: str = "ed25519", *options: str) -> Keygen:
        """Skips where there is no ssh-keygen."""
        if presence.program("ssh-keygen") is None:
            presence.skip("ssh-keygen is missing: apt install openssh-client")
        folder.mkdir(parents=True)
        run("-q", "-t", kind, *options, "-N", "", "-C", "of a test", "-f", str(folder / "key"))
        return cls(folder)

    @property
    def private(self) -> Path:
        return self.folder / "key"

    @property
    def public(self) -> str:
        """Algorithm and key, without comment."""
        return " ".join(self.private.with_suffix(".pub").read_text("ascii").split()[:2])

    def sign(self, file: Path, namespace: str, *options: str) -> Path:
        """`ssh-keygen -Y sign`, on a copy: as on a machine of its own. Returns the signature's place."""
        copy = self.folder / file.name
        shutil.copyfile(file, copy)
        signature = copy.with_name(copy.name + ".sig")
        signature.unlink(missing_ok=True)
        run("-Y", "sign", "-f", str(self.private), "-n", namespace, *options, str(copy))
        return signature


def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Fails where ssh-keygen does."""
    command = ["ssh-keygen", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done


def verifies(allowed: Path, name: str, namespace: str, message: bytes, signature: Path) -> bool:
    """What `ssh-keygen -Y verify` says."""
    command = ["ssh-keygen", "-Y", "verify", "-I", name, "-n", namespace]
    command += ["-f", str(allowed), "-s", str(signature)]
    done = subprocess.run(command, input=message, capture_output=True, timeout=60, check=False)
    return done.returncode == 0
