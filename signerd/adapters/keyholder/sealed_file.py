"""The file of the sealed secrets (docs/formats.md, "Sealed secrets"). Nothing in it opens without a token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from signerd.adapters.start_faults import unreadable
from signerd.config import HsmSettings
from signerd.core.entry import KeysCommitted
from signerd.core.recipient import SealingError
from signerd.core.sealing import MAX_FILE, SealedSecrets, read_sealed
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


def keys_committed(
    hsm: HsmSettings, recipients: Sequence[bytes], now: datetime, by: str | None
) -> KeysCommitted:
    """A new log's entry that says where keys are, and who opens what is sealed: the SHA-256 of each token
    key."""
    return KeysCommitted(
        time=now,
        by=by,
        checkpoint=hsm.checkpoint_key_in,
        chip_master=hsm.master_key_in,
        chip_master_commitment=bytes.fromhex(hsm.master_commitment) if hsm.master_commitment else None,
        recipients=tuple(recipients),
    )
