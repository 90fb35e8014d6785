"""Files that are on the disk, whole, when a call returns; after a crash there is the old one or the new."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from pathlib import Path

if sys.platform == "win32":
    from agent.adapters.windows_rights import create_private

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_BINARY = getattr(os, "O_BINARY", 0)  # POSIX has none


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A file that did not exist before, on Windows too for this account alone where `mode` says so.

    Its name lasts once `sync_directory` was called. Raises OSError.
    """
    if sys.platform == "win32" and not mode & 0o077:
        descriptor = create_private(path)
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes, mode: int) -> None:
    """A file that is either what it was before or the new one, name and all. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        # A crash before the replacement leaves this folder, and `path` as it was.
        new = Path(folder) / path.name
        write_new(new, data, mode)
        new.replace(path)
        sync_directory(path.parent)


def try_folder(folder: Path) -> None:
    """Makes a file there and takes it away again: rights alone do not tell. Raises OSError."""
    path = folder / f".birthmark-{secrets.token_hex(8)}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, 0o600))
    path.unlink()


def sync_directory(path: Path) -> None:
    """Makes names in it durable. Windows opens no directories, and NTFS journals names itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
