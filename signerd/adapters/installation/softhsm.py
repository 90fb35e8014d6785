"""A SoftHSM2 token of its own for a development installation."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from signerd.adapters.installation.layout import PRIVATE, make_directory, write_new
from signerd.errors import ConfigError

TOKEN_LABEL = "birthmark-dev"  # noqa: S105 # a PKCS#11 token's name
_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),  # Debian, Ubuntu
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),  # Fedora
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
)
_REMEDY = "install SoftHSM2: apt install softhsm2"
_TIMEOUT_S = 60


def find_module() -> Path:
    """SoftHSM's PKCS#11 module. Raises ConfigError."""
    for path in _MODULES:
        if path.is_file():
            return path
    raise ConfigError(f"libsofthsm2.so is in none of its usual places; {_REMEDY}")


def create_token(directory: Path, module: Path) -> tuple[dict[str, str], bytes]:
    """Makes `directory` with SoftHSM's configuration and one empty token.

    Returns the environment that the module needs, and a throwaway PIN: softhsm2-util takes PINs on its
    command line, where `ps` shows them, so the real one is set over PKCS#11 before there is any key. The SO
    PIN is thrown away for good.

    Raises:
        ConfigError: SoftHSM is missing or failed.
    """
    tool = shutil.which("softhsm2-util")
    if tool is None:
        raise ConfigError(f"softhsm2-util is not on the PATH; {_REMEDY}")
    try:
        make_directory(directory)
        make_directory(directory / "tokens")
    except OSError as error:
        raise ConfigError(f"cannot make {error.filename}: {error.strerror}") from error
    settings = directory / "softhsm2.conf"
    text = f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    write_new(settings, text.encode(), PRIVATE)
    environment = {"SOFTHSM2_CONF": str(settings)}
    pin, so_pin = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    command = [tool, "--module", str(module), "--init-token", "--free", "--label", TOKEN_LABEL]
    try:
        done = subprocess.run(  # noqa: S603 # fixed words and our own random ones
            [*command, f"--pin={pin}", f"--so-pin={so_pin}"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError("softhsm2-util does not run or does not end") from error
    if done.returncode != 0:
        raise ConfigError(f"softhsm2-util failed: {done.stderr.strip() or done.stdout.strip()}")
    return environment, pin.encode()
