"""Signs with the OpenSSH of this machine: a key in a file, in an agent, or in a security key."""

from __future__ import annotations

import base64
import subprocess
import tempfile
from pathlib import Path

from auditor.config import read_text_file
from auditor.core.ssh_signature import check_key
from auditor.errors import ConfigError, Malformed

_DEADLINE_S = 120.0  # somebody types a passphrase or touches a key
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def public_key(key: Path) -> str:
    """Algorithm and key of the `.pub` file beside a private key. Raises ConfigError."""
    path = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    text = " ".join(read_text_file(path, "the public key").decode("utf-8", "replace").split()[:2])
    try:
        check_key(text)
    except Malformed as error:
        raise ConfigError(f"{path} {error}. Give --key the private key of an SSH key pair") from error
    return text


def sign(key: Path, namespace: str, message: bytes) -> bytes:
    """A signature without armor. Raises ConfigError."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "statement"
        file.write_bytes(message)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(file)]
        try:
            done = subprocess.run(  # noqa: S603 (our own arguments, and no shell)
                command, check=False, stderr=subprocess.PIPE, timeout=_DEADLINE_S
            )
            if done.returncode != 0:
                said = done.stderr.decode("utf-8", "replace").strip()[-200:]
                raise ConfigError(f"ssh-keygen did not sign with {key}: {said}. Try it by hand first")
            armored = file.with_name("statement.sig").read_text("ascii")
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"ssh-keygen did not sign within {_DEADLINE_S:.0f} s: run it again") from error
        except OSError as error:
            raise ConfigError(f"ssh-keygen: {error.strerror}. Install OpenSSH's client") from error
    body = armored.partition(_BEGIN)[2].partition(_END)[0]
    return base64.b64decode("".join(body.split()))
