"""A folder of tiles, as a web server of the log has it. Reads are bounded and stay in the folder."""

from __future__ import annotations

from pathlib import Path

from auditor.errors import ConfigError, Unreachable
from birthmark.proof.note import MAX_NOTE_BYTES
from birthmark.proof.tile import CHECKPOINT_PATH, MAX_BUNDLE_BYTES, Read, parse_path


def tile_folder(folder: Path) -> Read:
    """Reads one file of the folder by its path in the log; None where there is none.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: give the one that holds `{CHECKPOINT_PATH}` and `tile`")

    def read(path: str) -> bytes | None:
        parse_path(path)  # so that no path leads out of the folder
        return read_bounded(folder / path, MAX_BUNDLE_BYTES)

    return read


def read_checkpoint(file: Path) -> bytes:
    """A checkpoint's bytes. Raises ConfigError where there is none."""
    data = read_bounded(file, MAX_NOTE_BYTES)
    if data is None:
        raise ConfigError(f"there is no checkpoint {file}: give its file with --checkpoint")
    return data


def read_bounded(file: Path, most: int) -> bytes | None:
    """A file, and of a larger one a byte more than `most`, which its reader refuses. None: there is none.

    Raises:
        Unreachable: it is there, and cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreachable(f"cannot read {file}: {error.strerror}") from error
