"""A folder of C2SP tlog-tiles, read by the paths that the specification has and no others.

Guarantees that nothing outside the folder is opened. A path has the one form before it is looked up. Each
part of it is opened below the one before, and no symbolic link is followed. Only plain files are read.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

from auditor.errors import ConfigError
from birthmark.proof.succession import MAX_SUCCESSION_BYTES, SUCCESSION_PATH

CHECKPOINT = "checkpoint"
MAX_CHECKPOINT = 64 * 1024  # bytes, with many witnesses' signatures
_CHANGING = {CHECKPOINT: MAX_CHECKPOINT, SUCCESSION_PATH: MAX_SUCCESSION_BYTES}  # and their bounds
MAX_BUNDLE = 256 * (2 + 65_535)  # bytes: 256 entries of the greatest length
_HASH = 32  # bytes
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])"
    r"/(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


def _flags(*names: str) -> int:
    """Windows, where nothing is opened here, has not all of them."""
    return reduce(or_, (getattr(os, name, 0) for name in names), os.O_RDONLY)


_ROOT = _flags("O_DIRECTORY", "O_CLOEXEC")
_FOLDER = _flags("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC")
_FILE = _flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")  # a FIFO is not waited for


@dataclass(frozen=True, slots=True)
class Found:
    """A file of the log."""

    data: bytes
    changes: bool  # whether another one may come in its place: the checkpoint, and the succession


class TileFiles:
    """The folder, held open: what is put in its place later is not looked at."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError: there is no such folder, or this system cannot look below an open folder."""
        if os.open not in os.supports_dir_fd:
            raise ConfigError(
                "tiles are served on Linux and its like alone: this system cannot open below a folder"
            )
        try:
            self._folder = os.open(path, _ROOT)
        except OSError as error:
            raise ConfigError(f"cannot read the folder of tiles {path}: {error.strerror}") from error

    def close(self) -> None:
        """Lets go of the folder."""
        os.close(self._folder)

    def read(self, path: str) -> Found | None:
        """The file at this path below the folder, without a slash at its beginning; None: there is none."""
        limit = _limit(path)
        if limit is None:
            return None
        try:
            data = self._content(path.split("/"), limit)
        except OSError:
            return None
        return None if data is None else Found(data, changes=path in _CHANGING)

    def _content(self, parts: list[str], limit: int) -> bytes | None:
        with ExitStack() as opened:
            folder = self._folder
            for part in parts[:-1]:
                folder = os.open(part, _FOLDER, dir_fd=folder)
                opened.callback(os.close, folder)
            file = os.open(parts[-1], _FILE, dir_fd=folder)
            opened.callback(os.close, file)
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                return None
            data = bytearray()
            while len(data) <= limit and (more := os.read(file, limit + 1 - len(data))):
                data += more
            return bytes(data) if len(data) <= limit else None


def _limit(path: str) -> int | None:
    """How large the file may be; None for a path that no file of a log has."""
    if path in _CHANGING:
        return _CHANGING[path]
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    width = int(match["width"] or 256)
    if match["width"] and width > 255:
        return None
    return MAX_BUNDLE if match["level"] == "entries" else width * _HASH
