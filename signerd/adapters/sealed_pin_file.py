"""The file of a PIN that is sealed under a TPM: `signerd pin seal` writes it, a start opens it."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.start_faults import from_system
from signerd.adapters.tpm_sealing import open_key, seal_key
from signerd.core.sealed_pin import (
    KEY_BYTES,
    MAX_FILE,
    SealedPin,
    SealedPinError,
    read_sealed_pin,
)
from signerd.errors import ConfigError

_MODE = 0o400
_NONCE_BYTES = 12
_SEAL = "signerd pin seal makes it"


def seal_pin(path: Path, pin: bytearray, tcti: str, pcrs: tuple[int, ...], *, replace: bool) -> SealedPin:
    """Seals the PIN, opens it again to be sure, and writes the file.

    A crash while it is written: no file, or an empty or partial one, which no start takes; with `replace`
    the old file or the new one.

    Raises:
        ConfigError: the TPM does not seal, or not open.
        FileExistsError: there is such a file, and it is not to be replaced.
        OSError: it cannot be written.
    """
    if not replace and os.path.lexists(path):
        raise FileExistsError(17, "File exists", str(path))
    held = secrets.token_bytes(KEY_BYTES)
    key = seal_key(tcti, held, pcrs)
    sealed = SealedPin.seal(pin, held, key, secrets.token_bytes(_NONCE_BYTES))
    if _opened(path, sealed, tcti) != pin:
        raise ConfigError(f"{tcti} opens something else than it sealed: do not trust this TPM")
    write = durable_files.replace if replace else durable_files.write_new
    write(path, sealed.encode(), _MODE)
    return sealed


def open_pin(path: Path, tcti: str) -> bytearray:
    """The PIN.

    Raises:
        ConfigError: the file cannot be read, others could have put it there, or this TPM does not open it.
    """
    return _opened(path, read_file(path), tcti)


def read_file(path: Path) -> SealedPin:
    """Raises ConfigError: it cannot be read, is not of its form, or others could have put it there."""
    try:
        return read_sealed_pin(_content(path))
    except SealedPinError as error:
        raise ConfigError(
            f"{path} holds no sealed PIN: {error}; restore it from the backup, or seal the PIN anew:"
            " signerd pin seal --replace"
        ) from error


def _opened(path: Path, sealed: SealedPin, tcti: str) -> bytearray:
    try:
        return sealed.open(open_key(tcti, sealed.key))
    except SealedPinError as error:
        raise ConfigError(
            f"{path}: {error}; restore it from the backup, or seal the PIN anew: signerd pin seal --replace"
        ) from error


def _content(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a FIFO in its place must not hang us; the type is looked at below.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no sealed PIN {path}; {_SEAL}") from error
    except OSError as error:
        raise from_system(f"cannot read the sealed PIN {path}: {error.strerror}", error) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"the sealed PIN {path} is not a regular file; {_SEAL}")
        # Not for secrecy: whoever can write it chooses the PIN that the token is given.
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
            raise ConfigError(
                f"others can write the sealed PIN {path}: chown it to signerd's user, and chmod 0400"
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(MAX_FILE + 1)
    finally:
        os.close(descriptor)
