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


def replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """As `durable_files.replace`: after a crash the old file, or the new one. Raises ConfigError."""
    with told("write"):
        durable_files.replace(path, data, mode, owner)


def replace_beside(config: Path, path: Path, data: bytes, mode: int) -> None:
    """The same for a file that belongs to the settings' owner, whoever writes it. Raises ConfigError."""
    with told("write"):
        durable_files.replace(path, data, mode, owner_of(config))


@contextmanager
def told(doing: str, remedy: str = "") -> Iterator[None]:
    """What the system refuses within it is told as what was done to the file that the error names, and with
    `remedy` behind it. Raises ConfigError: NotNow for what may pass."""
    try:
        yield
    except OSError as error:
        raise from_system(f"cannot {doing} {error.filename}: {error.strerror}{remedy}", error) from error


def owner_of(config: Path) -> tuple[int, int]:
    """Whose settings they are: what root makes beside them is theirs."""
    found = config.stat()
    return found.st_uid, found.st_gid


def owned_folder(config: Path, folder: Path) -> None:
    """A folder beside the settings, for their owner alone. A crash between the two leaves one that the next
    call gives away. Raises ConfigError."""
    with told("make"):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != owner_of(config)[0]:
            os.chown(folder, *owner_of(config))


def add_to(config: Path, section: str) -> None:
    """Settings with one more section; mode and owner stay. A crash leaves those of before, or the new ones.
    Raises ConfigError, with what to add by hand."""
    with told("write", f". Add to the end of {config}:\n{section}"):
        mode = stat.S_IMODE(config.stat().st_mode)
        durable_files.replace(config, config.read_bytes() + section.encode(), mode, owner_of(config))
