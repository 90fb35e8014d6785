"""The file of the sealed secrets (docs/formats.md, "Sealed secrets"). Nothing in it opens without a token."""

from __future__ import annotations

from pathlib import Path

from signerd.adapters.start_faults import unreadable
from signerd.core.sealing import MAX_FILE, SealedSecrets, SealingError, read_sealed
from signerd.errors import ConfigError


def read_sealed_file(path: Path) -> SealedSecrets:
    """Raises ConfigError: it cannot be read, or is not of its form."""
    try:
        with path.open("rb") as file:
            return read_sealed(file.read(MAX_FILE + 1))
    except OSError as error:
        raise unreadable(path, error) from error
    except SealingError as error:
        raise ConfigError(f"{path} holds no sealed secrets: {error}; restore it from the backup") from error
