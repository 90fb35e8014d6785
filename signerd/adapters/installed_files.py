"""Files of an installation, read and replaced by commands: what fails is told as what keeps from starting."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.start_faults import from_system, unreadable


def read(path: Path) -> bytes:
    """Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def replace(path: Path, data: bytes, mode: int) -> None:
    """As `durable_files.replace`: after a crash the old file, or the new one. Raises ConfigError."""
    with _told():
        durable_files.replace(path, data, mode)


def replace_beside(config: Path, path: Path, data: bytes, mode: int) -> None:
    """The same for a file that belongs to the settings' owner, whoever writes it. Raises ConfigError."""
    with _told():
        durable_files.replace(path, data, mode, owner_of(config))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_system(f"cannot write {error.filename}: {error.strerror}", error) from error


def owner_of(config: Path) -> tuple[int, int]:
    """Whose settings they are: what root makes beside them is theirs."""
    found = config.stat()
    return found.st_uid, found.st_gid


def owned_folder(config: Path, folder: Path) -> None:
    """A folder beside the settings, for their owner alone. A crash between the two leaves one that the next
    call gives away. Raises ConfigError."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != owner_of(config)[0]:
            os.chown(folder, *owner_of(config))
    except OSError as error:
        raise from_system(f"cannot make {folder}: {error.strerror}", error) from error


def add_to(config: Path, section: str) -> None:
    """Settings with one more section; mode and owner stay. A crash leaves those of before, or the new ones.
    Raises OSError."""
    mode = stat.S_IMODE(config.stat().st_mode)
    durable_files.replace(config, config.read_bytes() + section.encode(), mode, owner_of(config))
