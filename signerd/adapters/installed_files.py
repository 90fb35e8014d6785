"""Files of an installation, read and replaced by commands: what fails is told as what keeps from starting."""

from __future__ import annotations

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
    try:
        durable_files.replace(path, data, mode)
    except OSError as error:
        raise from_system(f"cannot write {error.filename}: {error.strerror}", error) from error
